package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/revlog"
	"github.com/curfewhq/curfew/internal/store"
)

// commits is a store's log in memory whose reading takes time.
type commits struct {
	mu      sync.Mutex
	entries []curfew.Revocation
}

func (c *commits) commit(e curfew.Revocation) curfew.Seq {
	c.mu.Lock()
	defer c.mu.Unlock()
	var prev curfew.Hash
	if n := len(c.entries); n > 0 {
		prev = c.entries[n-1].Hash
	}
	e.Seq = curfew.Seq(len(c.entries) + 1)
	e.Hash = e.Chain(prev)
	c.entries = append(c.entries, e)
	return e.Seq
}

func (c *commits) Revocations(_ context.Context, after curfew.Seq, limit int) ([]curfew.Revocation, error) {
	time.Sleep(5 * time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := c.entries[after:]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (c *commits) State(context.Context) (store.State, error) {
	return store.State{Head: curfew.Position{LogID: "log-1"}}, nil
}

func TestLogoutsThatArriveTogetherShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rounds := 0
		hub := feed.NewHub(feed.HubConfig{Enforced: func(time.Duration) { rounds++ }}, feed.Base{Log: "log-1"})
		src := &commits{}
		log, err := revlog.Open(t.Context(), src, denylist.New(), hub, nil)
		if err != nil {
			t.Fatal(err)
		}
		hub.Loaded()
		ctx, cancel := context.WithCancel(t.Context())
		var others sync.WaitGroup
		defer others.Wait()
		defer cancel()
		others.Go(func() { hub.Run(ctx) })
		// Somebody is waited for, and acknowledges late.
		others.Go(func() {
			p := &feed.Poll{Instance: curfew.NewID()}
			for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
				g, err := hub.Poll(ctx, "s", p)
				if err != nil {
					return
				}
				p = &feed.Poll{Instance: p.Instance, Log: g.Log, Seq: g.Seq, Hash: g.Hash, WaitMS: 1000}
			}
		})
		time.Sleep(time.Second)
		const n = 200
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Microsecond) // 10 ms in all
				seq := src.commit(ending(curfew.NewID()))
				if err := log.Wait(t.Context(), seq); err != nil {
					t.Error(err)
					return
				}
				if got, err := hub.Wait(t.Context(), seq); err != nil || got.State != feed.Enforced || got.Seq != seq || got.Verifiers != 1 {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		wg.Wait()
		if rounds == 0 || rounds > 5 {
			t.Errorf("%d logouts within 10 ms took %d rounds", n, rounds)
		}
	})
}

// A verifier that asks for leases and never says that it has the entries delays
// each logout by D_A and not more.
func TestAVerifierThatNeverAcknowledgesDelaysByOneWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := &feed.Poll{Instance: curfew.NewID(), Log: r.log}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
				again := *p
				if _, err := r.poll(ctx, "deaf", &again); err != nil {
					return
				}
			}
		})
		time.Sleep(time.Second + time.Millisecond)
		for range 3 {
			receipt, took := r.wait(r.revoke(curfew.NewID()))
			if took != feed.Wait(lease) {
				t.Errorf("took %v", took)
			}
			if len(receipt.Unacknowledged) != 1 || receipt.Unacknowledged[0].Verifier != "deaf" || receipt.Verifiers != 1 {
				t.Errorf("%+v", receipt)
			}
			time.Sleep(time.Second)
		}
		// Two under way at once: each its own wait.
		first := r.revoke(curfew.NewID())
		time.Sleep(time.Second)
		second := r.revoke(curfew.NewID())
		if _, took := r.wait(first); took != feed.Wait(lease)-time.Second {
			t.Errorf("the first took %v more", took)
		}
		if _, took := r.wait(second); took != time.Second {
			t.Errorf("the second took %v more", took)
		}
	})
}

func TestALapsedVerifierIsCountedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lapsed []string
		r := newRig(t, func(c *feed.HubConfig) { c.Lapsed = func(v string) { lapsed = append(lapsed, v) } })
		s := r.idle("s")
		for n := 1; n <= 3; n++ {
			s.step(t)
			s.step(t)
			if receipt, took := r.wait(r.revoke("a")); took != lease+feed.Wait(lease)-lease || receipt.Verifiers != 1 {
				t.Errorf("%v, %+v", took, receipt)
			}
			if receipt, took := r.wait(r.revoke("b")); took != 0 || receipt.Verifiers != 0 {
				t.Errorf("lapsed, and waited for: %v, %+v", took, receipt)
			}
			if len(lapsed) != n {
				t.Errorf("lapses: %v", lapsed)
			}
			s.step(t) // takes what it has missed, and with it a lease
			seq := r.revoke("c")
			if got := r.authority().Status(seq); got.State != feed.Recorded || got.Verifiers != 1 {
				t.Errorf("it is back, and not waited for: %+v", got)
			}
			s.step(t)
			s.step(t)
			if _, took := r.wait(seq); took > 0 {
				t.Errorf("took %v", took)
			}
		}
		v := r.authority().Verifiers()
		if len(v) != 1 || !v[0].Live || v[0].Lag != 0 || v[0].Lease != feed.Wait(lease) {
			t.Errorf("%+v", v)
		}
	})
}

func TestStatusOfWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.idle("a"), r.idle("b")
		a.step(t)
		time.Sleep(time.Second)
		b.step(t)
		at := time.Now()
		seq := r.append(ending("x"), ending("y"))
		time.Sleep(100 * time.Millisecond)
		for _, k := range []curfew.Seq{seq, seq - 1} { // they share a round
			got := r.authority().Status(k)
			if got.Seq != k || got.State != feed.Recorded || got.Verifiers != 2 || !got.RecordedAt.Equal(at) || !got.EnforcedAt.IsZero() {
				t.Errorf("%+v", got)
			}
			until := map[string]time.Time{}
			for _, l := range got.Unacknowledged {
				until[l.Verifier] = l.LeaseUntil
			}
			// Leases run from when they were given.
			if len(until) != 2 || !until["a"].Equal(at.Add(feed.Wait(lease)-time.Second)) || !until["b"].Equal(at.Add(feed.Wait(lease))) {
				t.Errorf("waited for: %v, now %v", until, at)
			}
		}
		a.step(t)
		a.step(t)
		got := r.authority().Status(seq)
		if len(got.Unacknowledged) != 1 || got.Unacknowledged[0].Verifier != "b" || len(got.Acks) != 1 || got.Acks[0].Verifier != "a" || got.Acks[0].Took < 100*time.Millisecond {
			t.Errorf("%+v", got)
		}
		// Whoever does not wait any longer learns how far it is.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := r.authority().Wait(ctx, seq); !errors.Is(err, context.DeadlineExceeded) || got.State != feed.Recorded {
			t.Errorf("%+v, %v", got, err)
		}
		done, _ := r.wait(seq)
		if got := r.authority().Status(seq); got.State != feed.Enforced || got.EnforcedAt != done.EnforcedAt || len(got.Unacknowledged) != 1 || got.Unacknowledged[0].Verifier != "b" {
			t.Errorf("%+v", got)
		}
		// What ended long ago is enforced, even if nothing else is known.
		for range 600 {
			r.append(ending("z"))
		}
		if got := r.authority().Status(seq); got.State != feed.Enforced {
			t.Errorf("%+v", got)
		}
	})
}

