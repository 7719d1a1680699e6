package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/guard/guardtest"
)

// start runs the site and returns its URL.
func start(t *testing.T) (*guardtest.Authority, string) {
	t.Helper()
	a := guardtest.New(t)
	a.RequireKey("crv_test")
	a.AddUser(guardtest.User{Email: "alice@example.com", Name: "Alice", Password: "demo-password"})
	a.AddUser(guardtest.User{Email: "bob@example.com", Name: "Bob", Password: "another-password"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r, w := io.Pipe()
	go func() {
		done <- run(ctx, []string{"--authority", a.URL, "--listen", "127.0.0.1:0"}, "crv_test", w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, r)
			return a, m[1]
		}
	}
	t.Fatal("the site did not say where it listens")
	return nil, ""
}

// browser follows redirects and keeps cookies.
type browser struct {
	t   *testing.T
	url string
	c   *http.Client
}

func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, url, &http.Client{Jar: jar}}
}

// do asks for a page, and checks where that has led and what is on it.
func (b *browser) do(method, path, form, wantPath string, want ...string) string {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(form))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	resp, err := b.c.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := resp.Request.URL.RequestURI(); got != wantPath {
		b.t.Fatalf("%s %s led to %s (%s), want %s", method, path, got, resp.Status, wantPath)
	}
	for _, text := range want {
		if !strings.Contains(string(body), text) {
			b.t.Fatalf("%s %s: no %q in:\n%s", method, path, text, body)
		}
	}
	return string(body)
}

const (
	alice = "login=alice%40example.com&password=demo-password&return=%2Fmembers"
	bob   = "login=bob%40example.com&password=another-password"
)

func TestVisit(t *testing.T) {
	_, site := start(t)
	b := newBrowser(t, site)
	b.do("GET", "/", "", "/", "whoever you are", `href="/login?return=%2Fmembers"`)
	b.do("GET", "/members", "", "/login?return=%2Fmembers", `name="return" value="/members"`)
	b.do("POST", "/login", "login=alice%40example.com&password=wrong", "/login", `role="alert"`, "not the right name", `value="alice@example.com"`)
	b.do("POST", "/login", alice, "/members", "Welcome <b>Alice</b>. Not <b>Alice</b>?", "members only")
	b.do("GET", "/", "", "/", "Welcome <b>Alice</b>")
	// "Not Alice? Click here to sign in."
	page := b.do("POST", "/signout", "", "/login?reason=user", "You are signed out.")
	if strings.Contains(page, "Alice") || strings.Contains(page, "alice") {
		t.Errorf("the page knows who was here:\n%s", page)
	}
	b.do("GET", "/members", "", "/login?return=%2Fmembers")
	b.do("POST", "/login", bob, "/", "Welcome <b>Bob</b>")
	b.do("GET", "/login", "", "/login", "signed in as <b>Bob</b>")
}

// Everybody else of the account is sent to the login page with the next click.
func TestSignOutEverywhere(t *testing.T) {
	for _, path := range []string{"/signout", "/close"} {
		_, site := start(t)
		laptop, phone := newBrowser(t, site), newBrowser(t, site)
		laptop.do("POST", "/login", alice, "/members")
		phone.do("POST", "/login", alice, "/members")
		laptop.do("POST", path, "scope=global", "/login?reason=user")
		phone.do("GET", "/members", "", "/login?reason=ended&return=%2Fmembers", "not signed in any more")
		phone.do("GET", "/", "", "/", "whoever you are")
	}
}

// A copy of the cookie is worth nothing after the sign-out.
func TestReplay(t *testing.T) {
	a, site := start(t)
	b := newBrowser(t, site)
	b.do("POST", "/login", alice, "/members")
	u, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	copied := b.c.Jar.Cookies(u)
	if len(copied) != 1 || copied[0].Name != "curfew-dev" {
		t.Fatalf("cookies %v", copied)
	}
	b.do("POST", "/signout", "", "/login?reason=user")
	if len(a.Log()) != 1 {
		t.Errorf("log %v", a.Log())
	}
	b.c.Jar.SetCookies(u, copied)
	b.do("GET", "/members", "", "/login?reason=user&return=%2Fmembers")
}

// The pages work without scripts and say so to the browser.
func TestPages(t *testing.T) {
	_, site := start(t)
	resp, err := http.Get(site + "/style.css")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	csp := resp.Header.Get("Content-Security-Policy")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/css") || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	resp, err = http.Get(site + "/signout")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /signout: %s", resp.Status)
	}
}
