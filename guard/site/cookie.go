package site

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// carrier is how a request and its answer carry a session.
type carrier struct {
	name   string // of the cookie
	secure bool
}

// devCookie is the name of the cookie over plain HTTP on this machine. It must
// not be that of the real one: the prefix demands HTTPS.
const devCookie = "curfew-dev"

// carrier returns how r may carry a session, or [ErrInsecure].
func (s *Site) carrier(r *http.Request) (carrier, error) {
	switch {
	case s.overTLS(r):
		return carrier{s.cfg.CookieName, true}, nil
	case s.cfg.InsecureLoopback && onThisMachine(r):
		return carrier{devCookie, false}, nil
	}
	return carrier{}, ErrInsecure
}

// overTLS reports whether the browser has sent r over TLS, as far as those say
// who are believed.
func (s *Site) overTLS(r *http.Request) bool {
	if secure, told := s.addresses.ForwardedTLS(r); told {
		return secure
	}
	return r.TLS != nil
}

// onThisMachine reports whether a request has not left this machine: neither its
// connection nor, as far as the host tells, that to a proxy in front.
func onThisMachine(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, forwarded := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via"} {
		if r.Header[forwarded] != nil {
			return false
		}
	}
	host := (&url.URL{Host: r.Host}).Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}

// complain tells the operator, once a minute, that plain HTTP is in use.
func (s *Site) complain(what string, r *http.Request) {
	now, last := time.Now().Unix(), s.warned.Load()
	if now-last < 60 || !s.warned.CompareAndSwap(last, now) {
		return
	}
	s.log.Error("plain HTTP: "+what+"; serve this site over TLS only, and if a proxy does that, name it in TrustedProxies and let it set X-Forwarded-Proto",
		"host", r.Host, "path", r.URL.Path, "peer", r.RemoteAddr)
}

// setCookie is the only place that writes the cookie, with a value or without
// one. Browsers delete a cookie only if the attributes are those that it was set
// with: a deletion of a __Host- cookie without Secure or with another path
// changes nothing, and the person believes to be signed out. maxAge counts in
// seconds; 0 makes a cookie that ends with the browser.
func (s *Site) setCookie(w http.ResponseWriter, how carrier, value string, maxAge int) {
	c := &http.Cookie{
		Name: how.name, Value: value, Path: "/", Secure: how.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: maxAge,
	}
	if value == "" {
		// Max-Age=0 wins, Expires is for those that do not know it.
		c.MaxAge, c.Expires = -1, time.Unix(0, 0)
	}
	// A sign-in and a sign-out in one answer are one cookie: browsers need not
	// take the last one of several.
	h := w.Header()
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
		return strings.HasPrefix(line, how.name+"=")
	})
	http.SetCookie(w, c)
	h.Set("Cache-Control", "no-store")
}

// valueOK reports whether a text can be the value of a session cookie. An access
// token, which has dots, is no session: signing out could not end it.
func valueOK(value string) bool {
	return len(value) >= 20 && len(value) <= 512 && !strings.ContainsRune(value, '.')
}