// A poll of a verifier that has released its lease may still be on its way. It
// must not make anybody wait.
func TestADuplicateBehindARelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		s.step(t)
		raw := r.token("a")
		dup := &feed.Poll{Instance: s.Instance(), Poll: 2, Log: r.log}
		release := &feed.Poll{Instance: s.Instance(), Poll: 3, Release: true}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.poll(t.Context(), "s", dup); !errors.Is(err, feed.ErrBadPoll) {
			t.Errorf("a duplicate was answered: %v", err)
		}
		if receipt, took := r.wait(r.revoke("a")); took != 0 || receipt.Verifiers != 0 {
			t.Errorf("took %v, %+v", took, receipt)
		}
		r.want(s, raw, curfew.ErrStale)
		// A release that comes twice ends nothing else.
		other := r.idle("s")
		other.step(t)
		if _, err := r.poll(t.Context(), "s", release); err != nil {
			t.Fatal(err)
		}
		if receipt, took := r.wait(r.revoke("c")); took == 0 || receipt.Verifiers != 1 {
			t.Errorf("took %v, %+v", took, receipt)
		}
		// An authority that has forgotten the release waits once, and no longer
		// than for a verifier that is dead.
		r.halt()
		r.start()
		time.Sleep(time.Minute)
		if _, err := r.poll(t.Context(), "s", dup); err != nil {
			t.Fatal(err)
		}
		if _, took := r.wait(r.revoke("d")); took != feed.Wait(lease) {
			t.Errorf("took %v", took)
		}
		if _, took := r.wait(r.revoke("e")); took > 0 {
			t.Errorf("and waited for again: %v", took)
		}
	})
}

// What a hub knows of processes that are gone does not grow for ever, also
// while others are there.
func TestVerifiersThatAreGoneAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("steady")
		for range 40 {
			gone := r.idle("restless")
			gone.step(t)
			released := r.idle("restless")
			released.step(t)
			if err := released.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := len(r.authority().Verifiers()); n < 2 || n > 25 {
			t.Errorf("%d are known after ten minutes each", n)
		}
	})
}

func TestPollsThatWaitAreAnsweredWhenAKeyIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		s.step(t)
		go func() {
			time.Sleep(time.Millisecond)
			r.authority().Drop()
		}()
		began := time.Now()
		s.step(t)
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("it was held for %v", took)
		}
	})
}

func TestPollsThatWaitAreAnsweredWhenTheAuthorityStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		s.step(t)
		go func() {
			time.Sleep(time.Millisecond)
			r.stop()
		}()
		began := time.Now()
		s.step(t)
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("it was held for %v", took)
		}
	})
}

func TestTooManyVerifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *feed.HubConfig) { c.MaxVerifiers = 2 })
		a, b, c := r.idle("a"), r.idle("b"), r.idle("c")
		a.step(t)
		b.step(t)
		if err := c.Step(t.Context()); !errors.Is(err, feed.ErrTooManyVerifiers) {
			t.Errorf("a third lease: %v", err)
		}
		r.want(c, r.token("x"), curfew.ErrStale)
		if _, err := c.Confirm(t.Context()); err != nil {
			t.Errorf("a confirmation takes no lease: %v", err)
		}
		b.step(t) // whoever has one keeps it
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.step(t)
		r.want(c, r.token("x"), nil)
	})
}

// The rounds against a model that knows for each position who had a lease when
// it was appended, and looks at everything anew each time.
func TestRoundsAgainstAModel(t *testing.T) {
	for seed := range 300 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { roundsAgainstAModel(t, uint64(seed)) })
		})
	}
}

type modelLease struct {
	id      string
	acked   curfew.Seq
	expires time.Duration
	held    curfew.Position // what its last grant brought
	polls   int64
}

type modelEntry struct {
	at      time.Duration
	to      curfew.Seq // of what was appended together
	waitFor map[*modelLease]bool
	over    bool
}

func roundsAgainstAModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	noted := time.Duration(0)
	if rng.IntN(2) == 0 {
		noted = lease
	}
	r := newRig(t, func(c *feed.HubConfig) { c.Noted = noted })
	hub := r.authority()
	start := time.Now()
	now := func() time.Duration { return time.Since(start) }
	boot := time.Duration(-1)
	if noted > 0 {
		boot = feed.Wait(noted)
	}
	var log []*modelEntry
	live := map[*modelLease]bool{}
	var all []*modelLease // also those without a lease

	// look brings the model up to a moment and returns how far it is enforced.
	look := func(at time.Duration) curfew.Seq {
		for l := range live {
			if l.expires <= at {
				delete(live, l)
				for _, e := range log {
					delete(e.waitFor, l)
				}
			}
		}
		for _, e := range log {
			for l := range e.waitFor {
				if l.acked >= e.to {
					delete(e.waitFor, l)
				}
			}
			if at >= boot && len(e.waitFor) == 0 || at >= max(boot, e.at+feed.Wait(lease)) {
				e.over = true
			}
		}
		// A position is in force with all before it.
		enforced := curfew.Seq(len(log))
		for k, e := range log {
			if !e.over {
				enforced = curfew.Seq(k)
				break
			}
		}
		return enforced
	}
	poll := func(l *modelLease) {
		l.polls++
		look(now())
		acked := l.held.Seq
		if rng.IntN(5) == 0 && acked > 0 {
			acked-- // a duplicate of an older poll
		}
		p := &feed.Poll{Instance: l.id, Poll: l.polls, Log: r.log, Seq: acked}
		if acked > 0 {
			p.Hash = r.entries[acked-1].Hash.String()
		}
		g, err := hub.Poll(t.Context(), "s", p)
		if err != nil {
			t.Fatal(err)
		}
		l.acked = max(l.acked, acked)
		look(now())
		l.expires = now() + feed.Wait(lease)
		live[l] = true
		if rng.IntN(4) > 0 { // else the answer is lost
			l.held.Seq = max(l.held.Seq, g.Seq)
		}
	}

	for range 150 {
		switch n := rng.IntN(100); {
		case n < 45 && len(all) > 0:
			poll(all[rng.IntN(len(all))])
		case n < 55 && len(all) < 6:
			l := &modelLease{id: curfew.NewID()}
			all = append(all, l)
			poll(l)
		case n < 60 && len(all) > 0:
			i := rng.IntN(len(all))
			l := all[i]
			if _, err := hub.Poll(t.Context(), "s", &feed.Poll{Instance: l.id, Release: true}); err != nil {
				t.Fatal(err)
			}
			look(now())
			delete(live, l)
			for _, e := range log {
				delete(e.waitFor, l)
			}
			all = slices.Delete(all, i, i+1)
		case n < 80:
			look(now())
			n := 1 + rng.IntN(2)
			to := curfew.Seq(len(log) + n)
			for range n {
				e := &modelEntry{at: now(), to: to, waitFor: map[*modelLease]bool{}}
				for l := range live {
					e.waitFor[l] = true
				}
				log = append(log, e)
			}
			var more []curfew.Revocation
			for len(r.entries)+len(more) < len(log) {
				more = append(more, ending("x"))
			}
			seq := r.append(more...)
			if got := hub.Status(seq); got.Verifiers != len(live) {
				t.Fatalf("%d: %d verifiers, the model says %d", seq, got.Verifiers, len(live))
			}
		default:
			time.Sleep(time.Duration(rng.IntN(700)) * time.Millisecond)
		}
		// The hub looks at its clock at most once a millisecond.
		synctest.Wait()
		at := now()
		least := look(at - 2*time.Millisecond)
		most := look(at)
		for k := range log {
			seq := curfew.Seq(k + 1)
			state := hub.Status(seq).State
			if seq > most && state == feed.Enforced {
				t.Fatalf("at %v: %d of %d is enforced too early, the model waits for %d more", at, seq, len(log), len(log[k].waitFor))
			}
			if seq <= least && state != feed.Enforced {
				t.Fatalf("at %v: %d of %d is not enforced: %+v", at, seq, len(log), hub.Status(seq))
			}
		}
	}
	if len(log) > 0 {
		r.wait(curfew.Seq(len(log)))
	}
}
