package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
)

// RequireLogin lets people through who are signed in, see [User]. Browsers that
// go to a page without being signed in are sent to the login page and come back
// from there; what scripts and other programs ask for is answered with 401. A
// cookie whose session has ended is deleted at once. Where the guard cannot know
// the answer is 503, never the login page: a person who signs in because of a
// short outage has lost what they were doing.
//
// Answers are not kept by caches unless the handler says otherwise, so that the
// Back button shows nothing of somebody who has signed out. Files that are the
// same for everybody are better served outside.
func (s *Site) RequireLogin(next http.Handler) http.Handler { return s.Route(guard.Route{})(next) }

// Recognize finds out who is there and lets everybody through: [User] is nil for
// somebody anonymous, and for one whose session has ended, whose cookie is
// deleted. What is refused is a request that another site has made a browser
// send with its cookie, to change something, and a cookie while the guard cannot
// know about it.
func (s *Site) Recognize(next http.Handler) http.Handler {
	return s.Route(guard.Route{Optional: true})(next)
}

// Route is RequireLogin, or Recognize if route is Optional, for a route that is
// guarded in its own way. It may be within another one of the same Site, which
// then has found out already who is there: a RequireLogin within a Recognize asks
// for somebody, and a Mode that is named asks again in that mode.
func (s *Site) Route(route guard.Route) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		h := s.guard.Route(route)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _ := guard.FromContext(r.Context())
			s.visitOf(r).arrive(c)
			next.ServeHTTP(w, r)
		}))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if v := s.visitOf(r); v != nil {
				s.again(w, r, v, route, next)
				return
			}
			v := s.look(r)
			v.optional, v.next = route.Optional, next
			w.Header().Add("Vary", "Cookie")
			if s.cfg.InsecureURLTicket {
				// Links to other sites, and the images of other sites, must not
				// tell them the URL.
				w.Header().Set("Referrer-Policy", "no-referrer")
				r = withoutTicket(r)
			}
			a := &answer{ResponseWriter: w, visit: v}
			h.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
			a.finish()
		})
	}
}

// again is a route within a route.
func (s *Site) again(w http.ResponseWriter, r *http.Request, v *visit, route guard.Route, next http.Handler) {
	err := guard.ErrNoCredential
	if v.problem != nil {
		err = v.problem
	}
	if v.who() != nil {
		err = nil
		if route.Mode != guard.Default {
			// The request itself is tied to its session already.
			var end func()
			if _, end, err = s.guard.Admit(r.Context(), v.values()[0], guard.Route{Mode: route.Mode, Background: true}); err == nil {
				end()
			}
		}
	}
	if err != nil && !(route.Optional && v.who() == nil) {
		s.refused(w, r, err)
		return
	}
	next.ServeHTTP(w, r)
}

// refused is what the guard does with requests that it does not let through, and
// with answers that were cut off because the session has ended meanwhile.
func (s *Site) refused(w http.ResponseWriter, r *http.Request, err error) {
	v := s.visitOf(r)
	if v == nil || errors.Is(err, curfew.ErrStale) || errors.Is(err, guard.ErrCrossOrigin) {
		s.refuse(w, r, err)
		return
	}
	v.mu.Lock()
	// Several cookies stay as they are. If ours were deleted, what is left would
	// be the one that somebody else has added, and it would be believed.
	// Nor is one that a sign-in has replaced: another tab's answer, with the new
	// cookie of the same name, may be there before this one.
	deletes := len(v.cookie) == 1 && !v.entered && !s.gone.wasReplaced(v.cookie[0])
	anonymous := v.optional && !v.running
	v.running = true
	if anonymous {
		v.problem = err // for a RequireLogin within, which says why
	}
	v.mu.Unlock()
	if deletes {
		s.setCookie(w, v.how, "", 0)
		v.leave(false)
	}
	switch {
	case anonymous:
		v.next.ServeHTTP(w, r)
	case errors.Is(err, ErrInsecure):
		s.complain("a page for signed-in people was asked for over it", r)
		s.refuse(w, r, err)
	case navigates(r):
		w.Header().Set("Cache-Control", "no-store")
		redirect(w, s.loginURL(r, returnOf(r), reasonOf(err)))
	default:
		s.refuse(w, r, err)
	}
}

// reasonOf returns why somebody has to sign in again, for the login page; empty
// if they were not signed in.
func reasonOf(err error) string {
	var ended *guard.EndedError
	switch {
	case errors.As(err, &ended) && ended.Reason != "":
		return string(ended.Reason)
	case errors.Is(err, curfew.ErrExpired):
		return string(curfew.ReasonExpired)
	case errors.Is(err, errSignedOut):
		return string(curfew.ReasonUser)
	case errors.Is(err, curfew.ErrRevoked):
		return "ended"
	}
	return ""
}

// navigates reports whether a person is going to a page, rather than a script or
// another program asking for something.
func navigates(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return r.Header.Get("X-Requested-With") == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// safe reports whether a method must not change anything.
func safe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "":
		return true
	}
	return false
}

// crossOrigin is what stands before everything that a browser could be made to
// do by another site.
var crossOrigin = http.NewCrossOriginProtection()

// refuse writes the answer to what is refused and not redirected.
func (s *Site) refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	if s.cfg.Refused != nil {
		s.cfg.Refused(w, r, err)
		return
	}
	status, code, msg := http.StatusUnauthorized, "session_revoked", "You are not signed in any more"
	switch {
	case errors.Is(err, ErrUnavailable):
		status, code, msg = http.StatusServiceUnavailable, "unavailable", "You are signed out in this browser. Elsewhere you will be as soon as the server for that can be reached"
	case errors.Is(err, curfew.ErrStale):
		status, code, msg = http.StatusServiceUnavailable, "unavailable", "It cannot be known now who is signed in; try again in a moment"
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, guard.ErrCrossOrigin):
		status, code, msg = http.StatusForbidden, "cross_origin", "Another site has caused this request"
	case errors.Is(err, ErrInsecure):
		status, code, msg = http.StatusForbidden, "insecure", "This needs HTTPS"
	case errors.Is(err, ErrMethod):
		status, code, msg = http.StatusMethodNotAllowed, "method_not_allowed", "This needs a POST"
		w.Header().Set("Allow", http.MethodPost)
	case errors.Is(err, curfew.ErrExpired):
		code, msg = "token_expired", "The session is over"
	case errors.Is(err, guard.ErrNoCredential):
		code, msg = "no_credential", "You are not signed in"
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if navigates(r) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintln(w, msg+".")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"code": status, "error_code": code, "msg": msg}) // to a connection that may have gone
}
