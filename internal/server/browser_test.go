package server_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// web serves browsers as it should be: over TLS, with the pages.
var web = options{tls: true, pages: true}

// sessionName is the session's cookie over TLS, unless a test says otherwise.
const sessionName = "__Host-curfew"

// withCookie sends a cookie by hand, as a thief does.
func withCookie(name, value string) opt {
	return func(r *http.Request) { r.Header.Add("Cookie", name+"="+value) }
}

func session(value string) opt { return withCookie(sessionName, value) }

// sameOrigin is what a browser adds to a form of our own pages, crossSite to
// that of somebody else.
func sameOrigin(f *fixture) opt {
	return func(r *http.Request) {
		r.Header.Set("Origin", f.URL)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}

func crossSite(r *http.Request) {
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
}

// cookieSession is a session in a cookie, as a site's server begins it.
type cookieSession struct{ value, session string }

func (f *fixture) beginCookie(t *testing.T, name, pw string) cookieSession {
	t.Helper()
	p := f.call(t, "POST", "/sessions", bearer(f.verifier), sendJSON(M{"email": name, "password": pw})).want(201)
	return cookieSession{p.str("session_cookie"), p.str("session_id")}
}

func (f *fixture) aliceCookie(t *testing.T) cookieSession {
	t.Helper()
	return f.beginCookie(t, "alice@example.com", alicePassword)
}

func (f *fixture) bobCookie(t *testing.T) cookieSession {
	t.Helper()
	return f.beginCookie(t, "bob@example.com", bobPassword)
}

// cookieIsDead asks everybody who could still accept a cookie's value.
func (f *fixture) cookieIsDead(t *testing.T, who, value string) {
	t.Helper()
	for _, path := range []string{"/user", "/sessions", "/sessions/current", "/sessions/events"} {
		if p := f.call(t, "GET", path, session(value)); p.status != 401 {
			t.Errorf("%s: GET %s with the cookie: %d %s", who, path, p.status, p.body)
			return // a stream of a session that lives has no end
		}
	}
	for _, path := range []string{"/account", "/signout"} {
		if p := f.call(t, "GET", path, session(value)); p.status != 303 || !strings.HasPrefix(p.header.Get("Location"), "/login") {
			t.Errorf("%s: GET %s with the cookie: %d to %q", who, path, p.status, p.header.Get("Location"))
		}
	}
	if got := strings.TrimSpace(string(f.introspect(t, value).body)); got != `{"active":false}` {
		t.Errorf("%s: introspection of the cookie: %s", who, got)
	}
	if p := f.call(t, "PUT", "/user", session(value), sendJSON(M{"name": "Mallory"})); p.status != 401 {
		t.Errorf("%s: PUT /user with the cookie: %d %s", who, p.status, p.body)
	}
}

// cookieIsLive asks the same.
func (f *fixture) cookieIsLive(t *testing.T, who, value string) {
	t.Helper()
	for _, path := range []string{"/user", "/sessions", "/sessions/current", "/account"} {
		if p := f.call(t, "GET", path, session(value)); p.status != 200 {
			t.Errorf("%s: GET %s with the cookie: %d %s", who, path, p.status, p.body)
		}
	}
	if p := f.introspect(t, value); p.get("active") != true || p.str("token_type") != "session" {
		t.Errorf("%s: introspection of the cookie: %s", who, p.body)
	}
}

// browser sends back the cookies that it is given, and follows no redirect.
type browser struct {
	*fixture
	t      *testing.T
	client *http.Client
	name   string // of the session's cookie
}

func (f *fixture) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{f, t, &http.Client{Transport: f.client.Transport, CheckRedirect: f.client.CheckRedirect, Jar: jar}, sessionName}
}

func (b *browser) url() *url.URL {
	u, err := url.Parse(b.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// cookie returns the value of a cookie in the jar, "" if there is none.
func (b *browser) cookie(name string) string {
	for _, c := range b.client.Jar.Cookies(b.url()) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// plant puts a cookie into the jar.
func (b *browser) plant(name, value string) {
	b.client.Jar.SetCookies(b.url(), []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

func (b *browser) do(method, path string, opts ...opt) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, o := range opts {
		o(r)
	}
	return b.sendBy(b.t, b.client, r)
}

func (b *browser) get(path string) reply {
	b.t.Helper()
	return b.do("GET", path)
}

// post sends a form of our own pages.
func (b *browser) post(path string, pairs ...string) reply {
	b.t.Helper()
	return b.do("POST", path, sameOrigin(b.fixture), sendForm(pairs...))
}

// trySignIn goes through the login page.
func (b *browser) trySignIn(login, pw string, more ...string) reply {
	b.t.Helper()
	b.isSecret(pw)
	b.get("/login").want(200)
	return b.post("/login", append([]string{"login", login, "password", pw}, more...)...)
}

// signIn is trySignIn that succeeds; it returns the cookie's value.
func (b *browser) signIn(login, pw string, more ...string) string {
	b.t.Helper()
	b.trySignIn(login, pw, more...).want(303)
	v := b.cookie(b.name)
	if v == "" {
		b.t.Fatal("signed in without a cookie")
	}
	return v
}

func (b *browser) alice() string {
	b.t.Helper()
	return b.signIn("alice@example.com", alicePassword)
}

// shows reports what stands in a page for people to read.
func (p reply) shows(text string) bool { return strings.Contains(p.text(), text) }

var tags = regexp.MustCompile(`(?s)<[^>]*>`)

// text is a page without its tags.
func (p reply) text() string {
	s := html.UnescapeString(tags.ReplaceAllString(string(p.body), " "))
	return strings.Join(strings.Fields(s), " ")
}

// role returns the text of the element with an ARIA role, "" if there is none.
func (p reply) role(role string) string {
	m := regexp.MustCompile(`(?s)role="` + role + `"[^>]*>(.*?)</p>`).FindSubmatch(p.body)
	if m == nil {
		return ""
	}
	return reply{body: m[1]}.text()
}

// to returns where a 303 leads.
func (p reply) to(want string) reply {
	p.t.Helper()
	p.want(303)
	if got := p.header.Get("Location"); got != want {
		p.t.Errorf("%s: leads to %q, want %q", p.call, got, want)
	}
	return p
}

// setCookie returns the Set-Cookie header of a name, as it stands.
func (p reply) setCookie(name string) string {
	p.t.Helper()
	found := ""
	for _, text := range p.header["Set-Cookie"] {
		if strings.HasPrefix(text, name+"=") {
			if found != "" {
				p.t.Errorf("%s: sets %s twice", p.call, name)
			}
			found = text
		}
	}
	return found
}
