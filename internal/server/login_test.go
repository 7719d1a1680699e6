package server_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/google/go-cmp/cmp"
)

func TestLoginByAddressOrUserNameInAnySpelling(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, name := range []string{"alice@example.com", "ALICE@EXAMPLE.COM", " Alice@example.com ", "alice", "Alice", "ａｌｉｃｅ"} {
		p := f.tryLogin(t, name, alicePassword).want(200)
		if p.str("user.id") != f.alice.ID || p.str("token_type") != "Bearer" {
			t.Errorf("%q: %s", name, p.body)
		}
		in := p.num("expires_in")
		if left := time.Until(time.Unix(int64(p.num("expires_at")), 0)); in < 598 || in > 600 || left < 598*time.Second || left > 600*time.Second {
			t.Errorf("%q: expires_in %d, expires_at in %v, want 10 minutes", name, in, left)
		}
	}
	// The same as a form, and with the grant type in the query.
	f.call(t, "POST", "/token", sendForm("grant_type", "password", "username", "alice", "password", alicePassword)).want(200)
	f.call(t, "POST", "/token?grant_type=password", sendJSON(M{"email": "alice@example.com", "password": alicePassword})).want(200)
}

// Nobody learns from an answer who has an account here.
func TestFailedLoginsAreIndistinguishable(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	f.call(t, "POST", "/admin/users/bob/disable", bearer(f.operator)).want(200)
	f.createUser(t, authority.NewUser{Email: "gone@example.com", Username: "gone", Password: alicePassword})
	f.call(t, "DELETE", "/admin/users/gone", bearer(f.operator)).want(200)
	want := visible(f.tryLogin(t, "alice@example.com", "wrong password").wantError(400, "invalid_credentials"))
	for _, c := range []struct{ what, name, pw string }{
		{"wrong password by user name", "alice", "wrong password"},
		{"unknown address", "nobody@example.com", alicePassword},
		{"unknown user name", "nobody", alicePassword},
		{"disabled, right password", "bob@example.com", bobPassword},
		{"disabled, wrong password", "bob", "wrong password"},
		{"deleted", "gone@example.com", alicePassword},
		{"password of another user", "alice", bobPassword},
		{"password with a tail", "alice", alicePassword + "x"},
		{"NUL behind the password", "alice", alicePassword + "\x00"},
		{"NUL behind the name", "alice\x00", alicePassword},
		{"longer than any password", "alice", string(make([]byte, 1025))},
		{"longer than any name", fmt.Sprintf("%01000d", 0), alicePassword},
		{"password of one character", "alice", "x"},
		{"wildcard", "%", alicePassword},
		{"quote", "alice' OR '1'='1", alicePassword},
	} {
		if diff := cmp.Diff(want, visible(f.tryLogin(t, c.name, c.pw))); diff != "" {
			t.Errorf("%s (-wrong password +this):\n%s", c.what, diff)
		}
	}
	for _, e := range f.audited(t, audit.LoginFailed) {
		if e.Actor != string(authority.Anonymous) {
			t.Errorf("a failed login is by %s", e.Actor)
		}
	}
}

// from pretends to be behind the trusted proxy of the test.
func from(ip string) opt { return header("X-Forwarded-For", ip) }

var (
	strict  = authority.Config{LoginFailuresAccount: 3, LoginFailuresAddress: 8}
	proxied = []string{"127.0.0.1"}
)

func TestLoginLimitCountsFailuresOnly(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict})
	for range 20 {
		f.tryLogin(t, "alice", alicePassword).want(200)
	}
	for range 5 { // a success forgives the failures before it
		f.tryLogin(t, "alice", "wrong").wantError(400, "invalid_credentials")
		f.tryLogin(t, "alice", alicePassword).want(200)
	}
}

