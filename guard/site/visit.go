package site

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/curfewhq/curfew/guard"
)

// visit is a request on its way through a site.
type visit struct {
	site *Site
	how  carrier // zero where there may be no session
	// problem is why nobody may be believed to be there; nil if they may.
	problem error

	optional bool
	next     http.Handler // what the request is for

	mu     sync.Mutex
	cookie []string // values that came as cookies, or was set as one since
	ticket string   // that came in the URL, or goes into URLs since
	user   *guard.Claims

	running  bool   // the handler has been called
	private  bool   // somebody is or was there: the answer is about them
	left     bool   // signed out in this request
	entered  bool   // signed in in this request
	redirect string // where to go when the handler has finished
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// visitOf returns the visit of r at this site, or nil.
func (s *Site) visitOf(r *http.Request) *visit {
	if v := visitOf(r.Context()); v != nil && v.site == s {
		return v
	}
	return nil
}

// look finds what r carries. Nothing is known of it yet.
func (s *Site) look(r *http.Request) *visit {
	v := &visit{site: s}
	v.how, v.problem = s.carrier(r)
	if v.problem != nil {
		// Browsers do not do that with our cookie. Whatever did has shown it to
		// everybody on the way.
		if len(r.CookiesNamed(s.cfg.CookieName)) > 0 {
			s.complain("a session cookie came over it, and was not accepted", r)
		}
		return v
	}
	for _, c := range r.CookiesNamed(v.how.name) { // the case of the name counts
		v.cookie = append(v.cookie, c.Value)
	}
	switch {
	case len(v.cookie) > 1:
		// Somebody has added one: another program on this host, or a sibling
		// domain in a browser that does not know the prefix. Whoever takes the
		// first may act for the attacker, with what the victim types.
		v.problem = errSeveral
		s.log.Warn("several session cookies in one request; none was accepted", "peer", r.RemoteAddr)
	case len(v.cookie) == 0 && s.cfg.InsecureURLTicket:
		v.ticket, v.problem = ticketOf(r)
	}
	for _, value := range v.values() {
		switch {
		case v.problem != nil:
		case !valueOK(value):
			v.problem = errNoValue
		case s.gone.has(value):
			v.problem = errSignedOut
		}
	}
	return v
}

// values returns everything that may carry a session here.
func (v *visit) values() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ticket != "" {
		return append(slices.Clone(v.cookie), v.ticket)
	}
	return slices.Clone(v.cookie)
}

// byTicket reports whether the session is carried by the URL alone.
func (v *visit) byTicket() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ticket != "" && len(v.cookie) == 0
}

// arrive notes who the guard has let through; nil is nobody.
func (v *visit) arrive(c *guard.Claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.user, v.running = c, true
	v.private = v.private || c != nil
}

func (v *visit) who() *guard.Claims {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.user
}

// enter notes a sign-in.
func (v *visit) enter(c *guard.Claims, value string, ticket bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.user, v.private, v.entered, v.left = c, true, true, false
	v.cookie, v.ticket = []string{value}, ""
	if ticket {
		v.cookie, v.ticket = nil, value
	}
}

// leave notes that nobody is there any more. own says that it was asked for by
// this request.
func (v *visit) leave(own bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.user, v.cookie, v.ticket, v.entered = nil, nil, "", false
	v.left, v.private = v.left || own, true
}

// findCookie is the guard's source of cookies.
func (s *Site) findCookie(r *http.Request) (string, error) {
	v := s.visitOf(r)
	if v == nil {
		v = s.look(r) // the guard is used without the site
	}
	if v.problem != nil || len(v.cookie) == 0 {
		return "", v.problem
	}
	return v.cookie[0], nil
}

// findTicket is the guard's source of tickets. A ticket is not sent by itself, as
// a cookie is: another site cannot make a browser act with one that it does not
// know.
func (s *Site) findTicket(r *http.Request) (string, error) {
	if v := s.visitOf(r); v != nil {
		return v.ticket, nil
	}
	return s.look(r).ticket, nil
}

// answer is the ResponseWriter of a visit. It holds back what a handler writes
// after it has asked for a redirect.
type answer struct {
	http.ResponseWriter
	visit *visit
	begun bool // the answer is on its way
}

// begin is called before anything of the answer is sent.
func (a *answer) begin() {
	a.begun = true
	a.visit.mu.Lock()
	private := a.visit.private
	a.visit.mu.Unlock()
	// The Back button must show nothing of a person who has left, nor a cache in
	// between to anybody else. Handlers that know better say so, before; but
	// http.Error takes their headers away.
	if h := a.Header(); private && h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
}

// leads returns where the answer leads when the handler has finished, or "".
func (a *answer) leads() string {
	if a.begun {
		return ""
	}
	a.visit.mu.Lock()
	defer a.visit.mu.Unlock()
	return a.visit.redirect
}

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	switch {
	case a.begun, status < 200 && status != http.StatusSwitchingProtocols:
	case a.leads() != "" && !a.explicit(status):
		return // the redirect takes its place
	default:
		a.begin()
	}
	a.ResponseWriter.WriteHeader(status)
}

// explicit reports whether a status is what the handler wants to say after it
// has asked for a redirect: another redirect, or that something went wrong.
func (a *answer) explicit(status int) bool {
	return status >= 400 || status >= 300 && a.Header().Get("Location") != "" || status == http.StatusSwitchingProtocols
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) {
	if a.leads() != "" {
		return len(b), nil
	}
	if !a.begun {
		a.begin()
	}
	return a.ResponseWriter.Write(b)
}

// FlushError is asked for by [http.ResponseController].
func (a *answer) FlushError() error {
	if a.leads() != "" {
		return nil
	}
	if !a.begun {
		a.begin()
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// ReadFrom keeps the way for files open that the kernel copies.
func (a *answer) ReadFrom(src io.Reader) (int64, error) {
	if a.leads() != "" {
		return io.Copy(io.Discard, src)
	}
	if !a.begun {
		a.begin()
	}
	return io.Copy(a.ResponseWriter, src)
}

// Hijack implements [http.Hijacker].
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	a.begun = a.begun || err == nil
	return c, rw, err
}

// Unwrap serves [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// finish sends the redirect that the handler has asked for, if it has not said
// anything else.
func (a *answer) finish() {
	to := a.leads()
	if to == "" {
		if !a.begun {
			a.begin() // the empty answer that net/http sends now
		}
		return
	}
	h := a.Header()
	for name := range h {
		switch {
		case strings.HasPrefix(name, "Content-"), name == "Etag", name == "Last-Modified", name == "Trailer":
			h.Del(name) // they were about another answer
		}
	}
	a.begin()
	redirect(a.ResponseWriter, to)
}
