package server_test

import (
	"strings"
	"testing"

	"github.com/curfewhq/curfew/internal/server"
)

// takesCookies are the operations that a browser calls with its cookie.
func (f *fixture) takesCookies(t *testing.T, k tokens) []good {
	t.Helper()
	var out []good
	for _, g := range f.everyCall(t, k) {
		for _, scheme := range g.secured {
			if scheme == "sessionCookie" {
				g.credential = ""
				delete(g.body, "refresh_token")
				out = append(out, g)
			}
		}
	}
	if len(out) < 9 {
		t.Fatalf("only %d operations take a cookie", len(out))
	}
	return out
}

const plainWarning = "no session cookie over plain HTTP"

// Over plain HTTP everybody on the way reads the cookie: none is given, none is
// taken, and the operator learns what to do.
func TestPlainHTTPGetsNoCookieAndGivesNone(t *testing.T) {
	t.Parallel()
	f := start(t, options{pages: true})
	k, c := f.loginAlice(t), f.aliceCookie(t)
	before := f.heads(t)
	for _, g := range f.takesCookies(t, k) {
		opts := []opt{session(c.value), sameOrigin(f)}
		if g.body != nil {
			opts = append(opts, sendJSON(g.body))
		}
		if p := f.call(t, g.method, g.path, opts...).wantError(403, "tls_required"); p.header["Set-Cookie"] != nil || p.header.Get("Clear-Site-Data") != "" {
			t.Errorf("%s: %v", g.name, p.header)
		}
	}
	for _, g := range []struct{ method, path string }{
		{"GET", "/login"}, {"POST", "/login"}, {"GET", "/account"}, {"GET", "/signout"}, {"POST", "/signout"}, {"POST", "/account/sessions"}, {"POST", "/account/password"},
	} {
		p := f.call(t, g.method, g.path, session(c.value), withCookie(sessionName+"-probe", "1"), sendForm("login", "alice", "password", alicePassword, "scope", "global"))
		if p.status != 403 && (g.method != "GET" || p.status != 405) || p.header["Set-Cookie"] != nil {
			t.Errorf("%s %s: %d %v", g.method, g.path, p.status, p.header)
		}
		if !p.shows("https") {
			t.Errorf("%s %s does not say what to do: %s", g.method, g.path, p.text())
		}
	}
	// Without a cookie the pages lead to the login page, which says it.
	f.call(t, "GET", "/account").to("/login?return=%2Faccount")
	f.call(t, "POST", "/signout").to("/login")
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	// One line, however often somebody asks.
	if n := strings.Count(f.logs.String(), plainWarning); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, f.logs)
	}
	for _, word := range []string{"trusted_proxies", "public_url", "X-Forwarded-Proto"} {
		if !strings.Contains(f.logs.String(), word) {
			t.Errorf("the log does not name %s", word)
		}
	}
	f.isLive(t, "tokens need no cookie", &k)
}

// Nobody is warned who uses no cookies.
func TestPlainHTTPWithoutCookiesWarnsOfNothing(t *testing.T) {
	t.Parallel()
	f := start(t, options{pages: true})
	k := f.loginAlice(t)
	f.call(t, "GET", "/user", bearer(k.access), withCookie("theme", "dark")).want(200)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	if strings.Contains(f.logs.String(), plainWarning) {
		t.Errorf("log:\n%s", f.logs)
	}
}

// arrival is a request that comes from somewhere.
type arrival struct {
	name, peer string
	opts       []opt
	want       string // name of the cookie that it may carry; "" = none
}

