package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
)

// trySite signs in as the server of a site does.
func (f *fixture) trySite(t *testing.T, body M) reply {
	t.Helper()
	for _, name := range []string{"password", "new_password"} {
		if pw, ok := body[name].(string); ok {
			f.isSecret(pw)
		}
	}
	return f.call(t, "POST", "/sessions", bearer(f.verifier), sendJSON(body))
}

func TestSiteSignsSomebodyIn(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{IdleTimeout: 30 * time.Minute}})
	const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	p := f.trySite(t, M{"email": "alice@example.com", "password": alicePassword, "ip": "2001:db8::7", "user_agent": firefox, "client_id": "shop"}).want(201)
	if p.num("idle_timeout") != 1800 || p.num("expires_in") < 2591990 || p.num("expires_in") > 2592000 || p.str("user.id") != f.alice.ID || p.get("access_token") != nil || p.get("refresh_token") != nil {
		t.Errorf("answer: %s", p.body)
	}
	if p.header.Get("Set-Cookie") != "" {
		t.Errorf("the cookie is the site's to set: %v", p.header)
	}
	// The person is recorded, not the site.
	s, err := f.SessionByID(t.Context(), p.str("session_id"))
	if err != nil || s.IP != "2001:db8::7" || s.UserAgent != firefox || s.Device != "Firefox on Linux" || s.ClientID != "shop" {
		t.Errorf("session: %+v (%v)", s, err)
	}
	rows := f.audited(t, audit.LoginSucceeded)
	if e := rows[len(rows)-1]; e.IP != "2001:db8::7" || e.UserAgent != firefox || e.Subject != f.alice.ID {
		t.Errorf("audit: %+v", e)
	}
	f.cookieIsLiveAtTheAPI(t, "the session", p.str("session_cookie"))
	// By user name and as a form, with nothing about the person.
	p = f.call(t, "POST", "/sessions", bearer(f.operator), header("User-Agent", "shop/1.0"), sendForm("username", "alice", "password", alicePassword, "remember", "true")).want(201)
	if s, err := f.SessionByID(t.Context(), p.str("session_id")); err != nil || s.IP != "127.0.0.1" || s.UserAgent != "shop/1.0" {
		t.Errorf("session: %+v (%v)", s, err)
	}
	if !authority.IsPersistentCookie(p.str("session_cookie")) {
		t.Error("the cookie is not one to be kept")
	}
}

// cookieIsLiveAtTheAPI is cookieIsLive where there are no pages.
func (f *fixture) cookieIsLiveAtTheAPI(t *testing.T, who, value string) {
	t.Helper()
	if p := f.call(t, "GET", "/user", session(value)); p.status != 200 {
		t.Errorf("%s: %d %s", who, p.status, p.body)
	}
	if p := f.introspect(t, value); p.get("active") != true {
		t.Errorf("%s: introspection: %s", who, p.body)
	}
}

