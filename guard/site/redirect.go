package site

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/curfewhq/curfew"
)

// RedirectToLogin sends the browser to the login page when the handler has
// finished, and from there back to this page, if it is one. The handler goes on:
// what it writes from here on is not sent, but a redirect of its own takes the
// place of this one, and so does an error. After a sign-out in this request the
// login page says so, and leads nowhere: whoever signs in next need not be the
// one who was here.
//
// Without a middleware of the Site around the handler the redirect is written at
// once. After something of the answer has been sent it is too late for one.
func (s *Site) RedirectToLogin(w http.ResponseWriter, r *http.Request) {
	v := s.visitOf(r)
	if v == nil {
		w.Header().Set("Cache-Control", "no-store")
		redirect(w, s.loginURL(r, returnOf(r), ""))
		return
	}
	v.mu.Lock()
	left := v.left
	v.mu.Unlock()
	to := s.loginURL(r, returnOf(r), "")
	if left {
		to = s.loginURL(r, "", string(curfew.ReasonUser))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.redirect = to
	// Where to go depends on who is there.
	v.private = true
}

// LoginURL returns the address of the login page for links. returnTo is where it
// leads afterwards, an address as [Site.SafeReturn] allows them; others are left
// out.
func (s *Site) LoginURL(r *http.Request, returnTo string) string {
	return s.loginURL(r, returnTo, "")
}

func (s *Site) loginURL(r *http.Request, returnTo, reason string) string {
	u, err := url.Parse(s.cfg.LoginURL)
	if err != nil {
		return "/" // Open has parsed it
	}
	q := u.Query()
	returnTo, _ = s.SafeReturn(returnTo)
	if path, _, _ := strings.Cut(returnTo, "?"); returnTo != "" && path != u.Path {
		if u.Host != "" && strings.HasPrefix(returnTo, "/") {
			// For a login page on another origin, which has a list of those that
			// it returns to: a forged Host leads nowhere.
			scheme := "http"
			if s.overTLS(r) {
				scheme = "https"
			}
			returnTo = scheme + "://" + r.Host + returnTo
		}
		q.Set("return", returnTo)
	}
	if reason != "" {
		q.Set("reason", reason)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// returnOf is where to return to after a sign-in: the page that was asked for. A
// form that was posted cannot be posted again by a redirect.
func returnOf(r *http.Request) string {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return ""
	case strings.HasPrefix(r.RequestURI, "/"):
		return r.RequestURI // a mux that strips a prefix leaves it
	}
	return r.URL.RequestURI()
}

// redirect writes a redirect to a GET.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// ReturnTo returns where a request wants to be led after it has signed in or
// out: its parameter "return", from the form or the query, or Config.Home if
// there is none that may be followed.
func (s *Site) ReturnTo(r *http.Request) string {
	if to, ok := s.SafeReturn(r.FormValue("return")); ok {
		return to
	}
	return s.cfg.Home
}

// SafeReturn returns an address that a browser may be sent to because a request
// says so: a path of this site, or a URL of one of Config.ReturnOrigins. ok is
// false for everything else. An open redirect makes the address of this site a
// disguise for any other, and a login page is what phishing wants to imitate.
func (s *Site) SafeReturn(address string) (to string, ok bool) {
	if to = local(address); to != "" {
		return to, true
	}
	if !plain(address) {
		return "", false
	}
	u, err := url.Parse(address)
	if err != nil || u.User != nil || u.Opaque != "" || !s.origins[u.Scheme+"://"+u.Host] {
		return "", false
	}
	return u.String(), true
}

// maxReturn is more than servers take as the line of a request.
const maxReturn = 4096

// plain reports whether an address has nothing that browsers read in another way
// than Go: they drop tabs and line breaks wherever they are, and take a
// backslash for a slash.
func plain(address string) bool {
	if address == "" || len(address) > maxReturn || !utf8.ValidString(address) {
		return false
	}
	for _, c := range address {
		if c <= ' ' || c == '\\' || c >= 0x7f && c <= 0xa0 {
			return false
		}
	}
	return true
}

// local returns address if it is a path of this site, and "" otherwise.
func local(address string) string {
	if !plain(address) || address[0] != '/' {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return ""
	}
	// "//evil.example" is another host. So is "/%2Fevil.example" to a proxy that
	// decodes, and "/.//evil.example" to a program that cleans the path.
	if strings.Contains(u.Path, "//") || !plain(strings.ReplaceAll(u.Path, " ", "+")) {
		return ""
	}
	return u.String()
}
