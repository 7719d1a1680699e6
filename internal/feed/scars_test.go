package feed_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
)

// What other streams have been hurt by, one by one.

// mangled returns answers that must be discarded, made of one with three
// entries that ends at 3.
func mangled(body []byte) map[string][]byte {
	out := map[string][]byte{}
	for i := range body {
		out[fmt.Sprintf("cut off after %d bytes", i)] = body[:i]
	}
	header, rest, _ := strings.Cut(string(body), "\n")
	lines := strings.SplitAfter(rest, "\n")
	if len(lines) != 4 {
		return nil // no such answer
	}
	lines = lines[:3]
	join := func(header string, lines ...string) []byte { return []byte(header + "\n" + strings.Join(lines, "")) }
	put := func(name string, body []byte) { out[name] = body }
	put("no entries", join(header))
	put("the first is missing", join(header, lines[1:]...))
	put("the second is missing", join(header, lines[0], lines[2]))
	put("the last is missing", join(header, lines[:2]...))
	put("one twice", join(header, lines[0], lines[1], lines[1]))
	put("one more", join(header, lines[0], lines[1], lines[2], lines[2]))
	put("one more that would be next", join(header, lines[0], lines[1], lines[2], strings.Replace(lines[2], "3 ", "4 ", 1)))
	put("another answer behind it", append(bytes.Clone(body), body...))
	put("two changed places", join(header, lines[1], lines[0], lines[2]))
	put("the other way round", join(header, lines[2], lines[1], lines[0]))
	put("an empty line between", join(header, lines[0], "\n", lines[1], lines[2]))
	put("one short, announced so", join(strings.Replace(header, `"entries":3`, `"entries":2`, 1), lines[:2]...))
	put("the first missing, announced so", join(strings.Replace(header, `"entries":3`, `"entries":2`, 1), lines[1:]...))
	put("none, announced so", join(strings.Replace(header, `"entries":3`, `"entries":0`, 1)))
	put("fewer announced", join(strings.Replace(header, `"entries":3`, `"entries":2`, 1), lines...))
	put("more announced", join(strings.Replace(header, `"entries":3`, `"entries":4`, 1), lines...))
	put("the head is further on", join(strings.Replace(header, `"seq":3`, `"seq":4`, 1), lines...))
	put("the head is further back", join(strings.Replace(header, `"seq":3`, `"seq":2`, 1), lines...))
	put("seven fields", join(header, lines[0], lines[1], strings.Replace(lines[2], "\n", " x\n", 1)))
	put("five fields", join(header, lines[0], lines[1], strings.Replace(lines[2], " user\n", "\n", 1)))
	put("another log", join(strings.Replace(header, `"log":"log-1"`, `"log":"log-2"`, 1), lines...))
	put("no log", join(strings.Replace(header, `"log":"log-1"`, `"log":""`, 1), lines...))
	put("a lease for ever", join(strings.Replace(header, `"lease_us":3000000`, `"lease_us":3000000000000`, 1), lines...))
	put("a negative lease", join(strings.Replace(header, `"lease_us":3`, `"lease_us":-3`, 1), lines...))
	return out
}

func TestProgressDoesNotOvertakeData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		k := newClock()
		s := r.idle("s", withClock(k))
		s.step(t)
		var tokens []string
		for range 3 {
			sid := curfew.NewID()
			tokens = append(tokens, r.token(sid))
			r.revoke(sid)
		}
		k.turn(time.Second, time.Second)
		before := s.Status()
		// The poll and thus the answer is another one each time.
		whole, err := r.poll(t.Context(), "s", &feed.Poll{Instance: curfew.NewID()})
		if err != nil {
			t.Fatal(err)
		}
		if len(mangled(whole)) == 0 {
			t.Fatalf("no three entries: %q", whole)
		}
		n := 0
		for name := range mangled(whole) {
			s.link.hook(func(d *direct) {
				d.answered = func(p *feed.Poll, body []byte, err error) ([]byte, error) {
					bad, ok := mangled(body)[name]
					if !ok {
						return body[:len(body)-1], err // the answers are not equally long
					}
					return bad, err
				}
			})
			if err := s.Step(t.Context()); !errors.Is(err, feed.ErrBadAnswer) {
				t.Errorf("%s: %v", name, err)
			}
			if after := s.Status(); after.Position != before.Position || after.Lease != before.Lease || after.Entries != before.Entries {
				t.Errorf("%s: %+v became %+v", name, before, after)
			}
			n++
		}
		for _, raw := range tokens {
			r.want(s, raw, nil) // not heard of, and the old lease is good
		}
		s.link.hook(func(d *direct) { d.answered = nil })
		s.step(t)
		for _, raw := range tokens {
			r.want(s, raw, curfew.ErrRevoked)
		}
		t.Logf("%d mangled answers", n)
	})
}

func TestProgressDoesNotOvertakeDataInASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		s.step(t)
		r.append(curfew.Revocation{Kind: curfew.KindSubject, Target: "somebody else"}, ending("a"), ending("b"), ending("c"))
		r.halt()
		r.compacted = 1 // so that the verifier, at 0, needs a snapshot
		r.start()
		raw := r.token("a")
		before := s.Status()
		whole := snapshotText(r.authority())
		header, rest, _ := strings.Cut(string(whole), "\n")
		lines := strings.SplitAfter(rest, "\n")[:3]
		bad := map[string]string{
			"one line more":          string(whole) + lines[2],
			"garbage behind it":      string(whole) + "x",
			"two changed places":     header + "\n" + lines[1] + lines[0] + lines[2],
			"more announced":         strings.Replace(header, `"entries":3`, `"entries":4`, 1) + "\n" + rest,
			"fewer announced":        strings.Replace(header, `"entries":3`, `"entries":2`, 1) + "\n" + rest,
			"more than positions":    strings.Replace(header, `"entries":3`, `"entries":5`, 1) + "\n" + rest,
			"negative":               strings.Replace(header, `"entries":3`, `"entries":-1`, 1) + "\n" + rest,
			"no log":                 strings.Replace(header, `"log":"log-1"`, `"log":""`, 1) + "\n" + rest,
			"a line that is endless": header + "\n" + lines[0] + lines[1] + "4 session " + strings.Repeat("x", 200_000) + " 0 - user\n",
		}
		for i := range whole {
			bad[fmt.Sprintf("cut off after %d bytes", i)] = string(whole[:i])
		}
		for name, text := range bad {
			s.link.hook(func(d *direct) { d.snapshot = func([]byte) []byte { return []byte(text) } })
			if err := s.Step(t.Context()); !errors.Is(err, feed.ErrBadAnswer) {
				t.Errorf("%s: %v", name, err)
			}
			if after := s.Status(); after.Position != before.Position || after.Entries != before.Entries {
				t.Errorf("%s: %+v became %+v", name, before, after)
			}
		}
		r.want(s, raw, nil) // nothing was taken over, and the old lease is good
		s.link.hook(func(d *direct) { d.snapshot = nil })
		s.step(t)
		if s.applied() != 4 || s.Status().Entries != 3 {
			t.Errorf("%+v", s.Status())
		}
		// It brings no lease; the old one runs on.
		r.want(s, raw, curfew.ErrRevoked)
		time.Sleep(lease)
		r.want(s, raw, curfew.ErrStale)
		s.step(t)
		r.want(s, raw, curfew.ErrRevoked)
	})
}

func TestNoTravelBackInTime(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, r *rig, s *service)
	}{
		{"a late grant of an older poll", lateGrant},
		{"a late confirmation", lateConfirmation},
		{"a late snapshot", lateSnapshot},
		{"a late snapshot of the log before a restore", lateSnapshotOfAnotherLog},
		{"a delayed duplicate of a poll", delayedDuplicate},
		{"keys that come late", lateKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				s := r.idle("s")
				s.step(t)
				c.run(t, r, s)
			})
		})
	}
}

func lateGrant(t *testing.T, r *rig, s *service) {
	var old []byte
	s.link.hook(func(d *direct) {
		d.answered = func(_ *feed.Poll, body []byte, err error) ([]byte, error) {
			old = body
			return nil, errCut
		}
	})
	if err := s.Step(t.Context()); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	sid := curfew.NewID()
	raw := r.token(sid)
	r.wait(r.revoke(sid))
	// It is whole, and it fits the position; only that a lease counted from the
	// sending of the newest poll would be a lie.
	s.link.hook(func(d *direct) { d.answered = func(*feed.Poll, []byte, error) ([]byte, error) { return old, nil } })
	if err := s.Step(t.Context()); !errors.Is(err, feed.ErrBadAnswer) {
		t.Errorf("a late grant was taken: %v", err)
	}
	r.want(s, raw, curfew.ErrStale)
	s.link.hook(func(d *direct) { d.answered = nil })
	s.step(t)
	r.want(s, raw, curfew.ErrRevoked)
}