// The address counts because of the key, so without one nobody may choose it:
// every guess would come with a fresh limit.
func TestSignInOfASiteNeedsAKey(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	k, admin := f.loginAlice(t), f.login(t, "admin@example.com", adminPassword)
	before := f.heads(t)
	body := sendJSON(M{"email": "alice@example.com", "password": alicePassword, "ip": "192.0.2.1"})
	f.call(t, "POST", "/sessions", body).wantError(401, "no_credential")
	f.call(t, "POST", "/sessions", body, session(f.verifier)).wantError(401, "no_credential")
	for name, credential := range map[string]string{
		"token": k.access, "token of an admin": admin.access, "refresh token": k.refresh, "unknown key": "crv_" + strings.Repeat("A", 52), "cut key": f.verifier[:len(f.verifier)-1],
	} {
		p := f.call(t, "POST", "/sessions", body, bearer(credential)).wantError(401, "invalid_token")
		// Right or wrong, the answer is the same.
		wrong := f.call(t, "POST", "/sessions", sendJSON(M{"email": "alice@example.com", "password": "wrong"}), bearer(credential))
		if string(wrong.body) != string(p.body) {
			t.Errorf("%s: right %s, wrong %s", name, p.body, wrong.body)
		}
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	open := start(t, options{open: true})
	open.call(t, "POST", "/sessions", sendJSON(M{"email": "alice@example.com", "password": alicePassword})).want(201)
}

// Failed logins count at the address of the person and not at that of the site,
// which would be locked out as a whole.
func TestSiteGivesTheAddressThatIsCounted(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict})
	try := func(name, pw, ip string) reply {
		return f.trySite(t, M{"email": name, "password": pw, "ip": ip})
	}
	for range 3 {
		try("alice@example.com", "wrong", "192.0.2.1").wantError(400, "invalid_credentials")
	}
	p := try("alice@example.com", alicePassword, "192.0.2.1").wantError(429, "too_many_requests")
	if p.header.Get("Retry-After") == "" || p.header.Get("RateLimit-Limit") != "3" {
		t.Errorf("headers: %v", p.header)
	}
	try("alice@example.com", alicePassword, "::ffff:192.0.2.1").want(429)
	f.trySite(t, M{"username": "alice", "password": alicePassword, "ip": "192.0.2.1"}).want(429)
	try("alice@example.com", alicePassword, "192.0.2.2").want(201)
	try("bob@example.com", bobPassword, "192.0.2.1").want(201)
	// Many accounts from one address, and the /64 of an IPv6 address.
	for i := range 8 {
		try(fmt.Sprintf("user%d@example.com", i), "wrong", fmt.Sprintf("2001:db8:1:2::%x", i+1)).want(400)
	}
	try("bob@example.com", bobPassword, "2001:db8:1:2:ffff::").want(429)
	try("bob@example.com", bobPassword, "2001:db8:1:3::1").want(201)
	for _, bad := range []string{"localhost", "192.0.2.1:80", "192.0.2", "192.0.2.1, 10.0.0.1", " 192.0.2.1", "999.1.1.1", "x"} {
		try("bob@example.com", bobPassword, bad).wantError(400, "invalid_request")
	}
	// A zone is free text, with which one machine could pass for many.
	p = try("bob@example.com", bobPassword, "fe80::1%a\r\nb").want(201)
	if s, err := f.SessionByID(t.Context(), p.str("session_id")); err != nil || s.IP != "fe80::1" {
		t.Errorf("address %q (%v)", s.IP, err)
	}
}

// The session of the cookie that the browser had ends with the sign-in, of
// whomever it was; one that is nobody's does no harm.
func TestSignInReplacesTheCookieOfBefore(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	first, bobs, other := f.aliceCookie(t), f.bobCookie(t), f.aliceCookie(t)
	again := func(old string) cookieSession {
		p := f.trySite(t, M{"email": "alice@example.com", "password": alicePassword, "replaces": old}).want(201)
		return cookieSession{p.str("session_cookie"), p.str("session_id")}
	}
	second := again(first.value)
	f.cookieIsDead(t, "the one before", first.value)
	if s, err := f.SessionByID(t.Context(), first.session); err != nil || s.EndReason != curfew.ReasonReplaced {
		t.Errorf("ended for %q (%v)", s.EndReason, err)
	}
	third := again(bobs.value)
	f.cookieIsDead(t, "of bob, who sat here before", bobs.value)
	k := f.loginBob(t)
	for _, nobodys := range []string{first.value, "garbage", "cs_" + strings.Repeat("A", 66), k.access, k.refresh, k.logout} {
		again(nobodys)
	}
	f.isLive(t, "bob, whose tokens are no cookie", &k)
	for who, c := range map[string]cookieSession{"second": second, "third": third, "other": other} {
		f.cookieIsLive(t, who, c.value)
	}
	f.trySite(t, M{"email": "alice@example.com", "password": "wrong", "replaces": other.value}).want(400)
	f.cookieIsLive(t, "after a sign-in that failed", other.value)
}

