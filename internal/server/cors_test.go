package server_test

import (
	"net/http"
	"strings"
	"testing"
)

const app = "https://app.example.com"

// cross makes a call as the script of a page of another origin does.
func cross(origin string) opt {
	return func(r *http.Request) {
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "cors")
	}
}

// preflight asks, as browsers do, whether a call may be made.
func (f *fixture) preflight(t *testing.T, path, origin, method, headers string) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "OPTIONS", f.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", origin)
	r.Header.Set("Access-Control-Request-Method", method)
	if headers != "" {
		r.Header.Set("Access-Control-Request-Headers", headers)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 204 {
		t.Errorf("preflight of %s %s from %s: %d", method, path, origin, resp.StatusCode)
	}
	return resp.Header
}

func TestFrontEndOfAListedOrigin(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, origins: []string{app}})
	k := f.loginAlice(t)
	for _, c := range []struct{ method, path, headers string }{
		{"POST", "/token", "content-type"}, {"POST", "/logout", "authorization,content-type,prefer"}, {"GET", "/sessions/current", "authorization,curfew-background"},
		{"DELETE", "/sessions/x", "authorization"}, {"PUT", "/user", "authorization,content-type"}, {"GET", "/sessions/events", "authorization"},
	} {
		h := f.preflight(t, c.path, app, c.method, c.headers)
		if h.Get("Access-Control-Allow-Origin") != app || !strings.Contains(h.Get("Access-Control-Allow-Methods"), c.method) || h.Get("Access-Control-Allow-Headers") != c.headers {
			t.Errorf("preflight of %s %s: %v", c.method, c.path, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.Join(h["Vary"], ","), "Origin") || h.Get("Access-Control-Max-Age") == "" {
			t.Errorf("preflight of %s %s: %v", c.method, c.path, h)
		}
	}
	// What is not listed is not allowed.
	for _, c := range []struct{ method, headers string }{{"PATCH", ""}, {"POST", "x-evil"}, {"POST", "authorization,cookie"}, {"POST", "*"}} {
		if h := f.preflight(t, "/logout", app, c.method, c.headers); h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight with %v: %v", c, h)
		}
	}
	p := f.call(t, "GET", "/user", bearer(k.access), cross(app)).want(200)
	if p.header.Get("Access-Control-Allow-Origin") != app || p.header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.Join(p.header["Vary"], ","), "Origin") {
		t.Errorf("answer: %v", p.header)
	}
	// Errors can be read too, or the front end would not know what to do.
	p = f.call(t, "GET", "/user", bearer("garbage"), cross(app)).want(401)
	if p.header.Get("Access-Control-Allow-Origin") != app || !strings.Contains(strings.ToLower(p.header.Get("Access-Control-Expose-Headers")), "retry-after") {
		t.Errorf("error: %v", p.header)
	}
	f.call(t, "POST", "/logout", bearer(k.access), cross(app)).want(200)
	f.isDead(t, "the session", k)
}

// A page that an origin of ours is not may send what it likes, as browsers let
// it: it reads nothing, and the cookie does not count.
func TestPagesOfOtherOriginsReadNothing(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, origins: []string{app, "https://shop.example.com:8443"}})
	k, c := f.loginAlice(t), f.aliceCookie(t)
	for _, origin := range []string{
		"https://evil.example", "null", "https://app.example.com.evil.example", "https://evilapp.example.com", "http://app.example.com", "https://app.example.com:443", "https://app.example.com:8443",
		"https://shop.example.com", "https://APP.example.com", "https://app.example.com/", "https://x.app.example.com", "https://app.example.com@evil.example", "http://localhost:5173", "http://127.0.0.1:3000", "*", "https://*",
	} {
		if h := f.preflight(t, "/logout", origin, "POST", "authorization"); h.Get("Access-Control-Allow-Origin") != "" || h.Get("Access-Control-Allow-Headers") != "" {
			t.Errorf("preflight from %s: %v", origin, h)
		}
		p := f.call(t, "GET", "/user", bearer(k.access), cross(origin))
		for name := range p.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("answer to %s: %s: %s", origin, name, p.header.Get(name))
			}
		}
		// A cache must not give this answer to the listed origin, or the other
		// way round.
		if !strings.Contains(strings.Join(p.header["Vary"], ","), "Origin") {
			t.Errorf("answer to %s: Vary is %q", origin, p.header["Vary"])
		}
	}
	// Not even an origin of ours gets anywhere with the cookie.
	for _, origin := range []string{app, "https://evil.example"} {
		f.call(t, "POST", "/logout", session(c.value), cross(origin)).wantError(403, "cross_origin")
		f.call(t, "PUT", "/user", session(c.value), cross(origin), sendJSON(M{"name": "Mallory"})).wantError(403, "cross_origin")
		if p := f.call(t, "GET", "/user", session(c.value), cross(origin)); p.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("from %s: %v", origin, p.header)
		}
	}
	f.cookieIsLive(t, "the session", c.value)
}

func TestOriginsOfThisMachineAreForDevelopment(t *testing.T) {
	t.Parallel()
	f := start(t, options{pages: true, dev: true})
	for origin, want := range map[string]bool{
		"http://localhost:5173": true, "http://localhost": true, "http://127.0.0.1:3000": true, "http://[::1]:3000": true,
		"https://localhost:5173": false, "http://localhost.evil.example": false, "http://127.0.0.2": false, "http://192.168.1.5": false, "null": false, "http://localhost:5173.evil.example": false,
		"http://localhost:999999": false, "http://evil.example:5173": false, "http://x.localhost:5173": false, "http://localhost:5173/": false,
	} {
		h := f.preflight(t, "/token", origin, "POST", "content-type")
		if got := h.Get("Access-Control-Allow-Origin"); (got == origin) != want || !want && got != "" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, h)
		}
	}
}

// Without origins nobody is answered in a way that a browser would let a page
// of another origin read.
func TestWithoutOriginsThereIsNoCORS(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	k := f.loginAlice(t)
	for _, origin := range []string{app, "null", "http://localhost:5173", f.URL} {
		p := f.call(t, "GET", "/user", bearer(k.access), cross(origin)).want(200)
		for name := range p.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("answer to %s: %s: %s", origin, name, p.header.Get(name))
			}
		}
	}
	f.call(t, "OPTIONS", "/token", header("Origin", app), header("Access-Control-Request-Method", "POST")).want(405)
}
