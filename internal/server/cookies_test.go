package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/curfewhq/curfew/internal/store"
)

const (
	attributes = "; Path=/; HttpOnly; Secure; SameSite=Lax"
	deleted    = sessionName + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
)

// A deletion with other attributes than the cookie was set with is ignored, for
// the prefix __Host- without a word.
func TestCookieIsSetAndDeletedWithTheSameAttributes(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	if got, want := b.get("/login").want(200).setCookie(sessionName+"-probe"), sessionName+"-probe=1"+attributes; got != want {
		t.Errorf("probe: %s, want %s", got, want)
	}
	p := b.post("/login", "login", "alice@example.com", "password", alicePassword).to("/account")
	value := b.cookie(sessionName)
	if got, want := p.setCookie(sessionName), sessionName+"="+value+attributes; got != want {
		t.Errorf("cookie: %s, want %s", got, want)
	}
	if p := b.post("/signout").to("/login"); p.setCookie(sessionName) != deleted {
		t.Errorf("deletion: %s, want %s", p.setCookie(sessionName), deleted)
	}
	if got := b.cookie(sessionName); got != "" {
		t.Errorf("the browser still has %q", got)
	}
	f.cookieIsDead(t, "after the sign-out", value)
}

// Every answer that ends the session of a cookie takes the cookie away, and
// what the pages have stored.
func TestEveryEndingDeletesTheCookie(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	pw := alicePassword
	for _, c := range []struct {
		name string
		call func(b *browser, id string) reply
	}{
		{"signout", func(b *browser, _ string) reply { return b.post("/signout").to("/login") }},
		{"signout everywhere", func(b *browser, _ string) reply { return b.post("/signout", "scope", "global").to("/login") }},
		{"logout", func(b *browser, _ string) reply { return b.do("POST", "/logout", sameOrigin(f)).want(200) }},
		{"logout all", func(b *browser, _ string) reply { return b.do("POST", "/logout/all", sameOrigin(f)).want(200) }},
		{"this device, by the API", func(b *browser, id string) reply { return b.do("DELETE", "/sessions/"+id, sameOrigin(f)).want(200) }},
		{"this device, on the page", func(b *browser, id string) reply { return b.post("/account/sessions", "end", id).to("/login") }},
		{"all devices, on the page", func(b *browser, _ string) reply { return b.post("/account/sessions", "scope", "global").to("/login") }},
		{"new password, by the API", func(b *browser, _ string) reply {
			was := pw
			pw = "the first new password"
			return b.do("PUT", "/user", sameOrigin(f), sendJSON(M{"password": pw, "current_password": was})).want(200)
		}},
		{"new password, on the page", func(b *browser, _ string) reply {
			was := pw
			pw = "the second new password"
			return b.post("/account/password", "current_password", was, "new_password", pw).to("/login")
		}},
		{"ended elsewhere", func(b *browser, id string) reply {
			f.call(t, "DELETE", "/admin/sessions/"+id, bearer(f.operator)).want(200)
			return b.get("/account").to("/login?reason=admin&return=%2Faccount")
		}},
	} {
		b := f.browser(t)
		value := b.signIn("alice@example.com", pw)
		id := b.get("/user").want(200).str("session_id")
		p := c.call(b, id)
		if p.setCookie(sessionName) != deleted || p.header.Get("Clear-Site-Data") != `"storage"` || b.cookie(sessionName) != "" {
			t.Errorf("%s: %v", c.name, p.header)
		}
		f.cookieIsDead(t, c.name, value)
	}
	// Logging the others out takes nothing away here, and nor does a call
	// without a cookie.
	b := f.browser(t)
	b.signIn("alice@example.com", pw)
	k := f.loginBob(t)
	for name, p := range map[string]reply{
		"others": b.do("POST", "/logout?scope=others", sameOrigin(f)).want(200), "others, on the page": b.post("/account/sessions", "scope", "others").to("/account"),
		"bearer": f.call(t, "POST", "/logout", bearer(k.access)).want(200),
	} {
		if p.setCookie(sessionName) != "" || p.header.Get("Clear-Site-Data") != "" {
			t.Errorf("%s: %v", name, p.header)
		}
	}
}

