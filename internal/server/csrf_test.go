package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// change is a call that changes something on behalf of a browser.
type change struct {
	name, method, path string
	body               func(alice, other cookieSession) opt
}

func form(pairs ...string) func(cookieSession, cookieSession) opt {
	return func(cookieSession, cookieSession) opt { return sendForm(pairs...) }
}

func object(m M) func(cookieSession, cookieSession) opt {
	return func(cookieSession, cookieSession) opt { return sendJSON(m) }
}

// changes are all of them. Those with another status than 303 and 200 when they
// are made by our own pages are of no use here.
var changes = []change{
	{"sign out", "POST", "/signout", form("scope", "local")},
	{"sign out everywhere", "POST", "/signout", form("scope", "global")},
	{"end a device", "POST", "/account/sessions", func(_, other cookieSession) opt { return sendForm("end", other.session) }},
	{"end the others", "POST", "/account/sessions", form("scope", "others")},
	{"end all", "POST", "/account/sessions", form("scope", "global")},
	{"change the password", "POST", "/account/password", form("current_password", alicePassword, "new_password", "password of the attacker")},
	{"log in as the attacker", "POST", "/login", form("login", "bob@example.com", "password", bobPassword)},
	{"logout", "POST", "/logout", form()},
	{"logout, a form", "POST", "/logout", form("scope", "global")},
	{"logout, as text", "POST", "/logout?scope=global", func(cookieSession, cookieSession) opt { return raw("", "") }},
	{"logout everywhere", "POST", "/logout/all", object(M{})},
	{"end a device by the API", "DELETE", "/sessions/{other}", func(cookieSession, cookieSession) opt { return func(*http.Request) {} }},
	{"change the profile", "PUT", "/user", object(M{"name": "Mallory"})},
	{"change the password by the API", "PUT", "/user", object(M{"password": "password of the attacker", "current_password": alicePassword})},
	{"reauthenticate", "POST", "/reauthenticate", object(M{"password": alicePassword})},
}

func (c change) call(f *fixture, t *testing.T, alice, other cookieSession, opts ...opt) reply {
	t.Helper()
	opts = append([]opt{session(alice.value), withCookie(sessionName+"-probe", "1"), c.body(alice, other)}, opts...)
	return f.call(t, c.method, strings.Replace(c.path, "{other}", other.session, 1), opts...)
}

// What another site makes a browser do, with the cookie that the browser adds by
// itself, changes nothing: nobody is logged out, and nobody is logged in as
// somebody else (login CSRF).
func TestAnotherSiteChangesNothing(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	alice, other := f.aliceCookie(t), f.aliceCookie(t)
	before := f.heads(t)
	for how, attack := range map[string][]opt{
		"cross-site":                         {header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.example")},
		"sibling":                            {header("Sec-Fetch-Site", "same-site"), header("Origin", "https://blog.example.com")},
		"cross-site without an origin":       {header("Sec-Fetch-Site", "cross-site")},
		"old browser":                        {header("Origin", "https://evil.example")},
		"old browser, sandboxed frame":       {header("Origin", "null")},
		"old browser, another port":          {header("Origin", "https://127.0.0.1:1")},
		"old browser, our name in front":     {header("Origin", f.URL+".evil.example")},
		"old browser, our name as the user":  {header("Origin", "https://"+strings.TrimPrefix(f.URL, "https://")+"@evil.example")},
		"made-up value":                      {header("Sec-Fetch-Site", "friendly")},
		"in capitals":                        {header("Sec-Fetch-Site", "SAME-ORIGIN")},
		"our origin, and a site that is not": {header("Sec-Fetch-Site", "cross-site"), func(r *http.Request) { r.Header.Set("Origin", f.URL) }},
	} {
		for _, c := range changes {
			p := c.call(f, t, alice, other, attack...).want(403)
			if p.header["Set-Cookie"] != nil || p.header.Get("Clear-Site-Data") != "" {
				t.Errorf("%s, %s: %v", how, c.name, p.header)
			}
			if strings.HasPrefix(p.header.Get("Content-Type"), "application/json") {
				p.wantError(403, "cross_origin")
			} else if !p.shows("Nothing was done") {
				t.Errorf("%s, %s: %s", how, c.name, p.text())
			}
			if after := f.heads(t); after != before {
				t.Errorf("%s, %s: heads moved from %v to %v", how, c.name, before, after)
				before = after
			}
		}
	}
	f.cookieIsLive(t, "alice", alice.value)
	f.cookieIsLive(t, "her other browser", other.value)
	f.tryLogin(t, "alice", alicePassword).want(200)
}

// Our own pages, and clients that are no browsers, are not kept out by that.
func TestOurOwnPagesMayChangeEverything(t *testing.T) {
	t.Parallel()
	for how, o := range map[string][]opt{
		"same origin":  {header("Sec-Fetch-Site", "same-origin")},
		"typed":        {header("Sec-Fetch-Site", "none")},
		"no browser":   nil,
		"our origin":   {func(r *http.Request) { r.Header.Set("Origin", "https://"+r.URL.Host) }},
		"both headers": {func(r *http.Request) { r.Header.Set("Origin", "https://"+r.URL.Host) }, header("Sec-Fetch-Site", "same-origin")},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := start(t, web)
			for _, c := range changes {
				p := c.call(f, t, f.aliceCookie(t), f.aliceCookie(t), o...)
				if p.status != 200 && p.status != 303 {
					t.Errorf("%s: %d %s", c.name, p.status, p.text())
				}
				f.call(t, "POST", "/admin/users/alice/password", bearer(f.operator), sendJSON(M{"password": alicePassword})).want(200)
			}
		})
	}
}

