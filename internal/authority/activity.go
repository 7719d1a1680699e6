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
	return a.seen[session]
}

// take empties the set. What could not be stored is given back by note.
func (a *activity) take() []store.Touch {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]store.Touch, 0, len(a.seen))
	for id, at := range a.seen {
		out = append(out, store.Touch{Session: id, SeenAt: at})
	}
	clear(a.seen)
	return out
}