// Whatever becomes of it on the server, the next person at this computer must
// not find it.
func TestCookieIsDeletedThoughTheLogoutFailed(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c := f.aliceCookie(t)
	for name, value := range map[string]string{"garbage": "garbage", "forged": "cs_" + strings.Repeat("A", 66)} {
		if p := f.call(t, "POST", "/logout", session(value)).wantError(401, "invalid_token"); p.setCookie(sessionName) != deleted {
			t.Errorf("%s: %v", name, p.header)
		}
	}
	f.call(t, "POST", "/logout", session(c.value)).want(200)
	for range 30 { // beyond the limit of useless logouts
		if p := f.call(t, "POST", "/logout", session(c.value)); p.setCookie(sessionName) != deleted {
			t.Errorf("%d: %v", p.status, p.header)
		}
		f.call(t, "POST", "/signout", session(c.value)).to("/login")
	}
	live := f.aliceCookie(t)
	f.closed = true
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	if p := f.call(t, "POST", "/logout", session(live.value)).wantError(503, "store_unavailable"); p.setCookie(sessionName) != deleted {
		t.Errorf("store down: %v", p.header)
	}
}

func TestRememberMe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		offered bool
		chosen  string
		maxAge  bool
	}{{false, "", false}, {false, "on", false}, {true, "", false}, {true, "on", true}} {
		t.Run(fmt.Sprintf("offered %v, chosen %q", c.offered, c.chosen), func(t *testing.T) {
			t.Parallel()
			f := start(t, options{tls: true, pages: true, cookies: server.Cookies{Remember: c.offered}})
			b := f.browser(t)
			if got := strings.Contains(string(b.get("/login").want(200).body), `name="remember"`); got != c.offered {
				t.Errorf("the page offers it: %v", got)
			}
			check := func(what string, p reply) {
				t.Helper()
				set, err := http.ParseSetCookie(p.setCookie(sessionName))
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				const month = 30 * 24 * 60 * 60
				if c.maxAge && (set.MaxAge > month || set.MaxAge < month-60) || !c.maxAge && set.MaxAge != 0 || !set.Expires.IsZero() {
					t.Errorf("%s: %s", what, p.setCookie(sessionName))
				}
			}
			check("login", b.trySignIn("alice@example.com", alicePassword, "remember", c.chosen).want(303))
			// The cookie that a session gets when the password changes is of the
			// same kind.
			check("rotation by the page", b.post("/account/password", "current_password", alicePassword, "new_password", "a brand new password", "keep", "on").to("/account"))
			check("rotation by the API", b.do("PUT", "/user", sameOrigin(f), sendJSON(M{"password": "another new password", "current_password": "a brand new password", "keep_current": true})).want(200))
		})
	}
}

// Whether a browser may keep a cookie is decided at the login. What the browser
// says of it later does not make a longer one of it.
func TestPersistenceOfACookieCannotBeForged(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c := f.aliceCookie(t)
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(c.value, "cs_"))
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 2
	f.cookieIsDead(t, "of another kind", "cs_"+base64.RawURLEncoding.EncodeToString(b))
	f.cookieIsLive(t, "as it was given", c.value)
}

func TestOtherSpellingsOfACookieAreNone(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c := f.aliceCookie(t)
	// Browsers take the prefix in any case, so a name in another case is
	// somebody else's cookie.
	for _, name := range []string{"__host-curfew", "__HOST-CURFEW", "__Host-Curfew", "curfew", "curfew-dev", " __Host-curfewx", "__Secure-curfew", "x__Host-curfew"} {
		f.call(t, "GET", "/user", withCookie(name, c.value)).wantError(401, "no_credential")
	}
	for _, value := range []string{
		c.value + "=", c.value + "A", c.value[:len(c.value)-1], strings.ToLower(c.value), c.value[3:], "CS_" + c.value[3:], strings.Replace(c.value, "cs_", "cr_", 1),
		c.value[:20] + "%41" + c.value[21:], "cs_", "cs_" + strings.Repeat("A", 10_000), strings.Repeat("A", 66),
	} {
		f.call(t, "GET", "/user", session(value)).wantError(401, "invalid_token")
	}
	// Only as a cookie does it say who somebody is.
	for name, o := range map[string]opt{"bearer": bearer(c.value), "query": header("X-Session", c.value)} {
		if p := f.call(t, "GET", "/user?session_cookie="+c.value, o); p.status != 401 {
			t.Errorf("as %s: %d", name, p.status)
		}
	}
	f.cookieIsLive(t, "the cookie", c.value)
}