// A bearer is nothing that a browser adds by itself, so it may come from
// anywhere.
func TestTokensMayComeFromOtherSites(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	k := f.loginAlice(t)
	f.call(t, "PUT", "/user", bearer(k.access), sendJSON(M{"name": "Alice"}), crossSite).want(200)
	f.call(t, "POST", "/logout", bearer(k.access), crossSite).want(200)
	f.isDead(t, "the session", k)
	k = f.loginAlice(t)
	f.call(t, "POST", "/logout", sendForm("logout_token", k.logout), crossSite).want(200)
	f.isDead(t, "the session", k)
}

// No GET changes anything: a link, an image, a prefetch or a crawler must not
// log anybody out.
func TestNoGETChangesAnything(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	alice, other := f.aliceCookie(t), f.aliceCookie(t)
	before := f.heads(t)
	for _, path := range []string{
		"/signout", "/signout?scope=global", "/signout?scope=local&return=/", "/signout?_method=POST", "/logout", "/logout/all", "/logout?scope=global", "/revoke?token=" + alice.value,
		"/account", "/account?scope=global", "/account/sessions", "/account/sessions?end=" + other.session, "/account/sessions?scope=global", "/account/password?new_password=x",
		"/login", "/login?login=bob&password=" + bobPassword[:6], "/sessions/" + other.session, "/", "/sessions/current", "/user",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, more := range [][]opt{nil, {crossSite}, {header("X-HTTP-Method-Override", "POST")}, {header("Sec-Purpose", "prefetch")}} {
				p := f.call(t, method, path, append(more, session(alice.value))...)
				if p.setCookie(sessionName) != "" || p.header.Get("Clear-Site-Data") != "" || p.status >= 500 {
					t.Errorf("%s %s: %d %v", method, path, p.status, p.header)
				}
			}
		}
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.cookieIsLive(t, "alice", alice.value)
	f.cookieIsLive(t, "her other browser", other.value)
}

// The page that asks is not the act.
func TestSignoutPageAsks(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	value := b.alice()
	p := b.get("/signout").want(200)
	if !strings.Contains(string(p.body), `<form method="post" action="/signout">`) || !p.shows("Alice") {
		t.Errorf("page: %s", p.body)
	}
	f.cookieIsLive(t, "after the question", value)
	other := f.aliceCookie(t)
	if p := b.get("/signout").want(200); !strings.Contains(string(p.body), `value="global"`) || !p.shows("1 other device") {
		t.Errorf("page with another device: %s", p.text())
	}
	b.post("/signout", "scope", "local").to("/login")
	f.cookieIsDead(t, "this device", value)
	f.cookieIsLive(t, "the other device", other.value)
}
