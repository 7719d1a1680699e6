package authority

import (
	"sync"
	"time"

	"github.com/curfewhq/curfew/internal/store"
)

// activity gathers when sessions were last seen, so that activity costs a
// memory write per request and one commit per flush. A crash loses at most one
// flush interval of it, which ends a session earlier, never later.
type activity struct {
	mu   sync.Mutex
	seen map[string]time.Time // of sessions, since the last flush
	// flushed is what the last flush has taken. It counts until the next one:
	// while it is being stored, and for whoever has read a row just before.
	flushed map[string]time.Time
}

func (a *activity) note(session string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = map[string]time.Time{}
	}
	if at.After(a.seen[session]) {
		a.seen[session] = at
	}
}

func (a *activity) lastSeen(session string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return later(a.seen[session], a.flushed[session])
}

// take returns what is to be stored. What could not be stored is given back by
// note.
func (a *activity) take() []store.Touch {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]store.Touch, 0, len(a.seen))
	for id, at := range a.seen {
		out = append(out, store.Touch{Session: id, SeenAt: at})
	}
	a.flushed, a.seen = a.seen, nil
	return out
}

// idleAfter is how long after it was last seen a session is idle: the time-out,
// and as long as activity may be on its way here from a verifier. Whoever was
// active at a service a moment ago must not be logged out for being idle.
func (a *Authority) idleAfter() time.Duration {
	return a.cfg.IdleTimeout + time.Duration(a.idleWait.Load())
}

// reportDelay is how long activity can be on its way: a verifier sends it with
// its next poll, which is when the last one has been held for a third of a
// lease. Just after a start nobody is idle who may be known to a verifier that
// has not come back yet.
func (a *Authority) reportDelay() time.Duration {
	const onTheWay = time.Second
	if time.Now().Before(a.reunited) {
		return 100 * 365 * 24 * time.Hour
	}
	if a.feed.Live() > 0 {
		return a.cfg.Lease/3 + onTheWay
	}
	return 0
}

// reunion is how long after a start verifiers may need to come back. They try
// again at least each second, and a try takes two at most.
const reunion = 5 * time.Second
