package server_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/google/go-cmp/cmp"
)

func TestLoginPage(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, Config: strict})
	b := f.browser(t)
	b.get("/").to("/account")
	b.get("/account").to("/login?return=%2Faccount")
	p := b.get("/login?return=%2Faccount%3Fx%3D1&login=alice@example.com").want(200)
	for _, want := range []string{`name="return" value="/account?x=1"`, `name="login" type="text"`, `value="alice@example.com"`, `type="password" autocomplete="current-password"`} {
		if !strings.Contains(string(p.body), want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	before := f.heads(t)[0]
	p = b.trySignIn("alice@example.com", "a password that is wrong", "return", "/account?x=1").want(422)
	if p.role("alert") != "That name and password do not match." || !strings.Contains(string(p.body), `value="alice@example.com"`) || !strings.Contains(string(p.body), `value="/account?x=1"`) {
		t.Errorf("wrong password: %s", p.body)
	}
	if strings.Contains(string(p.body), "a password that is wrong") || p.setCookie(sessionName) != "" {
		t.Error("the page shows the password, or begins a session")
	}
	// As for the API, nobody learns who has an account here.
	unknown := b.trySignIn("nobody@example.com", "a password that is wrong", "return", "/account?x=1").want(422)
	if diff := cmp.Diff(string(p.body), strings.ReplaceAll(string(unknown.body), "nobody@", "alice@")); diff != "" {
		t.Errorf("a wrong password is told apart from an unknown name:\n%s", diff)
	}
	for _, pairs := range [][]string{{}, {"login", "alice"}, {"password", alicePassword}} {
		if p := b.post("/login", pairs...).want(422); p.role("alert") == "" {
			t.Errorf("%v: %s", pairs, p.text())
		}
	}
	b.post("/login", "login", "alice", "login", "bob", "password", "x").want(400)
	b.do("POST", "/login", sameOrigin(f), raw("text/plain", "login=alice")).want(415)
	b.do("POST", "/login", sameOrigin(f), raw("application/x-www-form-urlencoded", "login="+strings.Repeat("a", 1<<17))).want(413)
	if after := f.heads(t)[0]; after != before || b.cookie(sessionName) != "" {
		t.Errorf("the log moved from %d to %d", before, after)
	}
	// Too many tries: wait, and how long.
	b.trySignIn("alice", "wrong").want(422)
	b.trySignIn("alice", "wrong").want(422)
	p = b.trySignIn("alice", alicePassword).want(429)
	if got := p.header.Get("Retry-After"); got == "" || got == "0" || !strings.Contains(p.role("alert"), "Wait 15 minutes") {
		t.Errorf("throttled: Retry-After %q, %s", got, p.role("alert"))
	}
	b.trySignIn("bob", bobPassword).to("/account")
	if p := b.get("/login").want(200); !p.shows("You are signed in as bob@example.com") || !p.shows("Not you?") {
		t.Errorf("signed in already: %s", p.text())
	}
}

func TestNewPasswordIsAskedForOnTheLoginPage(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	f.call(t, "POST", "/admin/users/alice/logout", bearer(f.operator), sendJSON(M{"reason": "compromised"})).want(200)
	b := f.browser(t)
	if p := b.trySignIn("alice", alicePassword).want(422); p.role("alert") == "" || !strings.Contains(string(p.body), `name="new_password"`) || strings.Contains(string(p.body), alicePassword) {
		t.Errorf("page: %s", p.body)
	}
	for pw, want := range map[string]string{"short": "too short", alicePassword: "must differ"} {
		p := b.trySignIn("alice", alicePassword, "new_password", pw).want(422)
		if !strings.Contains(p.role("alert"), want) || !strings.Contains(string(p.body), `name="new_password"`) {
			t.Errorf("%q: %s", pw, p.text())
		}
	}
	b.trySignIn("alice", alicePassword, "new_password", "a brand new password").to("/account")
	b.get("/account").want(200)
}

// A browser that keeps no cookies would begin a session with each try that
// nobody can use or end.
func TestBlockedCookiesBeginNoSession(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	before := f.heads(t)
	p := f.call(t, "POST", "/login", sameOrigin(f), sendForm("login", "alice", "password", alicePassword)).want(400)
	if !strings.Contains(p.role("alert"), "Allow cookies") || !strings.Contains(string(p.body), `value="alice"`) || p.setCookie(sessionName) != "" {
		t.Errorf("page: %s", p.text())
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
}

// What was asked for before the login is where it leads; anywhere else it does
// not.
func TestWhereTheLoginLeads(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, origins: []string{app}})
	for _, c := range []struct{ asked, want string }{
		{"", "/account"}, {"/demo?load=1", "/demo?load=1"}, {app + "/orders?page=2", app + "/orders?page=2"}, {app, app},
		{"//evil.example", ""}, {`/\evil.example`, ""}, {"https://evil.example/", ""}, {app + ".evil.example", ""}, {app + "@evil.example", ""}, {"javascript:alert(1)", ""}, {"HTTPS://app.example.com", ""},
		{"/\r\nSet-Cookie: x=y", ""}, {"https:evil.example", ""}, {"\t//evil.example", ""}, {"http://localhost:5173/", ""},
	} {
		b := f.browser(t)
		// In the form of the page, and in one that somebody has made.
		p := b.get("/login?return=" + url.QueryEscape(c.asked)).want(200)
		got := regexp.MustCompile(`name="return" value="([^"]*)"`).FindSubmatch(p.body)
		if want := c.want; want != "/account" && string(got[1]) != want || want == "/account" && string(got[1]) != "" {
			t.Errorf("%q: the page has %s", c.asked, got[0])
		}
		want := c.want
		if want == "" {
			want = "/account"
		}
		b.trySignIn("alice", alicePassword, "return", c.asked).to(want)
		if p := b.get("/login?return=" + url.QueryEscape(c.asked)).want(200); !strings.Contains(string(p.body), `href="`+want+`"`) {
			t.Errorf("%q: continuing does not lead to %s", c.asked, want)
		}
		signedOut := c.want
		if signedOut == "" || c.asked == "" {
			signedOut = "/login"
		}
		b.post("/signout", "return", c.asked).to(signedOut)
		b.post("/signout", "return", c.asked).to(signedOut) // twice is no error
	}
	dev := start(t, options{pages: true, dev: true})
	b := dev.browser(t)
	b.name = "curfew-dev"
	b.trySignIn("alice", alicePassword, "return", "http://localhost:5173/#/x").to("http://localhost:5173/#/x")
	b.post("/signout", "return", "http://localhost.evil.example/").to("/login")
}