func TestGuessingPasswordsOfAnAccountIsLimited(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict, trusted: proxied})
	for range 3 {
		f.tryLogin(t, "alice", "wrong", from("192.0.2.1")).want(400)
	}
	// Not even the right password gets in now, by either name of the account:
	// counted apart they would be twice the guesses (CVE-2025-24806).
	for _, name := range []string{"alice", "alice@example.com", "ALICE@example.com"} {
		p := f.tryLogin(t, name, alicePassword, from("192.0.2.1")).wantError(429, "too_many_requests")
		reset, _ := strconv.Atoi(p.header.Get("RateLimit-Reset"))
		if p.header.Get("RateLimit-Limit") != "3" || p.header.Get("RateLimit-Remaining") != "0" || reset < 890 || reset > 900 ||
			p.header.Get("Retry-After") != p.header.Get("RateLimit-Reset") || p.str("error") != "temporarily_unavailable" {
			t.Errorf("%v %s", p.header, p.body)
		}
	}
	// Others, and the same person elsewhere, are not kept out by that.
	f.tryLogin(t, "bob", bobPassword, from("192.0.2.1")).want(200)
	f.tryLogin(t, "alice", alicePassword, from("198.51.100.7")).want(200)
	// An account that does not exist is limited in the same way.
	for range 3 {
		f.tryLogin(t, "nobody", "wrong", from("192.0.2.2")).want(400)
	}
	f.tryLogin(t, "nobody", "wrong", from("192.0.2.2")).want(429)
}

func TestGuessingManyAccountsFromOneAddressIsLimited(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict, trusted: proxied})
	for i := range 8 {
		f.tryLogin(t, fmt.Sprintf("user%d", i), "password1", from("192.0.2.1")).want(400)
	}
	f.tryLogin(t, "bob", bobPassword, from("192.0.2.1")).want(429)
	f.tryLogin(t, "bob", bobPassword, from("192.0.2.3")).want(200)
}

// A limit of the account alone would be a way to lock somebody out. Guesses
// from many addresses are stopped, but not the address that the person is
// logged in at.
func TestGuessingFromManyAddressesDoesNotLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict, trusted: proxied})
	f.tryLogin(t, "alice", alicePassword, from("203.0.113.5")).want(200)
	for i := range 30 {
		f.tryLogin(t, "alice", "wrong", from(fmt.Sprintf("192.0.2.%d", i))).want(400)
	}
	f.tryLogin(t, "alice", "wrong", from("192.0.2.200")).want(429)
	f.tryLogin(t, "alice", alicePassword, from("203.0.113.5")).want(200)
}

// A header that anybody can send must not choose the address that is counted
// (GHSA-rjr7-jggh-pgcp): every guess would come with a fresh limit.
func TestForwardedAddressOfAStrangerIsIgnored(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict})
	for i := range 3 {
		f.tryLogin(t, "alice", "wrong", from(fmt.Sprintf("192.0.2.%d", i))).want(400)
	}
	f.tryLogin(t, "alice", alicePassword, from("198.51.100.99")).want(429)
	k := f.loginBob(t)
	if rows := f.call(t, "GET", "/sessions", bearer(k.access)).want(200).list("sessions"); rows[0]["ip"] != "127.0.0.1" {
		t.Errorf("address is %v", rows[0]["ip"])
	}
}

// Behind a proxy of ours its own entry counts, which is the last, and not what
// the client has written in front of it (GHSA-9g5q-2w5x-hmxf).
func TestForwardedAddressIsReadFromTheRight(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict, trusted: proxied})
	for i := range 3 {
		f.tryLogin(t, "alice", "wrong", from(fmt.Sprintf("10.0.0.%d, 192.0.2.1", i))).want(400)
	}
	f.tryLogin(t, "alice", alicePassword, from("10.9.9.9"), from("192.0.2.1")).want(429)
	p := f.tryLogin(t, "bob", bobPassword, from("10.9.9.9, 192.0.2.1")).want(200)
	rows := f.call(t, "GET", "/sessions", bearer(p.str("access_token")), header("User-Agent", "x")).want(200).list("sessions")
	if rows[0]["ip"] != "192.0.2.1" {
		t.Errorf("address is %v", rows[0]["ip"])
	}
}

// An IPv6 customer has 2^64 addresses and one limit.
func TestIPv6AddressesOfANetworkShareALimit(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict, trusted: proxied})
	for i := range 3 {
		f.tryLogin(t, "alice", "wrong", from(fmt.Sprintf("2001:db8:1:2::%x", i+1))).want(400)
	}
	f.tryLogin(t, "alice", alicePassword, from("2001:db8:1:2:ffff::9")).want(429)
	f.tryLogin(t, "alice", alicePassword, from("2001:db8:1:3::1")).want(200)
}