func TestErrorsOfASitesSignIn(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{MaxSessions: 2, Clients: []string{"shop"}}})
	alice := func(more M) M {
		m := M{"email": "alice@example.com", "password": alicePassword}
		for name, v := range more {
			m[name] = v
		}
		return m
	}
	before := f.heads(t)[0]
	f.trySite(t, M{"email": "alice@example.com", "password": "wrong"}).wantError(400, "invalid_credentials")
	f.trySite(t, M{"email": "nobody@example.com", "password": "wrong"}).wantError(400, "invalid_credentials")
	f.trySite(t, M{"email": "alice@example.com"}).wantError(400, "invalid_request")
	f.trySite(t, M{"password": alicePassword}).wantError(400, "invalid_request")
	f.trySite(t, alice(M{"username": "alice"})).wantError(400, "invalid_request")
	f.trySite(t, alice(M{"remember": "maybe"})).wantError(400, "invalid_request")
	f.trySite(t, alice(M{"client_id": "evil"})).wantError(400, "unknown_client")
	if after := f.heads(t)[0]; after != before {
		t.Errorf("the log moved from %d to %d", before, after)
	}
	f.call(t, "POST", "/admin/users/alice/logout", bearer(f.operator), sendJSON(M{"reason": "compromised"})).want(200)
	f.trySite(t, alice(nil)).wantError(400, "password_change_required")
	f.trySite(t, alice(M{"new_password": "short"})).wantError(422, "weak_password")
	f.trySite(t, alice(M{"new_password": alicePassword})).wantError(422, "same_password")
	f.trySite(t, alice(M{"new_password": "a brand new password"})).want(201)
	f.trySite(t, alice(M{"password": "a brand new password"})).want(201)
	p := f.trySite(t, alice(M{"password": "a brand new password"})).wantError(403, "too_many_sessions")
	if p.get("error") != nil {
		t.Errorf("members of RFC 6749 on a call that is none of it: %s", p.body)
	}
}

// Where there is room for one session more, a sign-in that replaces one needs
// none.
func TestReplacingMakesRoom(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{MaxSessions: 1}})
	c := f.aliceCookie(t)
	f.trySite(t, M{"email": "alice@example.com", "password": alicePassword}).wantError(403, "too_many_sessions")
	p := f.trySite(t, M{"email": "alice@example.com", "password": alicePassword, "replaces": c.value}).want(201)
	f.cookieIsLiveAtTheAPI(t, "the new one", p.str("session_cookie"))
}

// A site logs its visitor out with the value of the cookie.
func TestSiteSignsItsVisitorOut(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c, other := f.aliceCookie(t), f.aliceCookie(t)
	p := f.call(t, "POST", "/logout", sendJSON(M{"session_cookie": c.value})).want(200)
	if p.num("sessions_ended") != 1 || p.header["Set-Cookie"] != nil || p.header.Get("Clear-Site-Data") != "" {
		t.Errorf("answer: %v %s", p.header, p.body)
	}
	f.cookieIsDead(t, "the visitor", c.value)
	f.cookieIsLive(t, "the other browser", other.value)
	for _, bad := range []string{"garbage", "cs_" + strings.Repeat("A", 66), f.verifier} {
		f.call(t, "POST", "/logout", sendJSON(M{"session_cookie": bad})).wantError(401, "invalid_token")
	}
}

// The audit trail names the address of the visitor and not of the site, if the
// site has a key. Anybody else could write what they like there.
func TestAuditNamesTheVisitorOfASite(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	for _, c := range []struct{ key, ip, agent string }{
		{f.verifier, "203.0.113.9", "Visitor/1.0"},
		{f.operator, "203.0.113.9", "Visitor/1.0"},
		{"", "127.0.0.1", "site"},
		{"cv_wrong", "127.0.0.1", "site"},
		{f.verifier + "x", "127.0.0.1", "site"},
	} {
		session := f.aliceCookie(t)
		f.call(t, "POST", "/logout", header("Curfew-Verifier-Key", c.key), header("User-Agent", "site"), sendJSON(M{
			"session_cookie": session.value, "ip": "203.0.113.9", "user_agent": "Visitor/1.0",
		})).want(200)
		rows := f.audited(t, audit.SessionLogout)
		if e := rows[len(rows)-1]; e.Session != session.session || e.IP != c.ip || e.UserAgent != c.agent {
			t.Errorf("with the key %q: %+v", c.key, e)
		}
	}
	value := f.aliceCookie(t).value
	f.call(t, "POST", "/logout", header("Curfew-Verifier-Key", f.verifier), sendJSON(M{"session_cookie": value, "ip": "nonsense"})).wantError(400, "invalid_request")
	// A key is no credential of anybody who could be logged out.
	f.call(t, "POST", "/logout", header("Curfew-Verifier-Key", f.verifier)).wantError(401, "no_credential")
	f.cookieIsLive(t, "alice", value)
}