// devices are the names and the forms of the account page, in order.
var device = regexp.MustCompile(`(?s)<li>.*?<h3>(.*?)</h3>.*?</li>`)

func (p reply) devices() []string {
	var out []string
	for _, m := range device.FindAllSubmatch(p.body, -1) {
		out = append(out, reply{body: m[1]}.text())
	}
	return out
}

func TestAccountShowsMyDevicesAndNobodyElses(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	agents := []string{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
	}
	var ids []string
	for _, agent := range agents {
		p := f.trySite(t, M{"email": "alice@example.com", "password": alicePassword, "ip": "198.51.100.7", "user_agent": agent}).want(201)
		ids = append(ids, p.str("session_id"))
	}
	bobs := f.bobCookie(t)
	b := f.browser(t)
	b.alice()
	mine := b.get("/user").want(200).str("session_id")
	f.loginAlice(t) // after mine, and yet mine comes first
	p := b.get("/account").want(200)
	names := p.devices()
	if len(names) != 4 || !strings.HasSuffix(names[0], "This device") || strings.Contains(strings.Join(names[1:], "|"), "This device") {
		t.Errorf("devices: %q", names)
	}
	if !strings.Contains(strings.Join(names, "|"), "Safari on iPhone") || !strings.Contains(strings.Join(names, "|"), "Firefox on Windows") || !p.shows("198.51.100.7") || !p.shows("alice@example.com") {
		t.Errorf("devices: %q", names)
	}
	for _, id := range ids {
		if !strings.Contains(string(p.body), `name="end" value="`+id+`"`) {
			t.Errorf("%s cannot be ended", id)
		}
	}
	if strings.Contains(string(p.body), bobs.session) || strings.Contains(string(p.body), `name="end" value="`+mine+`"`) {
		t.Error("the page has somebody else's device, or a button of its own")
	}
}