func lateConfirmation(t *testing.T, r *rig, s *service) {
	a, b := curfew.NewID(), curfew.NewID()
	tokens := []string{r.token(a), r.token(b)}
	r.revoke(a)
	s.link.hook(func(d *direct) {
		d.answered = func(p *feed.Poll, body []byte, err error) ([]byte, error) {
			if p.Confirm != "" { // meanwhile a poll brings more
				r.revoke(b)
				s.step(t)
			}
			return body, err
		}
	})
	if _, err := s.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.applied(); got != 2 {
		t.Errorf("applied %d", got)
	}
	for _, raw := range tokens {
		r.want(s, raw, curfew.ErrRevoked)
	}
	s.link.hook(func(d *direct) { d.answered = nil })
	s.step(t)
	if v := r.authority().Verifiers(); len(v) != 1 || v[0].Applied != 2 {
		t.Errorf("%+v", v)
	}
}

func lateSnapshot(t *testing.T, r *rig, s *service) {
	r.append(ending("x"), ending("y"))
	r.halt()
	r.compacted = 1
	r.start()
	sid := curfew.NewID()
	raw := r.token(sid)
	first := true
	s.link.hook(func(d *direct) {
		d.snapshot = func(text []byte) []byte {
			if first { // on its way, and overtaken by another
				first = false
				r.revoke(sid)
				if _, err := s.Confirm(t.Context()); err != nil {
					t.Error(err)
				}
			}
			return text
		}
	})
	if err := s.Step(t.Context()); !errors.Is(err, feed.ErrBadAnswer) {
		t.Errorf("a late snapshot was taken: %v", err)
	}
	if got := s.applied(); got != 3 {
		t.Errorf("applied %d", got)
	}
	r.want(s, raw, curfew.ErrRevoked)
}

func lateSnapshotOfAnotherLog(t *testing.T, r *rig, s *service) {
	r.append(ending("x"), ending("y"), ending("z"))
	r.halt()
	r.compacted = 1
	r.start()
	sid := curfew.NewID()
	raw := r.token(sid)
	first := true
	s.link.hook(func(d *direct) {
		d.snapshot = func(text []byte) []byte {
			if first {
				first = false
				r.compacted = 0
				r.restore("log-2", nil)
				r.revoke(sid)
				if _, err := s.Confirm(t.Context()); err != nil {
					t.Error(err)
				}
			}
			return text
		}
	})
	if err := s.Step(t.Context()); !errors.Is(err, feed.ErrBadAnswer) {
		t.Errorf("a late snapshot was taken: %v", err)
	}
	if p := s.Status().Position; p.LogID != "log-2" || p.Seq != 1 {
		t.Errorf("%+v", p)
	}
	s.step(t)
	r.want(s, raw, curfew.ErrRevoked)
}

func delayedDuplicate(t *testing.T, r *rig, s *service) {
	var old feed.Poll
	s.link.hook(func(d *direct) { d.before = func(p *feed.Poll) { old = *p } })
	s.step(t)
	r.revoke(curfew.NewID())
	dup := old
	s.step(t)
	s.step(t) // acknowledges
	seq := r.revoke(curfew.NewID())
	s.step(t)
	s.step(t)
	r.wait(seq)
	dup.WaitMS = 0
	if _, err := r.poll(t.Context(), "s", &dup); err != nil {
		t.Fatal(err)
	}
	if v := r.authority().Verifiers(); len(v) != 1 || v[0].Applied != seq || v[0].Lag != 0 {
		t.Errorf("what was acknowledged is forgotten: %+v", v)
	}
	if got := r.authority().Status(seq).State; got != feed.Enforced {
		t.Errorf("%s again", got)
	}
	// The next round counts on the verifier, not on the duplicate.
	next := r.revoke(curfew.NewID())
	if _, err := r.poll(t.Context(), "s", &dup); err != nil {
		t.Fatal(err)
	}
	if got := r.authority().Status(next).State; got != feed.Recorded {
		t.Errorf("a duplicate has acknowledged what it had not heard of: %s", got)
	}
	s.step(t)
	s.step(t)
	r.wait(next)
}

