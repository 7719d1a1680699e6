package sim

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
)

// guard is a verifier's machine. Processes on it come and go.
type guard struct {
	w     *world
	id    int
	clock *machine

	mu   sync.Mutex
	proc *process // nil while none runs
	runs int
}

func (g *guard) name() string { return fmt.Sprint("guard-", g.id) }

// process is one run of a verifier.
type process struct {
	w        *world
	g        *guard
	n        int
	instance string
	f        *feed.Follower
	v        *verify.Verifier
	ctx      context.Context
	stop     context.CancelFunc
	dead     atomic.Bool
	frozen   atomic.Int64 // true time until which it stands still
}

func (g *guard) up() *process {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.proc
}

// boot starts a process, which knows nothing of those before it.
func (g *guard) boot() {
	w := g.w
	g.mu.Lock()
	g.runs++
	p := &process{w: w, g: g, n: g.runs, instance: fmt.Sprintf("%032x", g.id<<16|g.runs)}
	g.mu.Unlock()
	p.ctx, p.stop = context.WithCancel(w.ctx)
	p.v = verify.New(verify.Config{
		Audience: audience, Denylist: denylist.New(), CacheSize: 64,
		Clock: func() (time.Time, error) {
			p.stall(0)
			return p.f.Now()
		},
	})
	p.f = feed.NewFollower(feed.FollowerConfig{
		Transport: &link{p: p}, Target: target{p}, Now: p.now,
		Sleep: func(ctx context.Context, d time.Duration) {
			t := time.NewTimer(g.clock.real(d))
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			p.gate(forGate)
		},
	})
	g.mu.Lock()
	g.proc = p
	g.mu.Unlock()
	w.spawn(func() { p.f.Run(p.ctx) })
	w.seen.count(func(s *summary) { s.Boots++ })
	w.tracef("guard %d: process %d started", g.id, p.n)
}

// kill ends the process at once.
func (p *process) kill() {
	p.g.mu.Lock()
	p.g.proc = nil
	p.g.mu.Unlock()
	p.w.tracef("guard %d: killed", p.g.id)
	p.dead.Store(true)
	p.stop()
}

// close ends the process in order.
func (p *process) close() {
	p.w.tracef("guard %d: closing", p.g.id)
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	if err := p.f.Close(ctx); err == nil {
		p.w.seen.count(func(s *summary) { s.Releases++ })
	}
	p.kill()
}

// gone reports whether nobody hears from the process any more.
func (p *process) gone() bool { return p.dead.Load() || p.w.ctx.Err() != nil }

type target struct{ p *process }

func (t target) Replace(s *denylist.Set)                     { t.p.v.Replace(s) }
func (t target) SetIssuer(issuer string, keys *token.KeySet) { t.p.v.SetIssuer(issuer, keys) }
func (t target) Applied(entries []curfew.Revocation) {
	t.p.w.tracef("guard %d: applied %d..%d", t.p.g.id, entries[0].Seq, entries[len(entries)-1].Seq)
}

// freeze stops the process for a while, wherever it stands.
func (p *process) freeze(d time.Duration) {
	until := int64(min(p.w.now()+d, p.w.chaos+3*time.Second))
	for old := p.frozen.Load(); old < until && !p.frozen.CompareAndSwap(old, until); old = p.frozen.Load() {
	}
	p.w.tracef("guard %d: frozen for %v", p.g.id, d)
	p.w.seen.count(func(s *summary) { s.Pauses++ })
}

// gate is a point at which a process that stands still stops. It may also be
// the very point at which it is stopped.
func (p *process) gate(kind uint64) {
	w := p.w
	if w.on[pauses] && !w.isCalm() {
		if d := w.dice(forGate, kind, uint64(p.g.id), w.at()); d.chance(0.004) {
			p.freeze(d.between(100*time.Millisecond, 10*time.Second))
		}
	}
	entered := w.at()
	for !p.dead.Load() {
		left := time.Duration(p.frozen.Load()) - w.now()
		if left <= 0 {
			return
		}
		// Not all of its goroutines go on at the same moment.
		late := w.dice(forWake, kind, uint64(p.g.id), entered).between(0, 3*time.Millisecond)
		if !w.sleep(left + late) {
			return
		}
	}
}

// stall holds up one goroutine in the middle of a check, or the whole process.
func (p *process) stall(point uint64) {
	w := p.w
	if w.on[stalls] && !w.isCalm() {
		if d := w.dice(forStall, point, uint64(p.g.id), w.at()); d.chance(0.06) {
			w.seen.count(func(s *summary) { s.Stalls++ })
			w.sleep(d.about(80 * time.Millisecond))
		}
	}
	p.gate(point<<32 | forStall)
}

// now reads the clocks. In a check a process may be stopped just before and just
// after that. Elsewhere the follower holds its lock, under which nothing in a
// bubble may sleep.
func (p *process) now() feed.Instant {
	w := p.w
	checking := (w.on[stalls] || w.on[pauses]) && inCheck()
	if checking {
		p.stall(1)
	}
	at := p.g.clock.read(w.now())
	if checking {
		p.stall(2)
	}
	return at
}

// inCheck reports whether the clock is read by (*Follower).Now.
func inCheck() bool {
	var pcs [2]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasSuffix(f.Function, "feed.(*Follower).Now") {
			return true
		}
	}
	return false
}

// verdict is what a check says.
type verdict int

const (
	accepted verdict = iota
	revoked
	expired
	invalid
	stale
)

func (v verdict) String() string {
	return [...]string{"accepted", "revoked", "expired", "invalid", "stale"}[v]
}

func verdictOf(err error) verdict {
	switch {
	case err == nil:
		return accepted
	case errors.Is(err, curfew.ErrStale):
		return stale
	case errors.Is(err, curfew.ErrRevoked):
		return revoked
	case errors.Is(err, curfew.ErrExpired):
		return expired
	}
	return invalid
}

func (p *process) check(i *issued, strict bool) { p.judge(check{token: i, strict: strict}) }

// judge carries a check out and notes what it says. The request starts now, be
// the process frozen or not.
func (p *process) judge(c check) {
	w, i, strict := p.w, c.token, c.strict
	start := w.now()
	p.gate(forProbe)
	if p.dead.Load() {
		return
	}
	if !i.verify {
		p.v.Remember(i.raw, &i.claims)
	}
	var err error
	if strict {
		var now time.Time
		if now, err = p.f.Confirm(p.ctx); err == nil {
			_, err = p.v.CheckAt(i.raw, now)
		}
	} else {
		_, err = p.v.Check(i.raw)
	}
	p.gate(forProbe)
	if p.gone() {
		return
	}
	c.guard, c.process, c.start, c.end, c.verdict = p.g.id, p.n, start, w.now(), verdictOf(err)
	w.seen.check(c)
	w.tracef("guard %d: token %d is %v, asked at %.9f, strict %v", p.g.id, i.n, c.verdict, start.Seconds(), strict)
}

// judge is the same at the authority itself, which needs no lease.
func (a *authority) judge(i *issued) {
	w := a.w
	start := w.now()
	if !i.verify {
		a.check.Remember(i.raw, &i.claims)
	}
	_, err := a.check.Check(i.raw)
	w.seen.check(check{token: i, guard: guards, process: 0, start: start, end: start, verdict: verdictOf(err)})
}