func TestDevicesAreEndedOnTheAccountPage(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	value := b.alice()
	one, two, three, bobs := f.aliceCookie(t), f.loginAlice(t), f.aliceCookie(t), f.bobCookie(t)

	b.post("/account/sessions", "end", one.session).to("/account")
	f.cookieIsDead(t, "the one that was ended", one.value)
	f.isLive(t, "another one", &two)
	if p := b.get("/account").want(200); !regexp.MustCompile(`^Signed out on 1 device\. Refused everywhere after (less than 1|\d+) ms\.$`).MatchString(p.role("status")) {
		t.Errorf("notice: %q", p.role("status"))
	}
	// Once: the next page shows nothing of it.
	if p := b.get("/account").want(200); p.role("status") != "" || b.cookie(sessionName+"-notice") != "" {
		t.Errorf("notice again: %q", p.role("status"))
	}
	b.post("/account/sessions", "end", one.session).to("/account")
	if p := b.get("/account").want(200); p.role("status") != "That device was signed out already." {
		t.Errorf("notice: %q", p.role("status"))
	}
	// Somebody else's looks like one that is gone, and lives on.
	before := f.heads(t)
	for _, id := range []string{bobs.session, strings.ToUpper(two.session), strings.Repeat("f", 32), "x", "../" + bobs.session, "' OR 1=1", f.bob.ID} {
		b.post("/account/sessions", "end", id).to("/account")
		if p := b.get("/account").want(200); p.role("status") != "That device was signed out already." {
			t.Errorf("%s: notice: %q", id, p.role("status"))
		}
	}
	for _, pairs := range [][]string{{}, {"end", one.session, "scope", "others"}, {"scope", "local"}, {"scope", "everybody"}, {"end", ""}} {
		b.post("/account/sessions", pairs...).want(400)
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.cookieIsLive(t, "bob", bobs.value)

	b.post("/account/sessions", "scope", "others").to("/account")
	if p := b.get("/account").want(200); !strings.HasPrefix(p.role("status"), "Signed out on 2 devices.") {
		t.Errorf("notice: %q", p.role("status"))
	}
	f.isDead(t, "the others", two)
	f.cookieIsDead(t, "the others", three.value)
	f.cookieIsLive(t, "this one", value)
	b.post("/account/sessions", "scope", "others").to("/account")
	if p := b.get("/account").want(200); p.role("status") != "No other device was signed in." {
		t.Errorf("notice: %q", p.role("status"))
	}

	two = f.loginAlice(t)
	b.post("/account/sessions", "scope", "global").to("/login")
	f.cookieIsDead(t, "this one", value)
	f.isDead(t, "the other one", two)
	if p := b.get("/login").want(200); !strings.HasPrefix(p.role("status"), "Signed out on 2 devices.") {
		t.Errorf("notice: %q", p.role("status"))
	}
	b.alice()
	mine := b.get("/user").want(200).str("session_id")
	b.post("/account/sessions", "end", mine).to("/login")
	b.get("/account").to("/login?return=%2Faccount")
	f.cookieIsLive(t, "bob", bobs.value)
}

func TestPasswordIsChangedOnTheAccountPage(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, Config: strict})
	b := f.browser(t)
	first := b.alice()
	other := f.loginAlice(t)
	for _, c := range []struct {
		current, pw, want string
	}{
		{"", "a brand new password", "Enter your password"}, {alicePassword, "", "Enter your password"}, {"wrong", "a brand new password", "That is not your password."},
		{alicePassword, "short", "too short"}, {alicePassword, alicePassword, "must differ"},
	} {
		p := b.post("/account/password", "current_password", c.current, "new_password", c.pw).want(422)
		if !strings.Contains(p.role("alert"), c.want) || len(p.devices()) != 2 || c.pw != "" && strings.Contains(string(p.body), `"`+c.pw+`"`) {
			t.Errorf("%q: %s", c.want, p.text())
		}
	}
	f.cookieIsLive(t, "after the failures", first)
	f.isSecret("a brand new password", "another new password")
	b.post("/account/password", "current_password", alicePassword, "new_password", "a brand new password", "keep", "on").to("/account")
	second := b.cookie(sessionName)
	f.isDead(t, "the other device", other)
	f.cookieIsDead(t, "the cookie of before", first)
	f.cookieIsLive(t, "the cookie of now", second)
	if p := b.get("/account").want(200); !strings.HasPrefix(p.role("status"), "Your password was changed. Signed out on 1 device.") {
		t.Errorf("notice: %q", p.role("status"))
	}
	b.post("/account/password", "current_password", "a brand new password", "new_password", "another new password").to("/login")
	f.cookieIsDead(t, "without keep", second)
	if p := b.get("/login").want(200); !strings.HasPrefix(p.role("status"), "Your password was changed.") {
		t.Errorf("notice: %q", p.role("status"))
	}
	// Guessing through a session is limited like guessing at the login.
	b.signIn("alice", "another new password")
	for range 3 {
		b.post("/account/password", "current_password", "wrong", "new_password", "x x x x x x x").want(422)
	}
	if p := b.post("/account/password", "current_password", "another new password", "new_password", "x x x x x x x").want(429); !strings.Contains(p.role("alert"), "Too many tries") {
		t.Errorf("throttled: %s", p.text())
	}
	b.post("/signout").to("/login")
}

