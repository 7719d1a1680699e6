package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

// watchers are those who want to know when a session may have ended. It is told
// of each entry of the log as it comes into force, and wakes those whom it may
// concern; what has become of their sessions they look up themselves, so that
// the log waits for nobody.
type watchers struct {
	mu        sync.Mutex
	bySession map[string]map[*Watch]struct{}
	bySubject map[string]map[*Watch]struct{}
	total     int
}

// Watch is woken when the session that it watches may have ended.
type Watch struct {
	all    *watchers
	claims *token.Claims
	wake   chan struct{}
}

// Watch watches the session of verified claims, unless most are watched already,
// or each of them by that session. The caller calls Stop.
func (a *Authority) Watch(c *token.Claims, most, each int) (*Watch, bool) {
	w := &Watch{all: &a.watchers, claims: c, wake: make(chan struct{}, 1)}
	ws := w.all
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.total >= most || len(ws.bySession[c.Session]) >= each {
		return nil, false
	}
	if ws.bySession == nil {
		ws.bySession, ws.bySubject = map[string]map[*Watch]struct{}{}, map[string]map[*Watch]struct{}{}
	}
	put(ws.bySession, c.Session, w)
	put(ws.bySubject, c.Subject, w)
	ws.total++
	return w, true
}

// Woken receives when [Authority.Standing] is to be asked.
func (w *Watch) Woken() <-chan struct{} { return w.wake }

// Stop ends the watch.
func (w *Watch) Stop() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	drop(w.all.bySession, w.claims.Session, w)
	drop(w.all.bySubject, w.claims.Subject, w)
	w.all.total--
}

func put(m map[string]map[*Watch]struct{}, key string, w *Watch) {
	if m[key] == nil {
		m[key] = map[*Watch]struct{}{}
	}
	m[key][w] = struct{}{}
}

func drop(m map[string]map[*Watch]struct{}, key string, w *Watch) {
	delete(m[key], w)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

func (ws *watchers) applied(entries []curfew.Revocation) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.total == 0 {
		return
	}
	for _, e := range entries {
		switch e.Kind {
		case curfew.KindSession:
			wakeAll(ws.bySession[e.Target])
		case curfew.KindSubject:
			wakeAll(ws.bySubject[e.Target])
		default: // rare, and it may concern anybody
			for _, list := range ws.bySession {
				wakeAll(list)
			}
			return
		}
	}
}

func wakeAll(list map[*Watch]struct{}) {
	for w := range list {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// sinks is what follows the log beside the denylist.
type sinks struct {
	*feed.Hub
	watchers *watchers
}

// Append implements [revlog.Sink]. The verifiers come first: a logout waits for
// them.
func (s sinks) Append(entries []curfew.Revocation, at curfew.Position) {
	s.Hub.Append(entries, at)
	s.watchers.applied(entries)
}

// Standing is how a session stands.
type Standing struct {
	Session curfew.Session
	User    store.User
	Now     time.Time // authority time
	// IdleAt is when it ends unless its person does something; zero = never.
	IdleAt time.Time
	// Superseded says that the session lives, but the access token asked about
	// does not: it was revoked by itself or with its key, or the session was kept
	// when its subject's others were ended. A refresh gets another one.
	Superseded bool
}

// Standing returns how the session of verified claims stands now. A session that
// has ended is an [EndedError].
func (a *Authority) Standing(ctx context.Context, c *token.Claims) (Standing, error) {
	st := Standing{Now: a.clock.now()}
	var err error
	if st.Session, err = a.store.Session(ctx, c.Session); errors.Is(err, store.ErrNotFound) {
		return st, &EndedError{curfew.ReasonExpired} // purged, long after it ended
	} else if err != nil {
		return st, fmt.Errorf("reading a session: %w", err)
	}
	if st.User, err = a.store.User(ctx, c.Subject); errors.Is(err, store.ErrNotFound) {
		return st, &EndedError{curfew.ReasonDeleted}
	} else if err != nil {
		return st, fmt.Errorf("reading a user: %w", err)
	}
	if why := a.dead(st.Session, st.User, st.Now); why != "" {
		return st, &EndedError{why}
	}
	st.Superseded = c.ID != "" && a.verifier.Denied(c) != nil
	if a.cfg.IdleTimeout > 0 {
		st.IdleAt = later(st.Session.LastSeenAt, a.activity.lastSeen(c.Session)).Add(a.cfg.IdleTimeout)
	}
	return st, nil
}

// WhyEnded returns why the session of a genuine credential has ended, or "" if
// it lives or nothing is known of it.
func (a *Authority) WhyEnded(ctx context.Context, credential string) curfew.Reason {
	var s curfew.Session
	var err error
	if IsCookie(credential) {
		s, err = a.cookieRow(ctx, credential)
	} else {
		var c *token.Claims
		if c, err = a.verifier.Genuine(credential); err == nil && c.Subject != CanarySubject {
			s, err = a.store.Session(ctx, c.Session)
		}
	}
	if err != nil || s.ID == "" {
		return ""
	}
	user, err := a.store.User(ctx, s.Subject)
	if err != nil {
		return s.EndReason
	}
	return a.dead(s, user, a.clock.now())
}

// IdleTimeout returns the time-out of idle sessions; 0 is none.
func (a *Authority) IdleTimeout() time.Duration { return a.cfg.IdleTimeout }