// lateKeys: the answer to a confirmation is composed, then two changes of keys
// overtake it. It must not take the verifier back to the keys before.
func lateKeys(t *testing.T, r *rig, s *service) {
	newer, newest := makeSigner(), makeSigner()
	r.halt()
	s.link.hook(func(d *direct) {
		d.answered = func(p *feed.Poll, body []byte, err error) ([]byte, error) {
			if p.Confirm != "" {
				setKeys(r.authority(), newest)
				s.step(t)
			}
			return body, err
		}
	})
	r.start()
	setKeys(r.authority(), newer)
	if _, err := s.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := newest.Sign(r.claims(curfew.NewID()))
	if err != nil {
		t.Fatal(err)
	}
	r.want(s, raw, nil)
}

// Whoever asks for what follows a position gets all of it, or is told to take a
// snapshot, which has all of it.
func TestNothingIsLostAtTheCompactionBoundary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3*feed.SegmentEntries + 10
		for _, batch := range []int{1000, 4096, n} {
			r := newRig(t)
			for len(r.entries) < n {
				var more []curfew.Revocation
				for i := range min(batch, n-len(r.entries)) {
					more = append(more, ending(fmt.Sprintf("s%d", len(r.entries)+i+1)))
				}
				r.append(more...)
			}
			first := feed.Window(r.authority())
			if first != feed.SegmentEntries+1 {
				t.Fatalf("the window begins at %d", first)
			}
			answered := 0
			for _, after := range []curfew.Seq{0, 1, first - 2, first - 1, first, first + 1, n / 2, n - 1, n} {
				answered += boundary(t, r, after)
			}
			if answered < 4 {
				t.Errorf("%d of the positions were answered without a snapshot", answered)
			}
			header, err := feedEntries(snapshotText(r.authority()))
			if err != nil || len(header) != n {
				t.Errorf("the snapshot has %d entries, %v", len(header), err)
			}
			r.stop()
		}
	})
}

// boundary asks for what follows a position and returns 1 if it was answered.
func boundary(t *testing.T, r *rig, after curfew.Seq) int {
	t.Helper()
	p := &feed.Poll{Instance: curfew.NewID(), Log: r.log, Seq: after}
	if after > 0 {
		p.Hash = r.entries[after-1].Hash.String()
	}
	body, err := r.poll(t.Context(), "s", p)
	if errors.Is(err, feed.ErrSnapshotRequired) {
		if after >= feed.Window(r.authority()) {
			t.Errorf("after %d a snapshot is required", after)
		}
		return 0
	}
	if err != nil {
		t.Fatalf("after %d: %v", after, err)
	}
	_, entries, err := feed.ParseGrant(body)
	if err != nil {
		t.Fatalf("after %d: %v", after, err)
	}
	if want := len(r.entries) - int(after); len(entries) != want {
		t.Errorf("after %d: %d entries, want %d", after, len(entries), want)
	}
	for i, e := range entries {
		if want := r.entries[int(after)+i]; e.Seq != want.Seq || e.Target != want.Target {
			t.Fatalf("after %d: %+v, want %+v", after, e, want)
		}
	}
	return 1
}

// feedEntries returns the targets of a snapshot.
func feedEntries(text []byte) ([]string, error) {
	_, lines, ok := strings.Cut(string(text), "\n")
	if !ok {
		return nil, errors.New("no header")
	}
	var out []string
	for line := range strings.Lines(lines) {
		out = append(out, strings.Fields(line)[2])
	}
	return out, nil
}

// A log that begins where everything before was compacted.
func TestNothingIsLostWhereTheLogBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, compacted := range []curfew.Seq{1, 19, 20} {
			r := newRig(t)
			var sids []string
			for i := range 20 {
				sids = append(sids, fmt.Sprint("s", i))
				r.revoke(sids[i])
			}
			all := slices.Clone(r.entries)
			services := map[curfew.Seq]*service{}
			for _, at := range []curfew.Seq{0, compacted - 1, compacted, compacted + 1, 20} {
				if at > 20 {
					continue
				}
				r.restore("log-1", all[:at])
				s := r.idle("s")
				s.step(t)
				services[at] = s
			}
			r.halt()
			r.entries, r.compacted = all, compacted
			r.start()
			for at, s := range services {
				for range 2 {
					s.step(t)
				}
				if s.applied() != 20 {
					t.Errorf("compacted %d, from %d: applied %d", compacted, at, s.applied())
				}
				for _, sid := range sids[compacted:] {
					if !s.denied(sid) {
						t.Errorf("compacted %d, from %d: %s is lost", compacted, at, sid)
					}
				}
			}
			r.stop()
		}
	})
}