func TestSigningOutTwiceIsNoError(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	value := b.alice()
	if p := b.post("/signout").to("/login"); p.setCookie(sessionName+"-notice") == "" {
		t.Error("no notice")
	}
	if p := b.get("/login").want(200); !strings.HasPrefix(p.role("status"), "You are signed out. Refused everywhere after") {
		t.Errorf("notice: %q", p.role("status"))
	}
	b.post("/signout").to("/login")
	for range 25 { // the button, pressed until the limit of useless logouts
		f.call(t, "POST", "/signout", session(value), sameOrigin(f)).to("/login")
	}
	b.get("/signout").to("/login?return=%2Fsignout")
	f.call(t, "POST", "/signout", session("garbage"), sameOrigin(f)).to("/login")
}

// Whoever comes back to a session that has ended elsewhere learns why.
func TestPagesSayWhyASessionEnded(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	for reason, end := range map[string]func(c cookieSession){
		"user_all": func(cookieSession) { f.call(t, "POST", "/logout/all", bearer(f.loginAlice(t).access)).want(200) },
		"user_others": func(cookieSession) {
			f.call(t, "POST", "/logout?scope=others", bearer(f.loginAlice(t).access)).want(200)
		},
		"user": func(c cookieSession) {
			f.call(t, "DELETE", "/sessions/"+c.session, bearer(f.loginAlice(t).access)).want(200)
		},
		"suspicious": func(c cookieSession) {
			f.call(t, "DELETE", "/admin/sessions/"+c.session+"?reason=suspicious", bearer(f.operator)).want(200)
		},
		"token_revoked": func(c cookieSession) { f.call(t, "POST", "/revoke", sendForm("token", c.value)).want(200) },
	} {
		f.call(t, "POST", "/admin/users/alice/password", bearer(f.operator), sendJSON(M{"password": alicePassword})).want(200)
		c := f.aliceCookie(t)
		end(c)
		p := f.call(t, "GET", "/account", session(c.value)).to("/login?reason=" + reason + "&return=%2Faccount")
		if text := f.call(t, "GET", p.header.Get("Location")).want(200).role("status"); text == "" || text == "You have been signed out. Please sign in again." {
			t.Errorf("%s: %q", reason, text)
		}
		f.call(t, "POST", "/account/password", session(c.value), sameOrigin(f), sendForm("current_password", alicePassword, "new_password", "a brand new password")).to("/login?reason=" + reason)
	}
	// A reason that somebody has made up says nothing of his.
	if p := f.call(t, "GET", "/login?reason=Your+account+was+hacked,+call+0800").want(200); p.shows("hacked") || p.role("status") == "" {
		t.Errorf("page: %s", p.text())
	}
	// A cookie that is nobody's has no reason.
	f.call(t, "GET", "/account", session("cs_"+strings.Repeat("A", 66))).to("/login?return=%2Faccount")
}

// With the store gone the browser forgets the session, and is told the truth
// about copies of it.
func TestPagesWithoutAStore(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	b.alice()
	f.closed = true
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, action string }{
		{"GET", "/account", "/account"}, {"GET", "/signout", "/signout"}, {"POST", "/account/sessions", "/account"}, {"POST", "/account/password", "/account"}, {"POST", "/login", "/login"},
	} {
		p := b.do(c.method, c.path, sameOrigin(f), sendForm("login", "alice", "password", alicePassword, "scope", "others", "current_password", "x", "new_password", "y")).want(503)
		if !p.shows("Please try again in a moment") || p.shows("Signed out") || !strings.Contains(string(p.body), `href="`+c.action+`"`) || p.header["Set-Cookie"] != nil || p.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %v %s", c.method, c.path, p.header, p.text())
		}
	}
	p := b.post("/signout").want(503)
	if p.setCookie(sessionName) != deleted || b.cookie(sessionName) != "" || p.header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("sign-out: %v", p.header)
	}
	if !p.shows("Signed out in this browser only") || !p.shows("nothing is promised") || p.shows("Signed out on") {
		t.Errorf("sign-out: %s", p.text())
	}
	b.get("/login").want(200) // it needs no store
}