// Another host of the domain can put a cookie of its own in front of ours
// (cookie tossing). Which of them is ours nobody can tell.
func TestSeveralCookiesAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	alice, mallory := f.aliceCookie(t), f.bobCookie(t)
	before := f.heads(t)
	for name, both := range map[string][]opt{
		"tossed first":   {session(mallory.value), session(alice.value)},
		"tossed last":    {session(alice.value), session(mallory.value)},
		"garbage":        {session("x"), session(alice.value)},
		"the same twice": {session(alice.value), session(alice.value)},
		"in one header":  {header("Cookie", sessionName+"="+alice.value+"; a=b; "+sessionName+"="+mallory.value)},
	} {
		for _, path := range []string{"/user", "/sessions", "/sessions/current", "/sessions/events"} {
			f.call(t, "GET", path, both...).wantError(401, "invalid_token")
		}
		f.call(t, "PUT", "/user", append(both, sendJSON(M{"name": "x"}))...).wantError(401, "invalid_token")
		f.call(t, "DELETE", "/sessions/"+alice.session, both...).wantError(401, "invalid_token")
		for _, path := range []string{"/account", "/signout"} {
			f.call(t, "GET", path, both...).want(401)
		}
		p := f.call(t, "POST", "/login", append(both, withCookie(sessionName+"-probe", "1"), sendForm("login", "bob", "password", bobPassword))...).want(401)
		if p.setCookie(sessionName) != "" {
			t.Errorf("%s: a login has begun a session", name)
		}
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	// An empty one is none.
	f.call(t, "GET", "/user", session(""), session(alice.value)).want(200)
	f.cookieIsLive(t, "alice", alice.value)
}

// What a browser had before a login never becomes the session: neither a value
// that somebody has made up nor that of a session of his own (session
// fixation). And the session that it replaces ends, since nobody could present
// its cookie again.
func TestPlantedCookieNeverBecomesTheSession(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	mallory := f.bobCookie(t)
	made := "cs_" + strings.Repeat("B", 66)
	for name, planted := range map[string]string{"made up": made, "of the attacker": mallory.value, "garbage": "session-1"} {
		b := f.browser(t)
		b.plant(sessionName, planted)
		value := b.alice()
		if value == planted || strings.Contains(value, planted) {
			t.Errorf("%s: the planted cookie has become the session", name)
		}
		f.cookieIsDead(t, name, planted)
		f.cookieIsLive(t, name+": the victim", value)
	}
	if s, err := f.SessionByID(t.Context(), mallory.session); err != nil || s.EndReason != curfew.ReasonReplaced {
		t.Errorf("the attacker's session ended for %q (%v)", s.EndReason, err)
	}
}

func TestEveryLoginHasAValueAndAnIdOfItsOwn(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	seen := map[string]bool{}
	last := ""
	for i := range 5 {
		value := b.alice()
		id := b.get("/user").want(200).str("session_id")
		if seen[value] || seen[id] {
			t.Errorf("login %d: a value or an id came twice", i)
		}
		seen[value], seen[id] = true, true
		// Nothing of the secret part is the same: the id stands in front of it.
		if last != "" {
			if strings.Contains(value, last[len(last)-20:]) {
				t.Errorf("login %d: %s is like %s", i, value, last)
			}
			f.cookieIsDead(t, "the one before", last)
		}
		last = value
	}
	if rows := b.get("/sessions").want(200).list("sessions"); len(rows) != 1 {
		t.Errorf("%d sessions after five logins in one browser, want 1", len(rows))
	}
	// A login that fails replaces nothing.
	b.trySignIn("alice@example.com", "wrong").want(422)
	f.cookieIsLive(t, "after a login that failed", last)
}