// A follower that was cut off while the window moved past it finds everything
// when it is back, while more keeps coming.
func TestNothingIsLostForAStarvedFollower(t *testing.T) {
	const n = 4*feed.SegmentEntries + 100
	r := newRig(t)
	starved, fresh, keen := r.idle("starved"), r.idle("fresh"), r.idle("keen")
	starved.step(t)
	keen.step(t)
	starved.link.set(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		for keen.applied() < n {
			if err := keen.Step(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range n / 100 {
		var batch []curfew.Revocation
		for j := range 100 {
			batch = append(batch, ending(fmt.Sprint("s", i*100+j)))
		}
		r.append(batch...)
		if i == n/200 {
			starved.link.set(false)
			wg.Go(func() {
				for starved.applied() < n/100*100 {
					if err := starved.Step(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	for len(r.entries) < n {
		r.append(ending(fmt.Sprint("s", len(r.entries))))
	}
	wg.Wait()
	for fresh.applied() < n {
		fresh.step(t)
	}
	starved.step(t)
	for _, s := range []*service{starved, fresh, keen} {
		if s.Status().Entries != n {
			t.Errorf("%d entries", s.Status().Entries)
		}
		for i := range n {
			if !s.denied(fmt.Sprint("s", i)) {
				t.Fatalf("%d is lost", i)
			}
		}
	}
}

func TestAskingForTheFutureMeansDiverged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("other") // somebody has a lease, so that rounds take time
		r.wait(r.revoke("a"))
		began := time.Now()
		for _, hash := range []string{r.position().Hash.String(), "", strings.Repeat("0", 64)} {
			p := &feed.Poll{Instance: curfew.NewID(), Log: r.log, Seq: 2, Hash: hash, WaitMS: 1000}
			if _, err := r.poll(t.Context(), "s", p); !errors.Is(err, feed.ErrSnapshotRequired) {
				t.Errorf("hash %q: %v", hash, err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it was held for %v as if it were early", took)
		}
		if v := r.authority().Verifiers(); len(v) != 1 {
			t.Errorf("a lease was given: %+v", v)
		}
	})
}

// A process that was stopped comes back stale, wherever it was stopped.
func TestAPausedProcessComesBackStale(t *testing.T) {
	const long = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var asleep time.Duration
		nap := func() { time.Sleep(asleep) }
		s := r.idle("s", func(c *feed.FollowerConfig) {
			c.Now = func() feed.Instant { nap(); return feed.Now() }
		})
		sid := curfew.NewID()
		raw := r.token(sid)
		s.step(t)
		r.want(s, raw, nil)
		// Between two checks.
		time.Sleep(long)
		r.want(s, raw, curfew.ErrStale)
		// At the beginning of a check.
		s.step(t)
		s.pause = func() { time.Sleep(long) }
		r.want(s, raw, curfew.ErrStale)
		s.pause = nil
		// Between the deadline and the clock. Meanwhile the token is revoked,
		// and the logout is answered.
		s.step(t)
		seq := r.revoke(sid)
		asleep = long
		r.want(s, raw, curfew.ErrStale)
		if got := r.authority().Status(seq).State; got != feed.Enforced {
			t.Errorf("the logout is %s", got)
		}
		// After it was continued, but before it has heard anything.
		asleep = 0
		r.want(s, raw, curfew.ErrStale)
		s.step(t)
		r.want(s, raw, curfew.ErrRevoked)
	})
}

// A poll that was answered while the process was stopped brings a lease that is
// over.
func TestAnAnswerThatWaitedForAPausedProcessIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		raw := r.token(curfew.NewID())
		s.link.hook(func(d *direct) {
			d.answered = func(_ *feed.Poll, body []byte, err error) ([]byte, error) {
				time.Sleep(10 * time.Second)
				return body, err
			}
		})
		time.Sleep(11*time.Second + time.Millisecond)
		for range 50 {
			r.want(s, raw, curfew.ErrStale)
			time.Sleep(time.Second)
		}
	})
}
