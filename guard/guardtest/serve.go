package guardtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/feed/feedhttp"
)

// Asked counts what guards and the servers of sites have asked for.
type Asked struct {
	Polls          int // that wait for news and renew leases
	Confirms       int // that ask whether there is anything new
	Snapshots      int
	Introspections int
	Sessions       int // sign-ins, refused ones too
	Logouts        int
}

type counters struct{ polls, confirms, snapshots, introspections, sessions, logouts atomic.Int64 }

func (c *counters) read() Asked {
	return Asked{
		Polls: int(c.polls.Load()), Confirms: int(c.confirms.Load()),
		Snapshots: int(c.snapshots.Load()), Introspections: int(c.introspections.Load()),
		Sessions: int(c.sessions.Load()), Logouts: int(c.logouts.Load()),
	}
}

func (a *Authority) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /feed/poll", a.guarded(a.poll))
	mux.HandleFunc("GET /feed/snapshot", a.guarded(a.snapshot))
	mux.HandleFunc("POST /introspect", a.guarded(a.introspect))
	mux.HandleFunc("POST /sessions", a.guarded(a.sessions))
	mux.HandleFunc("POST /logout", a.logout)
	return mux
}

// entered is a request that the gate has let in.
type entered struct {
	pass
	r   *http.Request // its body was read, and its context ends with the link
	end func()
}

// enter reads a request and passes the gate. The caller calls end.
func (a *Authority) enter(w http.ResponseWriter, r *http.Request) *entered {
	// A request that is read to its end learns when its client goes away.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, feed.MaxPoll))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	p := a.gate.enter(r)
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(p.epoch, cancel)
	return &entered{p, r.WithContext(ctx), func() { stop(); cancel() }}
}

// guarded puts the gate around a handler, and asks for the verifier's key.
func (a *Authority) guarded(next func(w http.ResponseWriter, r *http.Request, p pass)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := a.enter(w, r)
		defer p.end()
		a.mu.Lock()
		key := a.key
		a.mu.Unlock()
		if key != "" && strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") != key {
			p.leave(p.r, func() { fail(w, http.StatusUnauthorized, "invalid_key", "This is not the key of a verifier") })
			return
		}
		next(w, p.r, p.pass)
	}
}

func fail(w http.ResponseWriter, status int, code, msg string) {
	writeJSON(w, status, map[string]any{"code": status, "error_code": code, "msg": msg})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // to a connection that may have gone
}

func (a *Authority) poll(w http.ResponseWriter, r *http.Request, p pass) {
	poll, err := feedhttp.ReadPoll(w, r)
	if err != nil {
		p.leave(r, func() { fail(w, http.StatusBadRequest, "invalid_request", err.Error()) })
		return
	}
	switch {
	case poll.Confirm != "":
		a.asked.confirms.Add(1)
	case !poll.Release:
		a.asked.polls.Add(1)
	}
	g, err := a.current().Poll(r.Context(), "guardtest", poll)
	p.leave(r, func() {
		switch {
		case err == nil:
			feedhttp.WriteGrant(w, g)
		case errors.Is(err, feed.ErrSnapshotRequired):
			fail(w, http.StatusConflict, "snapshot_required", err.Error())
		case errors.Is(err, feed.ErrBadPoll):
			fail(w, http.StatusBadRequest, "invalid_request", err.Error())
		default:
			fail(w, http.StatusServiceUnavailable, "unavailable", err.Error())
		}
	})
}

func (a *Authority) snapshot(w http.ResponseWriter, r *http.Request, p pass) {
	a.asked.snapshots.Add(1)
	s := a.current().Snapshot()
	p.leave(r, func() { _ = feedhttp.WriteSnapshot(w, r, s) }) // to a connection that may have gone
}

// introspect answers as the authority does (RFC 7662): nothing is said about a
// credential that is not live.
func (a *Authority) introspect(w http.ResponseWriter, r *http.Request, p pass) {
	a.asked.introspections.Add(1)
	credential := r.PostFormValue("token")
	c := a.live(credential)
	p.leave(r, func() { writeJSON(w, http.StatusOK, introspection(credential, c)) })
}

func introspection(credential string, c *guard.Claims) map[string]any {
	if c == nil {
		return map[string]any{"active": false}
	}
	tokenType := "session"
	if strings.Contains(credential, ".") {
		tokenType = "Bearer"
	}
	return map[string]any{
		"active": true, "token_type": tokenType, "iss": c.Issuer, "sub": c.Subject, "aud": c.Audience,
		"client_id": c.ClientID, "scope": c.Scope, "exp": c.Exp, "iat": c.Iat, "auth_time": c.AuthTime, "jti": c.ID,
		"sid": c.Session, "ver": c.Ver, "email": c.Email, "roles": c.Roles,
	}
}