// What a request came over decides about cookies, so nobody may make it up: the
// connection counts, then the word of a proxy that is trusted, and of no other.
func TestWhatARequestCameOver(t *testing.T) {
	t.Parallel()
	proto := func(values ...string) []opt {
		var out []opt
		for _, v := range values {
			out = append(out, header("X-Forwarded-Proto", v))
		}
		return out
	}
	const local, local6, mapped, proxy, stranger = "127.0.0.1:1234", "[::1]:1234", "[::ffff:127.0.0.1]:1234", "10.0.0.5:1234", "203.0.113.9:1234"
	trusted := []string{"10.0.0.0/8", "127.0.0.1"}
	for _, s := range []struct {
		name  string
		o     options
		cases []arrival
	}{
		{"http public URL, no proxies", options{}, []arrival{
			{"stranger", stranger, nil, ""},
			{"stranger says https", stranger, proto("https"), ""},
			{"this machine", local, nil, ""},
			{"this machine says https", local, proto("https"), ""},
			{"Unix socket", "@", nil, ""},
			{"Unix socket says https", "", proto("https"), ""},
		}},
		{"http public URL, trusted proxies", options{trusted: trusted}, []arrival{
			{"proxy says https", proxy, proto("https"), sessionName},
			{"proxy says HTTPS", proxy, proto(" HTTPS "), sessionName},
			{"proxy says http", proxy, proto("http"), ""},
			{"proxy says nothing", proxy, nil, ""},
			{"stranger says https", stranger, proto("https"), ""},
			{"two proxies, https all the way", proxy, proto("https, https"), sessionName},
			{"two proxies in two headers", proxy, proto("https", "https"), sessionName},
			{"plain before the first proxy", proxy, proto("http, https"), ""},
			{"plain between the proxies", proxy, proto("https,http"), ""},
			{"plain in the second header", proxy, proto("https", "http"), ""},
			{"client said https, proxy says http", proxy, proto("https", "http"), ""},
			{"empty", proxy, proto(""), ""},
			{"empty entry", proxy, proto("https,"), ""},
			{"something else", proxy, proto("wss"), ""},
			{"https with a tail", proxy, proto("https;x"), ""},
			{"other headers", proxy, []opt{header("X-Forwarded-Ssl", "on"), header("Front-End-Https", "on"), header("Forwarded", "proto=https"), header("X-Forwarded-Scheme", "https")}, ""},
		}},
		{"https public URL, no proxies", options{publicURL: "https://id.example.com"}, []arrival{
			// Whoever reaches the port from elsewhere has not come through the
			// proxy that does TLS.
			{"this machine", local, nil, sessionName},
			{"this machine, IPv6", local6, nil, sessionName},
			{"this machine, mapped", mapped, nil, sessionName},
			{"this machine, whose word does not count", local, proto("http"), sessionName},
			{"stranger", stranger, nil, ""},
			{"neighbour", "10.0.0.5:1", nil, ""},
			{"stranger says https", stranger, proto("https"), ""},
			{"Unix socket", "@", nil, ""},
		}},
		{"https public URL, trusted proxy on this machine", options{publicURL: "https://id.example.com", trusted: trusted}, []arrival{
			{"says https", local, proto("https"), sessionName},
			{"says http", local, proto("http"), ""},
			{"says nothing", local, nil, sessionName},
		}},
		{"dev", options{dev: true}, []arrival{
			{"this machine", local, nil, "curfew-dev"},
			{"this machine, IPv6", local6, nil, "curfew-dev"},
			{"this machine, mapped", mapped, nil, "curfew-dev"},
			{"127.0.0.2", "127.0.0.2:9", nil, "curfew-dev"},
			{"neighbour", "192.168.1.20:1234", nil, ""},
			{"stranger", stranger, nil, ""},
			{"stranger who says he is here", stranger, []opt{header("X-Forwarded-For", "127.0.0.1")}, ""},
			{"Unix socket", "@", nil, ""},
		}},
		{"dev behind a trusted proxy", options{dev: true, trusted: trusted}, []arrival{
			{"says https", local, proto("https"), sessionName},
			{"says http", local, proto("http"), ""},
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.o.pages = true
			f := start(t, s.o)
			c := f.aliceCookie(t)
			for _, tt := range s.cases {
				p := f.callFrom(t, tt.peer, "GET", "/login", tt.opts...)
				switch {
				case tt.want == "" && (p.status != 403 || p.header["Set-Cookie"] != nil):
					t.Errorf("%s: %d %v", tt.name, p.status, p.header["Set-Cookie"])
				case tt.want != "" && (p.status != 200 || p.setCookie(tt.want+"-probe") == ""):
					t.Errorf("%s: %d %v, want %s", tt.name, p.status, p.header["Set-Cookie"], tt.want)
				}
				for _, name := range []string{sessionName, "curfew-dev"} {
					p := f.callFrom(t, tt.peer, "GET", "/user", append(tt.opts, withCookie(name, c.value))...)
					if got := p.status == 200; got != (tt.want == name) {
						t.Errorf("%s: %s is taken: %v %s", tt.name, name, got, p.body)
					}
				}
			}
		})
	}
}

// On plain HTTP browsers ignore the prefix __Host- and the attribute Secure, so
// `curfew dev` has another name, and the two are not mixed up.
func TestCookieOfDevelopment(t *testing.T) {
	t.Parallel()
	f := start(t, options{pages: true, dev: true, demo: &server.Demo{Login: "alice@example.com", Password: alicePassword}})
	b := f.browser(t)
	b.name = "curfew-dev"
	p := b.trySignIn("alice@example.com", alicePassword).to("/account")
	value := b.cookie("curfew-dev")
	if got, want := p.setCookie("curfew-dev"), "curfew-dev="+value+"; Path=/; HttpOnly; SameSite=Lax"; got != want {
		t.Errorf("cookie: %s, want %s", got, want)
	}
	f.call(t, "GET", "/user", session(value)).wantError(401, "no_credential")
	f.call(t, "GET", "/user", withCookie("curfew-dev", value)).want(200)
	p = b.post("/signout").to("/login")
	if got, want := p.setCookie("curfew-dev"), "curfew-dev=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; SameSite=Lax"; got != want {
		t.Errorf("deletion: %s, want %s", got, want)
	}
	f.call(t, "GET", "/user", withCookie("curfew-dev", value)).want(401)
}
