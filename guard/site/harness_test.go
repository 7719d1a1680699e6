package site_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
	"github.com/curfewhq/curfew/internal/authority"
)

const (
	alicePassword = "correct horse battery"
	bobPassword   = "staple correct horse"
)

// short is a lease for tests that wait until it is over.
const short = 600 * time.Millisecond

// fixture is a site behind TLS, and an authority with the users alice and bob.
type fixture struct {
	*site.Site
	t         *testing.T
	authority *guardtest.Authority
	real      *authority.Authority // instead, with startReal
	other     *guard.Guard         // another service of the same authority
	mux       *http.ServeMux
	server    *httptest.Server
	logs      *logBuffer
}

// logBuffer gathers what is logged, at every level.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts a site. Change, if not nil, changes its configuration, and may
// prepare the authority.
func start(t *testing.T, change func(*site.Config, *guardtest.Authority)) *fixture {
	t.Helper()
	a := guardtest.New(t)
	a.RequireKey("crv_site")
	a.AddUser(guardtest.User{Subject: "u-alice", Username: "alice", Email: "alice@example.com", Name: "Alice", Password: alicePassword, Roles: []string{"member"}})
	a.AddUser(guardtest.User{Subject: "u-bob", Email: "bob@example.com", Name: "Bob", Password: bobPassword})
	f := &fixture{t: t, authority: a, mux: http.NewServeMux(), logs: &logBuffer{}}
	cfg := site.Config{Guard: guard.Config{
		Authority: a.URL, Key: "crv_site", Logger: slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}
	if change != nil {
		change(&cfg, a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var err error
	if f.Site, err = site.Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Resume()
		_ = f.Close() // a release that finds nobody is no failure
		for _, secret := range []string{"cs_", alicePassword, bobPassword, "crv_site"} {
			if strings.Contains(f.logs.String(), secret) {
				t.Errorf("%q is in the log:\n%s", secret, f.logs)
			}
		}
	})
	f.other = a.Guard(t, guard.Config{})
	f.routes()
	f.server = httptest.NewTLSServer(f.mux)
	f.server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(f.logs, nil), slog.LevelError)
	t.Cleanup(func() {
		f.server.CloseClientConnections()
		f.server.Close()
	})
	return f
}

// name says who is there, as the site knows it.
func name(r *http.Request) string {
	if c := site.User(r); c != nil {
		return c.Email
	}
	return "nobody"
}

func (f *fixture) routes() {
	f.mux.Handle("/login", f.Recognize(http.HandlerFunc(f.login)))
	f.mux.Handle("/signout", f.SignOutHandler())
	f.handle("/", f.Recognize, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", name(r)) })
	f.handle("/members", f.RequireLogin, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "members %s", name(r)) })
}

func (f *fixture) login(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		fmt.Fprintf(w, "login page for %s", name(r))
		return
	}
	began, err := f.SignIn(w, r, site.Credentials{
		Login: r.FormValue("login"), Password: r.FormValue("password"), NewPassword: r.FormValue("new_password"),
		Remember: r.FormValue("remember") == "on", InsecureURLTicket: r.FormValue("ticket") == "on",
	})
	if err != nil {
		http.Error(w, err.Error(), status(err))
		return
	}
	w.Header().Set("Test-User", began.User.Name)
	w.Header().Set("Test-Session", began.ID)
	http.Redirect(w, r, f.URL(r, f.ReturnTo(r)), http.StatusSeeOther)
}

// status is what a page would answer.
func status(err error) int {
	switch {
	case errors.Is(err, site.ErrUnavailable):
		return http.StatusServiceUnavailable
	case errors.Is(err, guard.ErrCrossOrigin), errors.Is(err, site.ErrInsecure):
		return http.StatusForbidden
	case errors.Is(err, site.ErrMethod):
		return http.StatusMethodNotAllowed
	}
	return http.StatusBadRequest
}

// handle adds a route.
func (f *fixture) handle(pattern string, around func(http.Handler) http.Handler, h http.HandlerFunc) {
	f.mux.Handle(pattern, around(h))
}

// browser is somebody's browser: it keeps cookies as browsers do, and shows
// redirects instead of following them.
type browser struct {
	f   *fixture
	jar http.CookieJar
	c   *http.Client
}

func (f *fixture) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	c := *f.server.Client()
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{f, jar, &c}
}

// page is an answer that was read to its end.
type page struct {
	*http.Response
	t    *testing.T
	body string
}

type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }

// cookie adds a cookie as it is, whatever the browser has.
func cookie(name, value string) option {
	return func(r *http.Request) { r.Header.Add("Cookie", name+"="+value) }
}

