package feed_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
)

// The rules of docs/guarantees.md, one by one.

func TestRule1TheLeaseCountsFromTheSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := newClock()
		s := r.idle("s", withClock(c))
		s.link.hook(func(d *direct) {
			d.answered = func(_ *feed.Poll, body []byte, err error) ([]byte, error) {
				c.turn(time.Second, time.Second) // the answer is long on its way
				return body, err
			}
		})
		raw := r.token(curfew.NewID())
		s.step(t)
		c.turn(lease-time.Second-1, lease-time.Second-1)
		r.want(s, raw, nil)
		c.turn(1, 1)
		r.want(s, raw, curfew.ErrStale)
		if left := s.Status().Lease; left != 0 {
			t.Errorf("%v of the lease is left", left)
		}
	})
}

func TestRule2TheWaitAllowsForDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The worst case: the verifier's clock is slow, the authority's fast.
		start := time.Now()
		fast, slow := ticks{start, 1.01}, ticks{start, 0.99}
		r := newRig(t, func(c *feed.HubConfig) { c.Ticks = fast })
		s := r.idle("s", func(c *feed.FollowerConfig) { c.Now = slow.instant })
		sid := curfew.NewID()
		raw := r.token(sid)
		s.step(t)
		seq := r.revoke(sid)
		// Its lease is as long as that of a slow clock can be.
		time.Sleep(lease*100/99 - time.Microsecond)
		r.want(s, raw, nil)
		if got := r.authority().Status(seq).State; got != feed.Recorded {
			t.Errorf("%s while the verifier accepts", got)
		}
		r.wait(seq)
		r.want(s, raw, curfew.ErrStale)
	})
}

func TestRule3WhatIsAcknowledgedIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		var mu sync.Mutex
		ended := map[curfew.Seq]string{}
		acks := 0
		s.link.hook(func(d *direct) {
			d.before = func(p *feed.Poll) {
				mu.Lock()
				raw := ended[p.Seq]
				mu.Unlock()
				if raw == "" {
					return
				}
				acks++
				r.want(s, raw, curfew.ErrRevoked)
			}
		})
		for i := range 30 {
			sid := curfew.NewID()
			raw := r.token(sid)
			mu.Lock()
			ended[curfew.Seq(i+1)] = raw
			mu.Unlock()
			r.wait(r.revoke(sid))
		}
		synctest.Wait()
		if acks < 30 {
			t.Errorf("%d acknowledgements", acks)
		}
	})
}

// A check that starts while the verifier is stale and behind must not be saved
// by a renewal in between.
func TestRule4TheDeadlineComesBeforeTheLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		sid := curfew.NewID()
		raw := r.token(sid)
		s.step(t)
		s.link.set(true)
		r.wait(r.revoke(sid)) // its lease is over, and it has not heard of it
		s.pause = func() {
			s.link.set(false)
			s.step(t)
		}
		r.want(s, raw, curfew.ErrRevoked)
	})
}

// Whoever has a grant without k is waited for, however appends and grants
// interleave.
func TestRule5AGrantIsNotedOrCarriesTheHead(t *testing.T) {
	r := newRig(t)
	const rounds = 300
	var order atomic.Int64
	var over atomic.Bool
	type poll struct {
		start int64 // place in the order of everything
		acked curfew.Seq
		got   curfew.Seq // of the grant
		gone  bool       // a release
	}
	var mu sync.Mutex
	var instances [][]poll
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for !over.Load() {
				p := &feed.Poll{Instance: curfew.NewID()}
				var polls []poll
				for n := range 6 {
					p.Poll, p.Release = int64(n+1), n == 5
					at := poll{start: order.Add(1), acked: p.Seq, gone: p.Release}
					g, err := r.authority().Poll(t.Context(), "s", p)
					if err != nil {
						t.Error(err)
						return
					}
					if g != nil {
						at.got = g.Seq
						p.Log, p.Seq, p.Hash = g.Log, g.Seq, g.Hash
					}
					polls = append(polls, at)
				}
				mu.Lock()
				instances = append(instances, polls)
				mu.Unlock()
			}
		})
	}
	ended := make([]int64, rounds+1)
	for k := 1; k <= rounds; k++ {
		if _, err := r.authority().Wait(t.Context(), r.revoke(curfew.NewID())); err != nil {
			t.Fatal(err)
		}
		ended[k] = order.Add(1)
	}
	over.Store(true)
	wg.Wait()
	for _, polls := range instances {
		for k := 1; k <= rounds; k++ {
			holds, heard := false, false
			for _, p := range polls {
				holds = holds || !p.gone && p.got < curfew.Seq(k)
				heard = heard || (p.gone || p.acked >= curfew.Seq(k)) && p.start < ended[k]
			}
			if holds && !heard {
				t.Fatalf("round %d ended at %d without %+v", k, ended[k], polls)
			}
		}
	}
	t.Logf("%d instances", len(instances))
}

func TestRule6LeasesOfBeforeARestartAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		s.link.set(true) // its lease is all that is left of it
		time.Sleep(10 * time.Millisecond)
		sid := curfew.NewID()
		raw := r.token(sid)
		before := r.revoke(curfew.NewID()) // recorded, not enforced
		r.halt()
		r.start()
		if got := r.authority().Status(before).State; got != feed.Recorded {
			t.Errorf("what was there before: %s", got)
		}
		seq := r.revoke(sid)
		time.Sleep(feed.Wait(lease) - 1)
		if got := r.authority().Status(seq).State; got != feed.Recorded {
			t.Errorf("just before: %s", got)
		}
		if _, took := r.wait(seq); took != 1 {
			t.Errorf("took %v longer", took)
		}
		r.wait(before)
		r.want(s, raw, curfew.ErrStale)
		if _, took := r.wait(r.revoke(curfew.NewID())); took > 0 {
			t.Errorf("the second logout took %v", took)
		}
	})
}

// The verifiers that are back after a restart may acknowledge as much as they
// like: one that is not back yet may hold a lease.
func TestRule6AcknowledgementsDoNotShortenTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.service("a"), r.service("b")
		sid := curfew.NewID()
		raw := r.token(sid)
		b.link.set(true)
		r.halt()
		time.Sleep(time.Millisecond)
		r.start()
		time.Sleep(100 * time.Millisecond)
		seq := r.revoke(sid)
		synctest.Wait()
		if a.applied() != seq {
			t.Fatalf("a stands at %d", a.applied())
		}
		r.want(b, raw, nil)
		if got := r.authority().Status(seq); got.State != feed.Recorded {
			t.Errorf("%+v", got)
		}
		r.wait(seq)
		r.want(b, raw, curfew.ErrStale)
	})
}

// Whoever forgets that there are leases cannot wait for them.
func TestRule6NoLeaseIsGivenThatIsNotNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the store is down")
		var fail atomic.Bool
		var notes []time.Duration
		r := newRig(t, func(c *feed.HubConfig) {
			c.Lease = 2 * time.Second
			c.Note = func(_ context.Context, lease time.Duration) error {
				if fail.Load() {
					return broken
				}
				notes = append(notes, lease)
				return nil
			}
		})
		s := r.idle("s")
		fail.Store(true)
		if err := s.Step(t.Context()); !errors.Is(err, broken) {
			t.Errorf("poll: %v", err)
		}
		if v := r.authority().Verifiers(); len(v) != 0 {
			t.Errorf("leases: %+v", v)
		}
		if _, err := s.Confirm(t.Context()); err != nil {
			t.Errorf("a confirmation brings no lease: %v", err)
		}
		fail.Store(false)
		s.step(t)
		s.step(t)
		if len(notes) != 1 || notes[0] != 2*time.Second {
			t.Errorf("noted %v", notes)
		}
	})
}

// A lease that an earlier run gave may be longer than those of this one.
func TestRule6TheLongestLeaseOfAllRunsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := 20 * time.Second
		r := newRig(t, func(c *feed.HubConfig) { c.Lease = long })
		s := r.service("s")
		raw := r.token(curfew.NewID())
		s.link.set(true)
		r.halt()
		r.config = func(c *feed.HubConfig) { c.Lease = time.Second }
		r.start()
		time.Sleep(10 * time.Second)
		r.want(s, raw, nil)
		if _, took := r.wait(r.append(curfew.Revocation{Kind: curfew.KindEverything})); took != feed.Wait(long)-10*time.Second {
			t.Errorf("took %v", took)
		}
		r.want(s, raw, curfew.ErrStale)
	})
}

func TestRule7AGrantCarriesEverythingThatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		s.step(t)
		var tokens []string
		for range 200 {
			sid := curfew.NewID()
			tokens = append(tokens, r.token(sid))
			r.revoke(sid)
		}
		s.step(t)
		if s.applied() != 200 || s.Status().Entries != 200 {
			t.Errorf("%+v", s.Status())
		}
		for _, raw := range tokens {
			r.want(s, raw, curfew.ErrRevoked)
		}
	})
}

// Only what was ever in a commit that the store has reported reaches the hub;
// of anything else it promises nothing.
func TestRule8NothingIsPromisedOfWhatIsNotInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("s")
		for range 2 {
			next := r.head().Seq + 1
			if _, err := r.authority().Wait(t.Context(), next); err == nil {
				t.Errorf("%d is not in the log and was waited for", next)
			}
			if got := r.authority().Status(next).State; got != feed.Recorded {
				t.Errorf("status of %d: %s", next, got)
			}
			r.wait(r.revoke(curfew.NewID()))
		}
	})
}

func TestRule9ElapsedTimeIsTheLargerOfTwoClocks(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, c := range []struct {
		name       string
		mono, wall time.Duration
		want       error
	}{
		{"both just before", lease - 1, lease - 1, nil},
		{"both", lease, lease, curfew.ErrStale},
		{"monotonic alone", lease, 0, curfew.ErrStale},
		{"suspended: the monotonic clock stood still", 0, lease, curfew.ErrStale},
		{"suspended for a moment", 0, lease - 1, nil},
		{"the wall clock was set back", lease - 1, -year, nil},
		{"the wall clock was set back, and time is over", lease, -year, curfew.ErrStale},
		{"the wall clock was set forward", 1, year, curfew.ErrStale},
		{"nothing has passed", 0, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				k := newClock()
				s := r.idle("s", withClock(k))
				s.step(t)
				raw := r.token(curfew.NewID())
				r.want(s, raw, nil)
				k.turn(c.mono, c.wall)
				r.want(s, raw, c.want)
				s.step(t) // whatever the clocks say, the next lease is as good
				r.want(s, raw, nil)
			})
		})
	}
}

func TestRule10TokensAreJudgedByAuthorityTime(t *testing.T) {
	for _, off := range []time.Duration{0, -30 * 365 * 24 * time.Hour, 30 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint("wall clock off by ", off), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				s := r.idle("s", func(c *feed.FollowerConfig) {
					c.Now = func() feed.Instant {
						now := feed.Now()
						now.Wall += int64(off)
						return now
					}
				})
				c := r.claims(curfew.NewID())
				exp := time.Now().Truncate(time.Second).Add(100 * time.Second)
				c.Exp = exp.Unix()
				raw := r.sign(c)
				for time.Until(exp) > 2*time.Second {
					s.step(t)
					r.want(s, raw, nil)
				}
				// Between two grants the time that has passed counts.
				time.Sleep(time.Until(exp) - 1)
				r.want(s, raw, nil)
				time.Sleep(time.Microsecond) // grants name time in microseconds
				r.want(s, raw, curfew.ErrExpired)
			})
		})
	}
}

// Authority time never goes back at a verifier, also where the answer of an
// authority was faster than the one before, or its clock was set back.
func TestRule10AuthorityTimeDoesNotGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Int64
		r := newRig(t, func(c *feed.HubConfig) {
			c.Time = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		})
		k := newClock()
		s := r.idle("s", withClock(k))
		slow := 2 * time.Second
		s.link.hook(func(d *direct) {
			d.before = func(*feed.Poll) { k.turn(slow, slow) } // it arrives long after it was sent
		})
		var last time.Time
		check := func() {
			t.Helper()
			now, err := s.Follower.Now()
			if err != nil {
				t.Fatal(err)
			}
			if now.Before(last) {
				t.Errorf("authority time went back by %v", last.Sub(now))
			}
			last = now
		}
		s.step(t)
		check()
		slow = 0
		s.step(t)
		check()
		back.Store(int64(time.Hour))
		s.step(t)
		check()
		k.turn(time.Second, time.Second)
		check()
	})
}

