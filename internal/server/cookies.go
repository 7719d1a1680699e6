package server

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/token"
)

// Cookies says how browsers carry sessions.
type Cookies struct {
	// Name of the cookie; "__Host-curfew" if empty. Browsers take a cookie with
	// the prefix __Host- from this host only, over TLS only, and send it nowhere
	// else.
	Name string
	// Remember offers to stay signed in when the browser is closed.
	Remember bool
	// ClearSiteData is what browsers are told to clear at a sign-out: "cache",
	// "cookies", "storage"; nil means storage, empty nothing.
	ClearSiteData []string
	// InsecureLoopback sets and takes cookies over plain HTTP from this machine,
	// under another name. It is for `curfew dev`.
	InsecureLoopback bool
}

// Names of cookies over plain HTTP on this machine, where browsers refuse the
// prefix, and of the small cookies beside the session's.
const (
	defaultCookie  = "__Host-curfew"
	loopbackCookie = "curfew-dev"
	probeSuffix    = "-probe"
	noticeSuffix   = "-notice"
)

// transport is how a request came here, as far as cookies are concerned.
type transport int

const (
	plainHTTP transport = iota // anybody on the way can read it
	overTLS
	overLoopback // of a development authority
)

// transport judges by what the connection is, then by what a trusted proxy says
// of its own. Without a word from a proxy on this machine the public URL counts:
// whoever reaches the port from elsewhere comes through the proxy.
func (s *Server) transport(r *http.Request) transport {
	if r.TLS != nil {
		return overTLS
	}
	secure, told := s.addresses.ForwardedTLS(r)
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	local := err == nil && peer.Addr().Unmap().IsLoopback()
	switch {
	case told && secure, !told && local && strings.HasPrefix(s.authority.Issuer(), "https://"):
		return overTLS
	case !told && local && s.cookies.InsecureLoopback:
		return overLoopback
	}
	return plainHTTP
}

var errPlainHTTP = &httpError{
	Status: http.StatusForbidden, Code: "tls_required",
	Msg: "Sessions in cookies need TLS: open this page with https",
}

// cookieName is the name of the session's cookie over t.
func (s *Server) cookieName(t transport) string {
	if t == overLoopback {
		return loopbackCookie
	}
	return s.cookies.Name
}

// putCookie is the only place where cookies are written and deleted, so that
// both always have the same attributes: a deletion with other ones is ignored.
// An empty value deletes; age is how long the browser keeps it, 0 = until it is
// closed.
func (s *Server) putCookie(w http.ResponseWriter, t transport, name, value string, age time.Duration) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: t == overTLS, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(age / time.Second),
	}
	if value == "" {
		c.MaxAge, c.Expires = -1, time.Unix(0, 0) // old clients know Expires only
	}
	http.SetCookie(w, c)
}

// sessionCookie returns the value of the request's session cookie, "" if it has
// none.
func (s *Server) sessionCookie(r *http.Request) (string, error) {
	values, err := s.sessionCookies(r)
	switch {
	case err != nil || len(values) == 0:
		return "", err
	case len(values) > 1:
		// Another host of the domain, or a page on plain HTTP, has put one of
		// its own in front of ours (cookie tossing).
		return "", &httpError{Status: http.StatusUnauthorized, Code: "invalid_token", Msg: "There are several session cookies", Bearer: "none"}
	}
	return values[0], nil
}

// sessionCookies returns the values of all cookies with the session's name. It
// is for calls that end the sessions of all of them: whoever could put a second
// one beside it must not keep anybody from logging out.
func (s *Server) sessionCookies(r *http.Request) ([]string, error) {
	t := s.transport(r)
	var values []string
	for _, c := range r.CookiesNamed(s.cookieName(t)) {
		if c.Value != "" {
			values = append(values, c.Value)
		}
	}
	if len(values) > 0 && t == plainHTTP {
		s.warnPlain(r)
		return nil, errPlainHTTP
	}
	return values, nil
}

// warnPlain logs, once a minute at most, that cookies are asked for where none
// are given.
func (s *Server) warnPlain(r *http.Request) {
	now := time.Now().Unix()
	if last := s.warned.Load(); now-last < 60 || !s.warned.CompareAndSwap(last, now) {
		return
	}
	s.logger.Warn("no session cookie over plain HTTP: set tls.cert and tls.key, or put a proxy that does TLS in front, "+
		"name it in trusted_proxies, let it send X-Forwarded-Proto, and set public_url to the https URL",
		"path", r.URL.Path, "peer", r.RemoteAddr)
}

// beginCookie gives a browser the cookie of a session.
func (s *Server) beginCookie(w http.ResponseWriter, r *http.Request, issued authority.Issued) {
	t := s.transport(r)
	var age time.Duration
	if authority.IsPersistentCookie(issued.Cookie) {
		age = issued.Session.ExpiresAt.Sub(s.authority.Now())
	}
	s.putCookie(w, t, s.cookieName(t), issued.Cookie, age)
}

// endCookie takes it away, with what the pages of this origin have stored. That
// is for the next person at this computer; the session itself ends at the
// authority, or a copy of the cookie would live on.
func (s *Server) endCookie(w http.ResponseWriter, r *http.Request) {
	t := s.transport(r)
	if t == plainHTTP {
		return
	}
	s.putCookie(w, t, s.cookieName(t), "", 0)
	if len(s.cookies.ClearSiteData) > 0 {
		w.Header().Set("Clear-Site-Data", `"`+strings.Join(s.cookies.ClearSiteData, `", "`)+`"`)
	}
}

// crossOrigin refuses what another site makes a browser do with the cookie that
// it adds by itself. Requests that change nothing pass.
var crossOrigin = http.NewCrossOriginProtection()

var errCrossOrigin = &httpError{Status: http.StatusForbidden, Code: "cross_origin", Msg: "Another site has caused this request"}

// BackgroundHeader marks requests that a page makes by itself: they are no
// activity of the person in front of it.
const BackgroundHeader = "Curfew-Background"

func background(r *http.Request) context.Context {
	if r.Header.Get(BackgroundHeader) != "" {
		return authority.InBackground(r.Context())
	}
	return r.Context()
}

// caller is whoever makes a call, with the credential that says so.
type caller struct {
	*token.Claims
	Cookie string // its value, if it came by cookie
}

// caller returns who makes a call: the bearer of an access token, or the browser
// of a session. Where both are sent the token counts, which the client has
// added on purpose.
func (s *Server) caller(r *http.Request) (caller, error) {
	raw, err := bearer(r)
	if err != nil {
		return caller{}, err
	}
	if raw != "" {
		c, err := s.authority.Authenticate(background(r), raw)
		return caller{Claims: c}, err
	}
	value, err := s.sessionCookie(r)
	if err != nil {
		return caller{}, err
	}
	if value == "" {
		return caller{}, errNoCredential
	}
	if crossOrigin.Check(r) != nil {
		return caller{}, errCrossOrigin
	}
	c, err := s.authority.AuthenticateCookie(background(r), value)
	return caller{c, value}, err
}

// explained is caller for the calls that tell a browser why its session ended.
// Only a genuine credential of that session learns it.
func (s *Server) explained(r *http.Request) (caller, error) {
	c, err := s.caller(r)
	if err == nil {
		return c, nil
	}
	e := *wire(err)
	if e.Reason != "" || e.Code != "session_revoked" && e.Code != "token_expired" {
		return c, &e
	}
	if raw, _ := bearer(r); raw != "" {
		e.Reason = s.authority.WhyEnded(r.Context(), raw)
	}
	return c, &e
}