// from is what browsers say of a navigation that began at a site of that kind.
func from(where string) option {
	return func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", where)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Accept", "text/html,application/xhtml+xml")
	}
}

// script is what browsers say of what a script asks for.
func script(r *http.Request) {
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Accept", "*/*")
}

func (b *browser) do(method, path, form string, opts ...option) page {
	b.f.t.Helper()
	r, err := http.NewRequestWithContext(b.f.t.Context(), method, b.f.server.URL+path, strings.NewReader(form))
	if err != nil {
		b.f.t.Fatal(err)
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	from("same-origin")(r)
	for _, o := range opts {
		o(r)
	}
	resp, err := b.c.Do(r)
	if err != nil {
		b.f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.f.t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return page{resp, b.f.t, string(text)}
}

func (b *browser) get(path string, opts ...option) page {
	b.f.t.Helper()
	return b.do("GET", path, "", opts...)
}

func (b *browser) post(path, form string, opts ...option) page {
	b.f.t.Helper()
	return b.do("POST", path, form, opts...)
}

// signIn signs in and returns the value of the cookie.
func (b *browser) signIn(login string, more ...string) string {
	b.f.t.Helper()
	form := url.Values{"login": {login}, "password": {alicePassword}}
	if strings.HasPrefix(login, "bob") {
		form.Set("password", bobPassword)
	}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	b.post("/login", form.Encode()).want(http.StatusSeeOther)
	return b.value()
}

// value is that of the session cookie in the jar, or empty.
func (b *browser) value() string {
	u, _ := url.Parse(b.f.server.URL)
	for _, c := range b.jar.Cookies(u) {
		if c.Name == guard.SessionCookie {
			return c.Value
		}
	}
	return ""
}

func (p page) want(status int) page {
	p.t.Helper()
	if p.StatusCode != status {
		p.t.Fatalf("%s %s: %s %q, want %d", p.Request.Method, p.Request.URL.Path, p.Status, p.body, status)
	}
	return p
}

func (p page) wantBody(body string) page {
	p.t.Helper()
	p.want(http.StatusOK)
	if p.body != body {
		p.t.Fatalf("%s %s: %q, want %q", p.Request.Method, p.Request.URL.Path, p.body, body)
	}
	return p
}

// wantLogin is a redirect to the login page.
func (p page) wantLogin(returnTo, reason string) page {
	p.t.Helper()
	p.want(http.StatusSeeOther)
	u, err := url.Parse(p.Header.Get("Location"))
	if err != nil || u.Path != "/login" || u.Query().Get("return") != returnTo || u.Query().Get("reason") != reason {
		p.t.Fatalf("%s %s: redirected to %s, want /login with return %q and reason %q", p.Request.Method, p.Request.URL.Path, u, returnTo, reason)
	}
	return p
}

// set returns the Set-Cookie of the session cookie, or nil.
func (p page) set() *http.Cookie {
	p.t.Helper()
	var found []*http.Cookie
	for _, c := range p.Cookies() {
		if c.Name == guard.SessionCookie {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
		return found[0]
	}
	p.t.Fatalf("%d Set-Cookie headers for the session: %v", len(found), p.Header["Set-Cookie"])
	return nil
}

func (p page) wantDeleted(want bool) page {
	p.t.Helper()
	c := p.set()
	if got := c != nil && c.Value == "" && c.MaxAge < 0; got != want {
		p.t.Fatalf("cookie deleted: %v, want %v: %v", got, want, p.Header["Set-Cookie"])
	}
	return p
}

// wantDead checks that a value is refused here and elsewhere.
func (f *fixture) wantDead(value string) {
	f.t.Helper()
	if value == "" {
		f.t.Fatal("there is no value")
	}
	stranger := f.browser()
	stranger.get("/members", cookie(guard.SessionCookie, value)).want(http.StatusSeeOther)
	if c, err := f.other.Verify(f.t.Context(), value); err == nil {
		f.t.Fatalf("another service accepts it, as %s", c.Subject)
	}
}

func (f *fixture) wantLive(value, who string) {
	f.t.Helper()
	f.browser().get("/members", cookie(guard.SessionCookie, value)).wantBody("members " + who)
	if _, err := f.other.Verify(f.t.Context(), value); err != nil {
		f.t.Fatalf("another service refuses it: %v", err)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reasons are those of what has ended so far.
func (f *fixture) reasons() (out []string) {
	for _, r := range f.authority.Log() {
		out = append(out, string(r.Reason))
	}
	slices.Sort(out)
	return out
}