// An entry that is forgotten takes its tokens with it, by the horizon alone.
func TestRule11NothingIsForgottenByTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		k := newClock()
		k.turn(0, 50*365*24*time.Hour) // every entry is long over by this clock
		s := r.idle("s", withClock(k))
		sid := curfew.NewID()
		c := r.claims(sid)
		raw := r.sign(c)
		s.step(t)
		r.revoke(sid)
		s.step(t)
		r.want(s, raw, curfew.ErrRevoked)
		for range 3 {
			r.revoke(curfew.NewID())
			s.step(t)
			r.want(s, raw, curfew.ErrRevoked)
		}
		if got := s.Status().Entries; got != 4 {
			t.Errorf("%d entries", got)
		}
		// The horizon may take the entry, and the token is dead nevertheless.
		r.authority().Forget(time.Unix(c.Exp, 0))
		r.revoke(curfew.NewID())
		s.step(t)
		if got := s.Status().Entries; got != 1 {
			t.Errorf("%d entries beyond the horizon", got)
		}
		r.want(s, raw, curfew.ErrExpired)
		// So is one that nobody revoked, whatever the time.
		other := r.claims(curfew.NewID())
		other.Exp = c.Exp
		r.want(s, r.sign(other), curfew.ErrExpired)
		other.Exp++
		r.want(s, r.sign(other), nil)
	})
}

// The horizon never falls, not even in a log that was restored.
func TestRule11TheHorizonNeverFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.idle("s")
		c := r.claims(curfew.NewID())
		raw := r.sign(c)
		s.step(t)
		r.authority().Forget(time.Unix(c.Exp, 0))
		s.step(t)
		r.want(s, raw, curfew.ErrExpired)
		r.restore("log-2", nil)
		if err := s.Step(t.Context()); err != nil { // the snapshot
			t.Fatal(err)
		}
		s.step(t)
		if got := s.Status().Position.LogID; got != "log-2" {
			t.Fatalf("it follows %s", got)
		}
		r.want(s, raw, curfew.ErrExpired)
	})
}

func TestRule12AReleasedLeaseIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		sid := curfew.NewID()
		raw := r.token(sid)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.stop()
		r.want(s, raw, curfew.ErrStale)
		if receipt, took := r.wait(r.revoke(sid)); receipt.Verifiers != 0 || took > 0 {
			t.Errorf("receipt %+v after %v", receipt, took)
		}
		// A round under way stops to wait for it too.
		a := r.idle("a")
		a.step(t)
		seq := r.revoke(curfew.NewID())
		if got := r.authority().Status(seq).State; got != feed.Recorded {
			t.Errorf("state %s", got)
		}
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, took := r.wait(seq); took > 0 {
			t.Errorf("took %v", took)
		}
	})
}

// The lease is over before the authority hears of it, also if it never does.
func TestRule12NothingIsAcceptedOnceItIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		raw := r.token(curfew.NewID())
		s.link.hook(func(d *direct) {
			d.before = func(p *feed.Poll) {
				if p.Release {
					r.want(s, raw, curfew.ErrStale)
				}
			}
		})
		s.link.hook(func(d *direct) {
			d.answered = func(p *feed.Poll, body []byte, err error) ([]byte, error) {
				if p.Release {
					return nil, errCut
				}
				return body, err
			}
		})
		if err := s.Close(t.Context()); !errors.Is(err, errCut) {
			t.Errorf("close: %v", err)
		}
		time.Sleep(5 * time.Second) // Run goes on, and gets no lease any more
		r.want(s, raw, curfew.ErrStale)
		if v := r.authority().Verifiers(); len(v) != 0 {
			t.Errorf("leases: %+v", v)
		}
		if _, err := s.Confirm(t.Context()); !errors.Is(err, curfew.ErrStale) {
			t.Errorf("confirm: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
	})
}