// A notice is a cookie, so anybody may forge one in his own browser. It is shown
// as one of the sentences that there are, or not at all.
func TestForgedNoticesAreHarmless(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for name, value := range map[string]string{
		"garbage": "garbage", "no JSON": encode("x"), "null": encode("null"), "list": encode("[]"), "empty": "", "padding": encode(`{"Kind":"global"}`) + "==", "long": strings.Repeat("A", 3000),
		"markup":   encode(`{"Kind":"<script>alert(1)</script>","State":"<img src=x onerror=alert(1)>","Ended":1}`),
		"numbers":  encode(`{"Kind":"global","Ended":-5,"Verifiers":-1,"Took":-1}`),
		"overflow": encode(`{"Kind":"global","Ended":99999999999999999999}`),
		"types":    encode(`{"Kind":1,"Ended":"x"}`),
		"huge":     encode(`{"Kind":"global","Ended":9223372036854775807,"State":"enforced","Verifiers":9223372036854775807,"Took":9223372036854775807}`),
	} {
		b := f.browser(t)
		b.plant(sessionName+"-notice", value)
		p := b.get("/login").want(200)
		if p.shows("alert(1)") || strings.Contains(string(p.body), "<script>") {
			t.Errorf("%s: %s", name, p.text())
		}
		if value != "" && b.cookie(sessionName+"-notice") != "" {
			t.Errorf("%s: the notice is not taken away", name)
		}
		if p := b.get("/login").want(200); p.role("status") != "" {
			t.Errorf("%s: shown twice: %q", name, p.role("status"))
		}
	}
}

