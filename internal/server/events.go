package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
)

const (
	// Idle connections are cut by proxies, mostly after a minute.
	eventsKeepAlive = 15 * time.Second
	eventsWrite     = 10 * time.Second
	// One browser has a stream or two for each session, whatever its tabs.
	maxStreams           = 20_000
	maxStreamsPerSession = 20
)

// currentBody is how a session stands. Times are given as seconds from now,
// because the clocks of browsers are wrong.
type currentBody struct {
	Session     sessionBody `json:"session"`
	ExpiresIn   int64       `json:"expires_in"`
	IdleTimeout int64       `json:"idle_timeout"`
	IdleIn      *int64      `json:"idle_expires_in,omitempty"`
	User        *userBody   `json:"user"`
}

// currentSession serves GET /sessions/current.
func (s *Server) currentSession(w http.ResponseWriter, r *http.Request) error {
	c, err := s.explained(r)
	if err != nil {
		return err
	}
	st, err := s.authority.Standing(r.Context(), c.Claims)
	if err != nil {
		return err
	}
	body := currentBody{
		Session: toSession(st.Session, c.Session), User: toUser(st.User),
		ExpiresIn: whole(st.Session.ExpiresAt.Sub(st.Now)), IdleTimeout: whole(s.authority.IdleTimeout()),
	}
	if !st.IdleAt.IsZero() {
		body.Session.LastSeenAt = timestamp(st.IdleAt.Add(-s.authority.IdleTimeout()))
		left := whole(st.IdleAt.Sub(st.Now))
		body.IdleIn = &left
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

// whole rounds down, so that nobody relies on a second that is not there.
func whole(d time.Duration) int64 { return int64(max(d, 0) / time.Second) }

// sessionEvents serves GET /sessions/events: it tells a browser the moment its
// session ends, in the form of server-sent events.
func (s *Server) sessionEvents(w http.ResponseWriter, r *http.Request) error {
	r = r.WithContext(authority.InBackground(r.Context()))
	asking, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	c, err := s.explained(r.WithContext(asking))
	if err != nil {
		return err
	}
	watch, ok := s.authority.Watch(c.Claims, maxStreams, maxStreamsPerSession)
	if !ok {
		return errTooManyStreams
	}
	defer watch.Stop()
	// What ended before the watch began has woken nobody.
	st, err := s.authority.Standing(asking, c.Claims)
	if err != nil {
		return err
	}
	if st.Superseded && c.Cookie == "" {
		return fmt.Errorf("superseded by newer tokens: %w", curfew.ErrRevoked)
	}
	out := &eventStream{w: w, rc: http.NewResponseController(w), patience: eventsWrite}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil // it would wait for events that nobody is sent
	}
	defer out.finish()
	if err := out.send("retry: 1000\nevent: session\ndata: %s\n\n", map[string]any{
		"session_id": c.Session, "expires_in": whole(st.Session.ExpiresAt.Sub(st.Now)), "idle_timeout": whole(s.authority.IdleTimeout()),
	}); err != nil {
		return nil
	}
	until := st.Session.ExpiresAt
	// A token is over at a whole second. The last one of a session is followed by
	// none, so the stream goes on until it can say why.
	if exp := time.Unix(c.Exp, 0); c.Cookie == "" && until.Sub(exp) >= time.Second {
		until = exp // the client comes again with a new token
	}
	s.follow(r, out, watch, c, until.Sub(st.Now))
	return nil
}

var errTooManyStreams = &httpError{
	Status: http.StatusServiceUnavailable, Code: "busy", Msg: "Too many event streams", Header: http.Header{"Retry-After": {"5"}},
}

// follow sends events until there is no more to tell.
func (s *Server) follow(r *http.Request, out *eventStream, watch *authority.Watch, c caller, left time.Duration) {
	beat := time.NewTicker(eventsKeepAlive)
	defer beat.Stop()
	// The row of a session whose time is over ends with the next sweep.
	over := time.NewTimer(left + 10*time.Millisecond)
	defer over.Stop()
	for {
		last := false
		select {
		case <-r.Context().Done():
			return
		case <-s.running.Done(): // the browser comes again, to whoever serves then
			return
		case <-beat.C:
			if out.write(": \n\n") != nil {
				return
			}
			continue
		case <-watch.Woken():
		case <-over.C:
			last = true
		}
		st, err := s.standing(r.Context(), c)
		var ended *authority.EndedError
		switch {
		case errors.As(err, &ended):
			_ = out.send("event: ended\ndata: %s\n\n", map[string]any{"reason": ended.Reason, "msg": "Token has been invalidated"})
			return
		case err != nil, last, st.Superseded && c.Cookie == "":
			return
		}
	}
}

// standing bounds a question to the store. The stream has no limit; each call does.
func (s *Server) standing(ctx context.Context, c caller) (authority.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.authority.Standing(ctx, c.Claims)
}

// eventStream writes with a deadline for each event: a client that does not read
// must not hold the stream. Between two events there is none. HTTP/2 does not
// ask for it when something is written but ends the stream when it is over.
type eventStream struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
}

func (o *eventStream) send(format string, data map[string]any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return o.write(fmt.Sprintf(format, b))
}

func (o *eventStream) write(text string) error {
	if err := o.rc.SetWriteDeadline(time.Now().Add(o.patience)); err != nil {
		return err
	}
	if _, err := o.w.Write([]byte(text)); err != nil {
		return err
	}
	if err := o.rc.Flush(); err != nil {
		return err
	}
	return o.rc.SetWriteDeadline(time.Time{})
}

// finish bounds what the server writes by itself at the end.
func (o *eventStream) finish() { _ = o.rc.SetWriteDeadline(time.Now().Add(o.patience)) }
