package guard

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
)

// EndedError is the cause with which the context of a request is cancelled when
// its session ends. It wraps [curfew.ErrRevoked].
type EndedError struct {
	Session string
	// Reason is why, as the authority recorded it; empty if that is not known.
	Reason curfew.Reason
}

func (e *EndedError) Error() string {
	if e.Reason == "" {
		return "the session has ended"
	}
	return fmt.Sprintf("the session has ended: %s", e.Reason)
}

// Unwrap returns [curfew.ErrRevoked].
func (e *EndedError) Unwrap() error { return curfew.ErrRevoked }

// work is a request that was let through and has not finished.
type work struct {
	claims   *Claims
	cancel   context.CancelCauseFunc
	response *response // nil where there is none
	// over is why the guard has ended it; nil while it has not.
	over   atomic.Pointer[error]
	unsure time.Time // since when there is no lease; watch alone uses it

	part       *part
	prev, next *work // of the same session
	removed    bool
}

// running is the requests that were let through, by session. It is sharded,
// because every request passes it twice.
type running struct {
	parts [64]part
}

type part struct {
	mu       sync.Mutex
	sessions map[string]*work
	n        int
	_        [40]byte // parts do not share cache lines
}

var runningSeed = maphash.MakeSeed()

func (r *running) part(session string) *part {
	return &r.parts[maphash.String(runningSeed, session)%uint64(len(r.parts))]
}

// add registers a request. It must be checked again afterwards: a revocation
// that came before it was registered did not find it.
func (r *running) add(w *work) {
	session := w.claims.Session
	w.part = r.part(session)
	p := w.part
	p.mu.Lock()
	if p.sessions == nil {
		p.sessions = map[string]*work{}
	}
	if first := p.sessions[session]; first != nil {
		w.next, first.prev = first, w
	}
	p.sessions[session] = w
	p.n++
	p.mu.Unlock()
}

// remove forgets a request that has finished. It may be called again: what is
// ended by its caller may be ended by the close of its connection too, and a
// request that was removed twice would take others of its session out of reach.
func (w *work) remove() {
	p := w.part
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.removed {
		return
	}
	w.removed = true
	if w.next != nil {
		w.next.prev = w.prev
	}
	switch {
	case w.prev != nil:
		w.prev.next = w.next
	case w.next != nil:
		p.sessions[w.claims.Session] = w.next
	default:
		delete(p.sessions, w.claims.Session)
	}
	p.n--
}

func (r *running) len() int {
	n := 0
	for i := range r.parts {
		r.parts[i].mu.Lock()
		n += r.parts[i].n
		r.parts[i].mu.Unlock()
	}
	return n
}

// ending is a request to be cancelled.
type ending struct {
	*work
	cause error
}

// mark notes why the request ends, and reports false if it was ended before.
// What is marked writes nothing any more.
func (e ending) mark() bool { return e.over.CompareAndSwap(nil, &e.cause) }

// end cancels the request, and cuts it off if it has not ended a little later.
func (e ending) end() {
	e.cancel(e.cause)
	if e.response != nil {
		time.AfterFunc(cutOffAfter, e.response.cutOff)
	}
}

// ended returns the requests that entries end.
func (r *running) ended(entries []curfew.Revocation) []ending {
	var out []ending
	var wide []curfew.Revocation
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Issuer != "": // not our tokens
		case e.Kind != curfew.KindSession:
			wide = append(wide, *e)
		default:
			p := r.part(e.Target)
			p.mu.Lock()
			for w := p.sessions[e.Target]; w != nil; w = w.next {
				out = append(out, ending{w, &EndedError{e.Target, e.Reason}})
			}
			p.mu.Unlock()
		}
	}
	if len(wide) == 0 {
		return out
	}
	// The entries are looked at and not the denylist, which also holds tokens
	// for dead that are only too old: the session of a long request lives on
	// when the token has expired that it began with.
	for _, w := range r.all() {
		for i := range wide {
			if ends(&wide[i], w.claims) {
				out = append(out, ending{w, &EndedError{w.claims.Session, wide[i].Reason}})
				break
			}
		}
	}
	return out
}

// ends reports whether an entry that is wider than a session ends what was
// accepted with c.
func ends(e *curfew.Revocation, c *Claims) bool {
	switch e.Kind {
	case curfew.KindToken:
		return e.Target == c.ID
	case curfew.KindKey:
		return e.Target == c.KeyID
	case curfew.KindSubject:
		return e.Target == c.Subject && c.Ver < e.Seq
	case curfew.KindClient:
		return e.Target == c.ClientID && c.Ver < e.Seq
	}
	return c.Ver < e.Seq // everything, and what a newer authority means
}

// each returns the requests that why gives a reason to end.
func (r *running) each(why func(w *work) error) []ending {
	var out []ending
	for _, w := range r.all() {
		if cause := why(w); cause != nil {
			out = append(out, ending{w, cause})
		}
	}
	return out
}

func (r *running) all() []*work {
	var out []*work
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		for _, w := range p.sessions {
			for ; w != nil; w = w.next {
				out = append(out, w)
			}
		}
		p.mu.Unlock()
	}
	return out
}