// Nobody's text becomes a part of a page: not the name that was typed, nor the
// user agent, the name of an account, or an address that is asked for.
func TestTextOfOthersIsNoMarkup(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}`
	f.createUser(t, authority.NewUser{Email: "eve@example.com", Username: "eve", Name: evil, Password: alicePassword})
	f.trySite(t, M{"email": "eve@example.com", "password": alicePassword, "user_agent": evil}).want(201)
	b := f.browser(t)
	pages := []reply{
		b.get("/login?login=" + url.QueryEscape(evil) + "&reason=" + url.QueryEscape(evil) + "&return=" + url.QueryEscape("/"+evil)),
		b.trySignIn(evil, alicePassword, "return", evil),
	}
	b.signIn("eve", alicePassword)
	pages = append(pages, b.get("/account"), b.get("/signout?return="+url.QueryEscape("/x?"+evil)), b.get("/login?return=/x'onmouseover=alert(1)"),
		b.post("/account/sessions", "end", evil), b.get("/account"), b.post("/account/password", "current_password", evil, "new_password", evil))
	for i, p := range pages {
		if strings.Contains(string(p.body), "<script>alert") || strings.Contains(string(p.body), "<img src=x") {
			t.Errorf("page %d (%s): %s", i, p.call, p.body)
		}
	}
	if p := b.get("/account").want(200); !strings.Contains(p.text(), `<script>alert(1)</script>`) {
		t.Errorf("the account does not show the name as text: %s", p.text())
	}
}

func TestDemoPage(t *testing.T) {
	t.Parallel()
	off := start(t, web)
	off.call(t, "GET", "/demo").wantError(404, "not_found")
	off.call(t, "GET", "/demo/employees").wantError(404, "not_found")

	f := start(t, options{tls: true, pages: true, demo: &server.Demo{Login: "alice@example.com", Password: alicePassword}})
	b := f.browser(t)
	b.get("/demo").to("/login?return=%2Fdemo")
	if p := b.get("/login").want(200); !p.shows(alicePassword) {
		t.Error("the login page does not show the demo user")
	}
	f.call(t, "GET", "/demo/employees").want(401)
	b.trySignIn("alice@example.com", alicePassword, "return", "/demo").to("/demo")
	if p := b.get("/demo").want(200); p.shows("Ada Marsh") {
		t.Error("the data is in the page before it is asked for")
	}
	if p := b.get("/demo?load=1").want(200); !p.shows("Ada Marsh") {
		t.Errorf("without JavaScript: %s", p.text())
	}
	if p := b.get("/demo/employees").want(200); len(p.list("employees")) != 5 {
		t.Errorf("data: %s", p.body)
	}
	k := f.loginAlice(t)
	f.call(t, "GET", "/demo/employees", bearer(k.access)).want(200)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	if p := f.call(t, "GET", "/demo/employees", bearer(k.access)).want(401); p.str("reason") != "user" {
		t.Errorf("after the logout: %s", p.body)
	}
	// Log Off leads back here, and from here to the login: Back shows nothing.
	b.post("/signout", "scope", "local", "return", "/demo").to("/demo")
	b.get("/demo").to("/login?return=%2Fdemo")
	b.get("/demo/employees").want(401)
}

func TestAssetsAreServedAndNothingElse(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	p := f.call(t, "GET", "/login").want(200)
	found := regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllSubmatch(p.body, -1)
	if len(found) < 3 {
		t.Fatalf("the page has %d assets", len(found))
	}
	for _, m := range found {
		a := f.call(t, "GET", string(m[1])).want(200)
		if len(a.body) == 0 || !strings.Contains(a.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", m[1], a.header)
		}
	}
	for _, path := range []string{"/assets/x.js", "/assets/page.css", "/assets/..%2fwebui.go", "/assets/%2e%2e/webui.go", "/assets/"} {
		if p := f.call(t, "GET", path); p.status == 200 {
			t.Errorf("%s: %s", path, p.body)
		}
	}
}

// Every sign-in, sign-out and change by the pages leaves the line that the API
// leaves.
func TestPagesAreAudited(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	b.trySignIn("alice", "wrong").want(422)
	b.alice()
	id := b.get("/user").want(200).str("session_id")
	b.post("/signout").to("/login")
	if rows := f.audited(t, audit.LoginFailed); len(rows) != 1 || rows[0].IP != "127.0.0.1" {
		t.Errorf("failed: %+v", rows)
	}
	if rows := f.audited(t, audit.LoginSucceeded); len(rows) != 1 || rows[0].Session != id {
		t.Errorf("succeeded: %+v", rows)
	}
	if rows := f.audited(t, audit.SessionLogout); len(rows) != 1 || rows[0].Session != id || rows[0].Actor != "user:"+f.alice.ID || rows[0].Reason != "user" {
		t.Errorf("logout: %+v", rows)
	}
}

// Looking at a page is activity; a page that waits in a tab is none.
func TestPagesKeepASessionAliveOnlyWhileSomebodyLooks(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, Config: authority.Config{IdleTimeout: 1500 * time.Millisecond}})
	b := f.browser(t)
	value := b.alice()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		b.get("/account").want(200)
	}
	begin := time.Now()
	eventually(t, "the idle time-out in spite of calls in the background", func() bool {
		// The login page asks who is signed in, for "not you?": that is none.
		b.get("/login").want(200)
		p := b.do("GET", "/sessions/current", header("Curfew-Background", "1"))
		if p.status == 401 && p.str("reason") != "idle" {
			t.Errorf("reason: %s", p.body)
		}
		return p.status == 401
	})
	if took := time.Since(begin); took < time.Second {
		t.Errorf("idle after %v", took)
	}
	f.cookieIsDead(t, "the idle session", value)
	b.get("/account").to(fmt.Sprintf("/login?reason=idle&return=%s", url.QueryEscape("/account")))
}

// Two tabs: a sign-in in one of them replaces the session, and the other one,
// which has sent the old cookie just before, gets its answer last. Deleting the
// dead cookie there would delete the new one, which has the same name.
func TestALateAnswerDoesNotDeleteTheNewCookie(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	old := b.alice()
	next := b.alice()
	late := f.call(t, "GET", "/account", session(old)).to("/login?reason=replaced&return=%2Faccount")
	if late.header.Get("Set-Cookie") != "" || late.header.Get("Clear-Site-Data") != "" {
		t.Errorf("the late answer has %q", late.header)
	}
	f.cookieIsDead(t, "replaced", old)
	f.cookieIsLive(t, "new", next)
	// Any other end takes the cookie away at once.
	f.call(t, "POST", "/admin/users/alice/logout", bearer(f.operator)).want(200)
	if p := b.get("/account"); !strings.Contains(p.header.Get("Set-Cookie"), "Max-Age=0") || b.cookie(sessionName) != "" {
		t.Errorf("a dead cookie stays: %q", p.header)
	}
}
