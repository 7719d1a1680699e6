package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestStoppedService stops a service, logs out, and lets it go on. The logout
// is answered within the lease, and nothing that was asked after that answer is
// accepted, though it had been waiting in the sockets of the service.
func TestStoppedService(t *testing.T) {
	t.Parallel()
	for _, p := range []struct {
		lease         time.Duration
		rounds, total int
	}{
		{3 * time.Second, 1, 10},
		{300 * time.Millisecond, 8, 300},
	} {
		t.Run(fmt.Sprintf("lease=%v", p.lease), func(t *testing.T) {
			t.Parallel()
			if long() {
				p.rounds = p.total
			}
			c := startCluster(t, clusterConfig{Lease: p.lease, Users: 20, Services: 2})
			s := &stops{
				t: t, c: c, h: newHistory(), rnd: rand.New(rand.NewPCG(*flagSeed, uint64(p.lease))),
				fastest: time.Hour, said: map[verdict]int{},
			}
			for i := 0; i < p.rounds || s.fastest > s.limit() && i < p.rounds+4; i++ {
				if s.round(); t.Failed() {
					return
				}
			}
			// On a busy machine some may take longer, but not all.
			if s.fastest > s.limit() {
				t.Errorf("no logout took less than %v with a service that is stopped; the limit is %v", s.fastest, s.limit())
			}
			t.Logf("seed %d: stopped %d times; logouts took %v to %v with leases that count for %v; asked after the answer while it was stopped: %d refused, %d stale, %d without answer",
				*flagSeed, s.rounds, s.fastest.Round(time.Millisecond), s.slowest.Round(time.Millisecond), c.bound, s.said[refused], s.said[stale], s.said[failed])
			if s.said[refused]+s.said[stale] == 0 {
				t.Error("this run shows nothing: the stopped service answered nothing that was asked after the logout")
			}
		})
	}
}

type stops struct {
	t      *testing.T
	c      *cluster
	h      *history
	rnd    *rand.Rand
	n      int // sessions that were begun
	rounds int

	mu               sync.Mutex
	fastest, slowest time.Duration
	said             map[verdict]int // by the stopped service, of what was asked after the answer
}

// limit is 3.7 s for the default lease, which counts for 3.11 s.
func (s *stops) limit() time.Duration { return s.c.bound + 590*time.Millisecond }

func (s *stops) round() {
	t, c := s.t, s.c
	t.Helper()
	s.rounds++
	// The first two are logged out, the third lives on.
	var list []tokens
	for range 3 {
		s.n++
		session, err := c.login(t.Context(), s.n%c.cfg.Users)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, session)
	}
	c.awaitLeases(t)
	service := c.verifiers[0]
	// Requests are under way when the service is stopped, at any point of the
	// check.
	var watchers []*watcher
	for range 3 {
		watchers = append(watchers, watch(c, s.h, list))
	}
	if err := c.awaitAccept(t.Context(), service, list[2]); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(s.rnd.IntN(int(c.cfg.Lease / 3))))
	if err := service.stop(); err != nil {
		t.Fatal(err)
	}
	defer service.proceed()

	answered := make([]int64, len(list))
	var calls sync.WaitGroup
	for i := range 2 {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			began := s.h.now()
			if _, err := c.logout(ctx, "/logout", list[i].Access, ""); err != nil {
				t.Errorf("a logout while a service is stopped: %v", err)
				return
			}
			answered[i] = s.h.now()
			took := time.Duration(answered[i] - began)
			if limit := feedBound(c.cfg.Lease); took > limit {
				t.Errorf("the logout took %v, more than %v, with a service that is stopped", took, limit)
			}
			s.note(func() { s.fastest, s.slowest = min(s.fastest, took), max(s.slowest, took) })
		})
	}
	calls.Wait()
	if t.Failed() {
		return
	}
	// These wait in the sockets of the service.
	for i := range 8 {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			session := list[i%2]
			said, body := c.ask(ctx, service.url(), session.Access)
			if said != refused && said != stale && said != failed {
				t.Errorf("a service that was stopped says %s to a request from after the logout: %s", said, body)
			}
			s.note(func() { s.said[said]++ })
		})
	}
	time.Sleep(time.Duration(s.rnd.IntN(int(100*time.Millisecond))) + 20*time.Millisecond)
	service.proceed()
	calls.Wait()
	if err := c.awaitAccept(t.Context(), service, list[2]); err != nil {
		t.Error(err)
	}
	for _, w := range watchers {
		for _, a := range w.end() {
			if end := answered[a.session]; end > 0 && a.call > end {
				t.Errorf("%s accepted a session %v after its logout was answered", c.verifiers[a.at-atVerifier].name, time.Duration(a.call-end))
			}
		}
		for r := range w.refused {
			if r.session == 2 {
				t.Errorf("%s refused a session that nobody has ended", c.verifiers[r.at-atVerifier].name)
			}
		}
	}
}

func (s *stops) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}
