package guardtest

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
)

// Silence makes the authority take requests and never answer them, as behind a
// network that swallows everything. Guards lose their leases when those are
// over, and revocations wait for that. The authority itself works on.
func (a *Authority) Silence() { a.gate.open(silent, 0) }

// Down makes every connection break at once, as if the authority did not run.
func (a *Authority) Down() { a.gate.open(down, 0) }

// Slow makes every answer take so much longer. With more than a lease, guards
// have none, and can still ask.
func (a *Authority) Slow(d time.Duration) { a.gate.open(up, d) }

// Resume ends Silence, Down and Slow. Guards that had lost their lease are back
// within a second or so.
func (a *Authority) Resume() { a.gate.open(up, 0) }

// Rewind is the restoration of a backup from when the authority was new: it
// has another, shorter log and other keys, and everything that was issued before
// is dead. Rewind returns when that is enforced, which takes a lease: as after
// every restart, nobody knows what leases are out there. See
// [Authority.SetLease].
func (a *Authority) Rewind() Receipt {
	a.t.Helper()
	return a.rewind().Wait()
}

func (a *Authority) rewind() *Pending {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stop()
	// What the old one was about to say is lost. It must not get out after the
	// new one has begun to wait for the old one's leases.
	a.gate.again()
	a.log, a.entries, a.signers, a.denied = curfew.NewID(), nil, nil, denylist.New()
	a.forgetIssued()
	a.addKey()
	a.start(a.lease)
	a.append(
		curfew.Revocation{Kind: curfew.KindEverything, Reason: curfew.ReasonRestored},
		// Keys that are younger than the backup are not known in it. Tokens of
		// theirs die because they are not in the key set.
		curfew.Revocation{Kind: curfew.KindKey, Target: a.firstKey, Reason: curfew.ReasonRestored},
	)
	a.firstKey = a.signer().KeyID()
	return &Pending{Seq: a.head().Seq, a: a, hub: a.hub, running: a.running}
}

// Compact makes the log so long that a guard which has not heard of any of it
// must start from a snapshot: one that is silent now and comes back, or is
// opened later. It ends thousands of sessions that nobody has.
func (a *Authority) Compact() Receipt {
	a.t.Helper()
	a.mu.Lock()
	list := make([]curfew.Revocation, compactBy)
	for i := range list {
		list[i] = curfew.Revocation{Kind: curfew.KindSession, Target: curfew.NewID(), Reason: curfew.ReasonExpired}
	}
	a.append(list...)
	p := &Pending{Seq: a.head().Seq, a: a, hub: a.hub, running: a.running}
	a.mu.Unlock()
	return p.Wait()
}

// compactBy is more than the feed keeps as lines.
const compactBy = 4 * 4096

// link is what is between the guards and the authority.
type link int

const (
	up link = iota
	silent
	down
)

// gate lets answers through, or does not.
type gate struct {
	// mu is held for reading while an answer goes out, so that none does after
	// the link has been changed.
	mu    sync.RWMutex
	link  link
	slow  time.Duration
	epoch context.Context // ends when the link changes
	end   context.CancelFunc
}

// open changes the link. Requests that are held learn of it.
func (g *gate) open(l link, slow time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.end != nil {
		g.end()
	}
	g.link, g.slow = l, slow
	g.epoch, g.end = context.WithCancel(context.Background())
}

// again drops what is under way and leaves the link as it is.
func (g *gate) again() {
	g.mu.RLock()
	l, slow := g.link, g.slow
	g.mu.RUnlock()
	g.open(l, slow)
}

// pass is a request on its way.
type pass struct {
	g     *gate
	epoch context.Context
	slow  time.Duration
}

// enter lets a request in. It does not return while the link is silent, and
// does not return normally if the connection breaks.
func (g *gate) enter(r *http.Request) pass {
	g.mu.RLock()
	l, p := g.link, pass{g, g.epoch, g.slow}
	g.mu.RUnlock()
	if l == silent {
		select {
		case <-p.epoch.Done():
		case <-r.Context().Done():
		}
	}
	if l != up {
		panic(http.ErrAbortHandler)
	}
	return p
}

// leave lets an answer out if the link is still the one that its request came
// over.
func (p pass) leave(r *http.Request, answer func()) {
	if p.slow > 0 {
		select {
		case <-time.After(p.slow):
		case <-p.epoch.Done():
		case <-r.Context().Done():
		}
	}
	p.g.mu.RLock()
	if p.epoch.Err() == nil {
		defer p.g.mu.RUnlock()
		answer()
		return
	}
	p.g.mu.RUnlock()
	p.g.enter(r) // hangs if nothing is answered now
	panic(http.ErrAbortHandler)
}