// A copy of the cookie that somebody has made is dead with the session, at once.
func TestReplayedCookieIsDead(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	pw := alicePassword
	for _, c := range []struct {
		name string
		end  func(b *browser, id string)
	}{
		{"sign-out", func(b *browser, _ string) { b.post("/signout").want(303) }},
		{"logout from another device everywhere", func(*browser, string) {
			f.call(t, "POST", "/logout/all", bearer(f.login(t, "alice", pw).access)).want(200)
		}},
		{"logout from another device of the others", func(*browser, string) {
			f.call(t, "POST", "/logout?scope=others", bearer(f.login(t, "alice", pw).access)).want(200)
		}},
		{"end from another device", func(_ *browser, id string) {
			f.call(t, "DELETE", "/sessions/"+id, bearer(f.login(t, "alice", pw).access)).want(200)
		}},
		{"password change elsewhere", func(*browser, string) {
			was := pw
			pw = "the password from elsewhere"
			f.call(t, "PUT", "/user", bearer(f.login(t, "alice", was).access), sendJSON(M{"password": pw, "current_password": was})).want(200)
		}},
		{"password change here that keeps the session", func(b *browser, _ string) {
			was := pw
			pw = "the password from here"
			b.do("PUT", "/user", sameOrigin(f), sendJSON(M{"password": pw, "current_password": was, "keep_current": true})).want(200)
			f.cookieIsLive(t, "the new cookie", b.cookie(sessionName))
		}},
		{"password change on the page that keeps the session", func(b *browser, _ string) {
			was := pw
			pw = "the password from the page"
			b.post("/account/password", "current_password", was, "new_password", pw, "keep", "on").to("/account")
			f.cookieIsLive(t, "the new cookie", b.cookie(sessionName))
		}},
		{"operator", func(_ *browser, id string) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"session": id})).want(200)
		}},
		{"everybody", func(*browser, string) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"everybody": true})).want(200)
		}},
		{"disabled", func(*browser, string) {
			f.call(t, "POST", "/admin/users/alice/disable", bearer(f.operator)).want(200)
			f.call(t, "POST", "/admin/users/alice/enable", bearer(f.operator)).want(200)
		}},
	} {
		b := f.browser(t)
		copied := b.signIn("alice@example.com", pw)
		f.cookieIsLive(t, c.name, copied)
		c.end(b, b.get("/user").want(200).str("session_id"))
		f.cookieIsDead(t, c.name, copied)
	}
}

// Whoever reads the database finds no cookie in it.
func TestCookieIsHashedAtRest(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c := f.aliceCookie(t)
	secret, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(c.value, "cs_"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(secret)
	files, err := filepath.Glob(f.database + "*")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for what, text := range map[string][]byte{
		"value": []byte(c.value), "encoded secret": []byte(c.value[40:]), "secret": secret[17:], "secret in hexadecimal": []byte(hex.EncodeToString(secret[17:])),
	} {
		if bytes.Contains(all, text) {
			t.Errorf("the database has the %s", what)
		}
	}
	if !bytes.Contains(all, []byte(hex.EncodeToString(sum[:]))) {
		t.Error("the database does not have the hash: the test looks in the wrong place")
	}
	rows, err := f.Sessions(t.Context(), store.SessionFilter{Subject: f.alice.ID, Live: true})
	if err != nil || len(rows) != 1 || rows[0].CookieHash != hex.EncodeToString(sum[:]) {
		t.Errorf("rows: %+v (%v)", rows, err)
	}
}

func TestClearSiteData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		clears []string
		want   string
	}{
		{"default", nil, `"storage"`},
		{"configured", []string{"cache", "storage"}, `"cache", "storage"`},
		{"cookies", []string{"cookies"}, `"cookies"`},
		{"empty", []string{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, options{tls: true, pages: true, cookies: server.Cookies{ClearSiteData: c.clears}})
			for _, path := range []string{"/logout", "/signout"} {
				value := f.aliceCookie(t).value
				p := f.call(t, "POST", path, session(value), sameOrigin(f))
				if got := p.header["Clear-Site-Data"]; strings.Join(got, "|") != c.want {
					t.Errorf("%s: %q, want %s", path, got, c.want)
				}
				// The end of the session does not depend on a header that a proxy
				// may strip.
				f.cookieIsDead(t, path, value)
			}
			// Signing in clears nothing.
			b := f.browser(t)
			if p := b.trySignIn("alice@example.com", alicePassword).want(303); p.header.Get("Clear-Site-Data") != "" {
				t.Errorf("login: %v", p.header)
			}
		})
	}
}

