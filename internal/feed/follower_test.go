package feed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
)

// The lease ends at the nanosecond that it is over, by whichever clock.
func TestTheLeaseEndsToTheNanosecond(t *testing.T) {
	for _, length := range []time.Duration{100 * time.Millisecond, lease, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *feed.HubConfig) { c.Lease = length })
			k := newClock()
			s := r.idle("s", withClock(k))
			raw := r.token(curfew.NewID())
			r.want(s, raw, curfew.ErrStale)
			for range 3 {
				s.step(t)
				r.want(s, raw, nil)
				if got := s.Status().Lease; got != length {
					t.Errorf("lease %v", got)
				}
				k.turn(length-1, length-1)
				r.want(s, raw, nil)
				k.turn(1, 1)
				r.want(s, raw, curfew.ErrStale)
				k.turn(-1, -1)
				r.want(s, raw, nil)
				k.turn(0, 1)
				r.want(s, raw, curfew.ErrStale)
			}
		})
	}
}

// A poll that asks when a lease is half over is not held: what is needed then
// is a lease, not news.
func TestALateFollowerAsksForALeaseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		k := newClock()
		s := r.idle("s", withClock(k))
		var waits []int64
		s.link.hook(func(d *direct) { d.before = func(p *feed.Poll) { waits = append(waits, p.WaitMS) } })
		s.step(t)
		k.turn(lease/2-1, lease/2-1)
		s.step(t)
		k.turn(lease/2, lease/2)
		s.step(t)
		s.step(t)
		if !slices.Equal(waits, []int64{0, 1000, 0, 1000}) {
			t.Errorf("wait_ms: %v", waits)
		}
	})
}

// Verifiers that started together do not poll together for ever, and none is
// held for longer than it may.
func TestPollsAreHeldForDifferentTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		different := map[time.Duration]bool{}
		for range 50 {
			s := r.idle("s")
			s.step(t)
			began := time.Now()
			s.step(t)
			took := time.Since(began)
			if took < 750*time.Millisecond || took > time.Second {
				t.Errorf("held for %v", took)
			}
			different[took] = true
		}
		if len(different) < 40 {
			t.Errorf("%d different times", len(different))
		}
	})
}

func TestKeysThatChangeWakePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		time.Sleep(100 * time.Millisecond) // a poll waits
		other := makeSigner()
		raw, err := other.Sign(r.claims(curfew.NewID()))
		if err != nil {
			t.Fatal(err)
		}
		old := r.token(curfew.NewID())
		r.want(s, raw, curfew.ErrInvalidToken)
		setKeys(r.authority(), signer(), other)
		synctest.Wait()
		r.want(s, raw, nil)
		r.want(s, old, nil)
		setKeys(r.authority(), other)
		synctest.Wait()
		r.want(s, raw, nil)
		r.want(s, old, curfew.ErrInvalidToken)
		// The same keys again are nothing new.
		polls := 0
		s.link.hook(func(d *direct) { d.before = func(*feed.Poll) { polls++ } })
		setKeys(r.authority(), other)
		synctest.Wait()
		if polls > 0 {
			t.Errorf("%d polls were answered for nothing", polls)
		}
	})
}

// A verifier that must remember more than it may answers nothing, and comes
// back when the horizon has passed.
func TestAFullDenylistIsStaleAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s", func(c *feed.FollowerConfig) { c.MaxEntries = 10 })
		raw := r.token("mine")
		for range 10 {
			r.wait(r.revoke(curfew.NewID()))
		}
		r.want(s, raw, nil)
		over := r.token("over")
		seq := r.revoke("over")
		synctest.Wait()
		r.want(s, raw, curfew.ErrStale)
		r.want(s, over, curfew.ErrStale)
		if got := s.applied(); got != 10 {
			t.Errorf("applied %d", got)
		}
		// It has acknowledged nothing, and is not waited for longer than others.
		if _, took := r.wait(seq); took > feed.Wait(lease) {
			t.Errorf("took %v", took)
		}
		// Nor does a snapshot help that is too large.
		fresh := r.idle("fresh", func(c *feed.FollowerConfig) { c.MaxEntries = 10 })
		for range 3 {
			if err := fresh.Step(t.Context()); !errors.Is(err, curfew.ErrStale) {
				t.Errorf("a full verifier: %v", err)
			}
		}
		r.want(fresh, raw, curfew.ErrStale)
		// Time passes, and nothing of it matters any more.
		time.Sleep(11 * time.Minute)
		r.authority().Forget(time.Now())
		time.Sleep(2 * time.Second)
		raw = r.token("another")
		r.want(s, raw, nil)
		r.wait(r.revoke("another"))
		r.want(s, raw, curfew.ErrRevoked)
	})
}

func TestASnapshotThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for range 12 {
			r.revoke(curfew.NewID())
		}
		r.halt()
		r.compacted = 1
		r.start()
		s := r.idle("s", func(c *feed.FollowerConfig) { c.MaxEntries = 10 })
		if err := s.Step(t.Context()); !errors.Is(err, curfew.ErrStale) {
			t.Errorf("%v", err)
		}
		r.want(s, r.token("x"), curfew.ErrStale)
		r.halt()
		r.compacted = 2
		r.start()
		s.step(t)
		s.step(t)
		r.want(s, r.token("x"), nil)
	})
}

// A kind of a newer authority ends at least everything before it.
func TestAnUnknownKindEndsEverythingBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s, late := r.service("s"), r.idle("late")
		before := r.token("a")
		r.wait(r.append(curfew.Revocation{Kind: "device", Target: "d-1"}))
		r.want(s, before, curfew.ErrRevoked)
		r.want(s, r.token("a"), nil)
		r.wait(r.append(curfew.Revocation{Kind: "", Target: ""}))
		r.want(s, before, curfew.ErrRevoked)
		late.step(t)
		r.want(late, before, curfew.ErrRevoked)
		r.want(late, r.token("a"), nil)
		// In a snapshot too.
		r.halt()
		r.entries = chained(r.entries, ending("b"))
		r.compacted = 1
		r.start()
		cold := r.idle("cold")
		cold.step(t)
		cold.step(t)
		r.want(cold, before, curfew.ErrRevoked)
		r.want(cold, r.token("a"), nil)
	})
}

// What concerns a foreign issuer ends no token of our own, and reaches the
// denylist.
func TestRevocationsOfAForeignIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		const foreign = "https://other.example.com/a b%"
		raw := r.token("sid")
		for _, kind := range []curfew.Kind{
			curfew.KindSession, curfew.KindSubject, curfew.KindClient, curfew.KindKey, curfew.KindToken, curfew.KindEverything,
		} {
			targets := map[curfew.Kind]string{
				curfew.KindSession: "sid", curfew.KindSubject: "u", curfew.KindClient: "web", curfew.KindKey: r.signer.KeyID(),
				curfew.KindToken: "jti", curfew.KindEverything: "",
			}
			r.wait(r.append(curfew.Revocation{Kind: kind, Target: targets[kind], Issuer: foreign, ExpiresAt: time.Now().Add(time.Hour)}))
			r.want(s, raw, nil)
		}
		set := s.set.Load()
		if set.Check(denylist.Levels{Issuer: foreign, Session: "sid", Ver: 100}) == nil {
			t.Error("the foreign session lives")
		}
		if set.Check(denylist.Levels{Issuer: foreign, Session: "other", Ver: 1}) == nil {
			t.Error("everything of the foreign issuer lives")
		}
		if set.Check(denylist.Levels{Issuer: "https://third.example.com", Session: "sid", Ver: 1}) != nil {
			t.Error("a third issuer is concerned")
		}
		r.want(s, raw, nil)
	})
}

// seenAt gathers what a hub is told.
type seenAt struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (s *seenAt) note(session string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[session] = at
}

// Activity travels as an age, so that the verifier's wall clock does not matter.
func TestSeenTravelsAsAnAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := &seenAt{at: map[string]time.Time{}}
		r := newRig(t, func(c *feed.HubConfig) { c.Seen = heard.note })
		s := r.idle("s", func(c *feed.FollowerConfig) {
			c.Now = func() feed.Instant {
				now := feed.Now()
				now.Wall += int64(20 * 365 * 24 * time.Hour)
				return now
			}
		})
		a, b := curfew.NewID(), curfew.NewID()
		s.Seen(a) // before it knows whether that is wanted
		s.step(t)
		if len(heard.at) != 0 {
			t.Errorf("%v", heard.at)
		}
		seenA := time.Now()
		s.Seen(a)
		time.Sleep(700 * time.Millisecond)
		seenB := time.Now()
		s.Seen(b)
		time.Sleep(900 * time.Millisecond)
		// It is not lost with the poll that carried it.
		s.link.set(true)
		if err := s.Step(t.Context()); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		s.link.set(false)
		s.step(t)
		for session, want := range map[string]time.Time{a: seenA, b: seenB} {
			if got := heard.at[session]; got.Sub(want).Abs() > time.Millisecond {
				t.Errorf("seen %v after it was", got.Sub(want))
			}
		}
		// Once answered it is not told again.
		heard.at = map[string]time.Time{}
		s.step(t)
		if len(heard.at) != 0 {
			t.Errorf("told twice: %v", heard.at)
		}
		// The newer of two wins, also over one that was given back.
		s.Seen(a)
		s.link.hook(func(d *direct) {
			d.answered = func(*feed.Poll, []byte, error) ([]byte, error) {
				s.Seen(a)
				return nil, errCut
			}
		})
		if err := s.Step(t.Context()); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		again := time.Now()
		s.link.hook(func(d *direct) { d.answered = nil })
		s.step(t)
		if got := heard.at[a]; got.Sub(again).Abs() > time.Millisecond {
			t.Errorf("seen %v after it was", got.Sub(again))
		}
	})
}

func TestSeenIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := &seenAt{at: map[string]time.Time{}}
		r := newRig(t, func(c *feed.HubConfig) { c.Seen = heard.note })
		s := r.idle("s")
		s.step(t)
		const n = feed.MaxSeen + 2000
		for range n {
			s.Seen(curfew.NewID())
		}
		most := 0
		s.link.hook(func(d *direct) { d.before = func(p *feed.Poll) { most = max(most, len(p.Seen)) } })
		for range 3 {
			s.step(t)
		}
		if len(heard.at) != n || most != feed.MaxSeen {
			t.Errorf("%d of %d were told, at most %d at once", len(heard.at), n, most)
		}
		// An authority takes no more than that, and no nonsense.
		p := &feed.Poll{Instance: curfew.NewID(), Seen: map[string]int64{}}
		for range feed.MaxSeen + 1 {
			p.Seen[curfew.NewID()] = 0
		}
		if _, err := r.poll(t.Context(), "s", p); !errors.Is(err, feed.ErrBadPoll) {
			t.Errorf("%v", err)
		}
		before := len(heard.at)
		p.Seen = map[string]int64{curfew.NewID(): -1, curfew.NewID(): 1 << 60, "no id": 1}
		if _, err := r.poll(t.Context(), "s", p); err != nil || len(heard.at) != before {
			t.Errorf("%v, %d heard", err, len(heard.at)-before)
		}
	})
}

func TestFailedPollsArePacedAndSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var mu sync.Mutex
		var pauses []time.Duration
		paused := func() []time.Duration { // since it was asked last
			mu.Lock()
			defer mu.Unlock()
			out := pauses
			pauses = nil
			return out
		}
		s := r.idle("s", func(c *feed.FollowerConfig) {
			c.Sleep = func(_ context.Context, d time.Duration) {
				mu.Lock()
				pauses = append(pauses, d)
				mu.Unlock()
				time.Sleep(d)
			}
		})
		s.link.set(true)
		s.run(t)
		time.Sleep(5 * time.Second)
		want := []time.Duration{50, 100, 200, 400, 800, 1000, 1000, 1000}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if got := paused(); !slices.Equal(got[:min(len(got), len(want))], want) {
			t.Errorf("pauses %v", got)
		}
		if st := s.Status(); !errors.Is(st.Err, errCut) || st.Lease > 0 || st.Heard != -1 {
			t.Errorf("%+v", st)
		}
		s.link.set(false)
		<-s.Ready()
		time.Sleep(100 * time.Millisecond)
		if st := s.Status(); st.Err != nil || st.Lease != lease-100*time.Millisecond || st.Heard != 100*time.Millisecond {
			t.Errorf("%+v", st)
		}
		// After an answer the pauses begin anew.
		paused()
		s.link.set(true)
		time.Sleep(1200 * time.Millisecond)
		if got := paused(); len(got) == 0 || got[0] != 50*time.Millisecond {
			t.Errorf("pauses %v", got)
		}
	})
}

// A grant without a lease, and one before there are keys, leave a verifier
// without a verdict.
func TestNoLeaseWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		s.link.hook(func(d *direct) {
			d.answered = func(p *feed.Poll, _ []byte, _ error) ([]byte, error) {
				return fmt.Appendf(nil, `{"poll":%d,"log":"log-1","seq":0,"hash":"","entries":0,"lease_us":3000000,"time_us":1,"horizon":0}`+"\n", p.Poll), nil
			}
		})
		s.step(t)
		r.want(s, r.token("x"), curfew.ErrStale)
		select {
		case <-s.Ready():
			t.Error("ready without keys")
		default:
		}
		s.link.hook(func(d *direct) { d.answered = nil })
		s.step(t)
		r.want(s, r.token("x"), nil)
	})
}

func TestBadPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		long := string(make([]byte, 65))
		for _, p := range []*feed.Poll{
			{}, {Instance: "x"}, {Instance: "ABCDEF00000000000000000000000000"},
			{Instance: curfew.NewID(), Seq: -1}, {Instance: curfew.NewID(), Poll: -1}, {Instance: curfew.NewID(), WaitMS: -1},
			{Instance: curfew.NewID(), Log: long}, {Instance: curfew.NewID(), Hash: long}, {Instance: curfew.NewID(), Keys: long},
			{Instance: curfew.NewID(), Confirm: long},
		} {
			if _, err := r.poll(t.Context(), "s", p); !errors.Is(err, feed.ErrBadPoll) {
				t.Errorf("%+v: %v", p, err)
			}
		}
		if v := r.authority().Verifiers(); len(v) != 0 {
			t.Errorf("leases: %+v", v)
		}
	})
}
