package site

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxGone bounds the sign-outs that the authority has not heard of. Somebody
	// who makes up cookies while the authority is away can fill it, and is then
	// forgotten as well as others.
	maxGone = 10_000
	// keepGone is how long a value is refused here after the authority has
	// answered. The guard knows by then: it hears of an ending within a lease.
	keepGone = time.Minute

	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	closeWait  = 2 * time.Second
)

// gone is what people here have signed out of. Its values are refused from the
// moment on when that was asked for, and the authority is told until it has
// heard: the browser cannot do that, as its cookie is deleted.
type gone struct {
	authority *authority
	log       *slog.Logger
	cancel    context.CancelFunc
	stopped   sync.WaitGroup

	n  atomic.Int64 // len(values), so that others need no lock as long as there are none
	mu sync.RWMutex
	// values are the entries by the value of the cookie.
	values map[string]*leaving
}

// leaving is a session that somebody has left. gone.mu guards it.
type leaving struct {
	value, scope string
	by           person
	asking       bool      // a call is under way
	replaced     bool      // by a sign-in of the same browser
	until        time.Time // when it may be forgotten; zero until the authority has answered
}

func newGone(a *authority, log *slog.Logger) *gone {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gone{authority: a, log: log, cancel: cancel, values: map[string]*leaving{}}
	g.stopped.Go(func() { g.run(ctx) })
	return g
}

// has reports whether somebody has signed out of a session here.
func (g *gone) has(value string) bool {
	if g.n.Load() == 0 {
		return false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.values[value] != nil
}

// add notes a sign-out about which the caller asks the authority. It returns nil
// where there are too many.
func (g *gone) add(value, scope string, by person) *leaving {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.values[value]
	switch {
	case e == nil && len(g.values) >= maxGone:
		g.log.Error("too many sign-outs that the authority has not answered; one more is not kept")
		return nil
	case e == nil:
		e = &leaving{value: value, scope: scope, by: by}
		g.values[value] = e
		g.n.Store(int64(len(g.values)))
	case scope == "global":
		e.scope, e.until = scope, time.Time{}
	}
	e.asking = true
	return e
}

// replaced notes a session that the authority has ended for a sign-in of the same
// browser.
func (g *gone) replaced(value string) {
	e := g.add(value, "local", person{})
	if e != nil {
		g.mu.Lock()
		e.replaced = true
		g.mu.Unlock()
	}
	g.answered(e, "local", Receipt{State: "recorded"}, nil)
}

// wasReplaced reports whether the browser that sends a value has another one by
// now, or is being given it.
func (g *gone) wasReplaced(value string) bool {
	if g.n.Load() == 0 {
		return false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	e := g.values[value]
	return e != nil && e.replaced
}

// answered notes what became of a call about e.
func (g *gone) answered(e *leaving, scope string, receipt Receipt, err error) {
	if e == nil {
		return
	}
	g.mu.Lock()
	e.asking = false
	switch {
	case err != nil:
	case receipt.State == "":
		// The authority has never seen it, so nobody accepts it. Made-up values
		// must not take the place of others.
		delete(g.values, e.value)
		g.n.Store(int64(len(g.values)))
	case e.scope == scope: // else more was asked for meanwhile
		e.until = time.Now().Add(keepGone)
	}
	g.mu.Unlock()
	if err != nil {
		g.log.Warn("a sign-out has not reached the authority; it is tried again until it has", "err", err)
	}
}

// run tells the authority what it has not heard, and forgets what it has.
func (g *gone) run(ctx context.Context) {
	tick := time.NewTicker(firstRetry)
	defer tick.Stop()
	var next time.Time // when to ask again
	pause := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if g.n.Load() == 0 || time.Now().Before(next) {
			continue
		}
		g.forget()
		if g.deliver(ctx) {
			pause = firstRetry
			continue
		}
		pause = min(2*pause, lastRetry)
		next = time.Now().Add(pause)
	}
}

// forget drops the values that the guards know by now.
func (g *gone) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for value, e := range g.values {
		if !e.until.IsZero() && now.After(e.until) {
			delete(g.values, value)
		}
	}
	g.n.Store(int64(len(g.values)))
}

// deliver tells the authority of all that it has not heard, and reports whether
// it has answered. It gives up at the first call without an answer.
func (g *gone) deliver(ctx context.Context) bool {
	for _, e := range g.unheard() {
		g.mu.RLock()
		scope := e.scope
		g.mu.RUnlock()
		receipt, err := g.authority.end(ctx, e.value, scope, e.by, true)
		if err != nil {
			return false
		}
		g.log.Info("a sign-out has reached the authority after all", "state", receipt.State, "seq", receipt.Seq)
		g.answered(e, scope, receipt, nil)
	}
	return true
}

func (g *gone) unheard() []*leaving {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []*leaving
	for _, e := range g.values {
		if e.until.IsZero() && !e.asking {
			out = append(out, e)
		}
	}
	return out
}

// close tries once more to deliver what is left.
func (g *gone) close() {
	g.cancel()
	g.stopped.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if !g.deliver(ctx) {
		g.log.Error("sign-outs have not reached the authority, and are lost: their sessions last until they expire", "sessions", len(g.unheard()))
	}
}