// The password of an account that is known to others logs nobody in any more,
// but lets its owner choose another.
func TestNewPasswordIsRequiredAfterACompromise(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"user": "alice", "reason": "compromised", "note": "found in a dump"})).want(200)
	f.isDead(t, "the session", k)
	login := func(pw, newPW string) reply {
		f.isSecret(newPW)
		return f.call(t, "POST", "/token", sendJSON(M{"grant_type": "password", "username": "alice", "password": pw, "new_password": newPW}))
	}
	if p := f.tryLogin(t, "alice", alicePassword).wantError(400, "password_change_required"); p.str("error") != "invalid_grant" {
		t.Errorf("error is %q", p.str("error"))
	}
	login("wrong", "a brand new password").wantError(400, "invalid_credentials")
	login(alicePassword, alicePassword).wantError(422, "same_password")
	login(alicePassword, "short").wantError(422, "weak_password")
	k = f.tokensOf(login(alicePassword, "a brand new password").want(200), "")
	f.isLive(t, "the session with the new password", &k)
	f.tryLogin(t, "alice", alicePassword).wantError(400, "invalid_credentials")
	f.tryLogin(t, "alice", "a brand new password").want(200)
	if p := f.call(t, "GET", "/admin/users/alice", bearer(f.operator)).want(200); p.get("must_change_password") != false {
		t.Errorf("account: %s", p.body)
	}
	// Where none is required, a new password is not taken in passing.
	login("a brand new password", "and yet another one").want(200)
	f.tryLogin(t, "alice", "and yet another one").wantError(400, "invalid_credentials")
}

func TestSessionLimitRefuses(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{MaxSessions: 2}})
	one, two := f.loginAlice(t), f.loginAlice(t)
	f.tryLogin(t, "alice", alicePassword).wantError(403, "too_many_sessions")
	f.tryLogin(t, "alice", "wrong").wantError(400, "invalid_credentials") // the limit tells strangers nothing
	f.loginBob(t)
	f.isLive(t, "first", &one)
	f.call(t, "POST", "/logout", bearer(two.access)).want(200)
	f.loginAlice(t)
}

func TestSessionLimitEndsTheOldest(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{MaxSessions: 2, EndOldest: true}})
	one, two := f.loginAlice(t), f.loginAlice(t)
	bobs := f.loginBob(t)
	three := f.loginAlice(t)
	eventually(t, "end of the oldest", func() bool { return f.call(t, "GET", "/user", bearer(one.access)).status == 401 })
	f.isDead(t, "the oldest", one)
	for who, k := range map[string]*tokens{"second": &two, "third": &three, "somebody else": &bobs} {
		f.isLive(t, who, k)
	}
	if s, err := f.SessionByID(t.Context(), one.session); err != nil || s.EndReason != curfew.ReasonReplaced {
		t.Errorf("ended for %q (%v)", s.EndReason, err)
	}
}

func TestOnlyConfiguredClientsLogIn(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Clients: []string{"web"}}})
	login := func(client string) reply {
		return f.call(t, "POST", "/token", sendJSON(M{"grant_type": "password", "username": "alice", "password": alicePassword, "client_id": client}))
	}
	login("").want(200)
	login("default").want(200)
	login("web").want(200)
	for _, client := range []string{"WEB", "web ", "evil", "web\x00", "w\u00e9b", "web,evil"} {
		if p := login(client).wantError(400, "unknown_client"); p.str("error") != "invalid_client" {
			t.Errorf("error is %q", p.str("error"))
		}
	}
}

// Every login gets a session of its own: none can be fixed beforehand.
func TestLoginNeverContinuesASession(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.tryLogin(t, "alice", alicePassword, bearer(k.access), header("Cookie", "sid="+k.session)).want(200)
	if p.str("session_id") == k.session {
		t.Error("the session of the bearer goes on")
	}
	if len(p.header.Values("Set-Cookie")) > 0 {
		t.Errorf("cookies: %v", p.header.Values("Set-Cookie"))
	}
}