func TestCookieOfAnotherName(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, pages: true, cookies: server.Cookies{Name: "__Host-Http-sid"}})
	b := f.browser(t)
	b.name = "__Host-Http-sid"
	value := b.alice()
	b.get("/account").want(200)
	f.call(t, "GET", "/user", session(value)).wantError(401, "no_credential")
	if p := b.post("/signout").to("/login"); p.setCookie(b.name) != strings.Replace(deleted, sessionName, b.name, 1) {
		t.Errorf("deletion: %v", p.header["Set-Cookie"])
	}
	if b.cookie(b.name) != "" {
		t.Error("the browser still has the cookie")
	}
}

// A cookie may do what an access token may.
func TestCookieStandsInForAnAccessToken(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	b := f.browser(t)
	value := b.alice()
	me := b.get("/user").want(200)
	if me.str("email") != "alice@example.com" || me.str("client_id") != "default" {
		t.Errorf("GET /user: %s", me.body)
	}
	rows := b.get("/sessions").want(200).list("sessions")
	if len(rows) != 1 || rows[0]["current"] != true || rows[0]["id"] != me.str("session_id") {
		t.Errorf("GET /sessions: %v", rows)
	}
	if p := b.do("PUT", "/user", sameOrigin(f), sendJSON(M{"name": "Alice L."})).want(200); p.str("name") != "Alice L." {
		t.Errorf("PUT /user: %s", p.body)
	}
	b.do("PUT", "/user", sameOrigin(f), sendJSON(M{"password": "a brand new password"})).wantError(401, "reauthentication_required")
	b.do("POST", "/reauthenticate", sameOrigin(f), sendJSON(M{"password": "wrong"})).wantError(400, "invalid_credentials")
	p := b.do("POST", "/reauthenticate", sameOrigin(f), sendJSON(M{"password": alicePassword})).want(200)
	if p.str("session_id") != me.str("session_id") || p.get("access_token") != nil || p.setCookie(sessionName) != "" || b.cookie(sessionName) != value {
		t.Errorf("POST /reauthenticate: %v %s", p.header, p.body)
	}
	p = b.do("PUT", "/user", sameOrigin(f), sendJSON(M{"password": "a brand new password", "keep_current": true})).want(200)
	if p.get("tokens") != nil || p.str("user.id") != f.alice.ID || b.cookie(sessionName) == value {
		t.Errorf("PUT /user: %s", p.body)
	}
	// It is no operator's credential, whoever's it is.
	admin := f.beginCookie(t, "admin@example.com", adminPassword)
	f.call(t, "GET", "/admin/status", session(admin.value)).wantError(401, "no_credential")
	f.call(t, "POST", "/introspect", session(admin.value), sendForm("token", value)).want(401)
	// Where both are sent the token counts.
	k := f.loginBob(t)
	if p := b.do("GET", "/user", bearer(k.access)).want(200); p.str("id") != f.bob.ID {
		t.Errorf("cookie of alice and token of bob: %s", p.body)
	}
	b.do("GET", "/user", bearer("garbage")).wantError(401, "invalid_token")
}

// What introspection says of a cookie is what an access token says of itself.
func TestIntrospectionOfACookie(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{Audience: "orders"}})
	c := f.beginCookie(t, "admin@example.com", adminPassword)
	p := f.introspect(t, c.value)
	if p.str("token_type") != "session" || p.str("sid") != c.session || p.str("sub") != f.admin.ID || p.str("email") != "admin@example.com" || p.get("jti") != nil ||
		p.str("client_id") != "default" || fmt.Sprint(p.get("roles")) != "[admin]" || fmt.Sprint(p.get("aud")) != "[orders]" || p.num("exp")-p.num("iat") > 600 {
		t.Errorf("introspection: %s", p.body)
	}
	f.call(t, "DELETE", "/admin/sessions/"+c.session, bearer(f.operator)).want(200)
	if got := strings.TrimSpace(string(f.introspect(t, c.value).body)); got != `{"active":false}` {
		t.Errorf("introspection after the end: %s", got)
	}
}
