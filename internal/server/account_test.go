package server_test

import (
	"strings"
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/google/go-cmp/cmp"
)

func TestUserSaysWhoIAm(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.call(t, "GET", "/user", bearer(k.access)).want(200)
	if p.str("id") != f.alice.ID || p.str("email") != "alice@example.com" || p.str("name") != "Alice" || p.str("session_id") != k.session || p.str("client_id") != "default" {
		t.Errorf("answer is %s", p.body)
	}
	// The scheme is case-insensitive, and HEAD is GET without its body.
	f.call(t, "GET", "/user", header("Authorization", "bEARER "+k.access)).want(200)
	if p := f.call(t, "HEAD", "/user", bearer(k.access)).want(200); len(p.body) > 0 {
		t.Errorf("HEAD with a body: %s", p.body)
	}
	f.call(t, "HEAD", "/user").want(401)
}

func TestDevicesAreListedAndEnded(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	f.tryLogin(t, "alice", alicePassword, header("User-Agent", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:128.0) Gecko/20100101 Firefox/128.0")).want(200)
	k, bobs := f.loginAlice(t), f.loginBob(t)
	rows := f.call(t, "GET", "/sessions", bearer(k.access)).want(200).list("sessions")
	if len(rows) != 2 {
		t.Fatalf("%d sessions, want 2", len(rows))
	}
	var other string
	for _, s := range rows {
		if s["current"] != (s["id"] == k.session) || s["ip"] != "127.0.0.1" {
			t.Errorf("session %v", s)
		}
		if s["id"] != k.session {
			other, _ = s["id"].(string)
			if s["device"] != "Firefox on macOS" {
				t.Errorf("device is %v", s["device"])
			}
		}
	}
	first := f.call(t, "DELETE", "/sessions/"+other, bearer(k.access)).want(200)
	again := f.call(t, "DELETE", "/sessions/"+other, bearer(k.access)).want(200)
	if first.num("sessions_ended") != 1 || again.num("sessions_ended") != 0 || again.num("revocation.seq") != first.num("revocation.seq") {
		t.Errorf("first %s, again %s", first.body, again.body)
	}
	if rows := f.call(t, "GET", "/sessions", bearer(k.access)).want(200).list("sessions"); len(rows) != 1 {
		t.Errorf("%d sessions are left, want 1", len(rows))
	}
	f.isLive(t, "the caller", &k)
	f.isLive(t, "somebody else", &bobs)
}

// Somebody else's session looks like one that does not exist: its id is no
// handle and its existence no news.
func TestSessionsOfOthersCannotBeEnded(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k, bobs := f.loginAlice(t), f.loginBob(t)
	before := f.heads(t)
	unknown := visible(f.call(t, "DELETE", "/sessions/"+curfew.NewID(), bearer(k.access)).wantError(404, "not_found"))
	for _, id := range []string{bobs.session, strings.ToUpper(k.session), k.session + "%00", "..%2F" + k.session, "%27%20OR%201=1", f.alice.ID, strings.Repeat("f", 5000)} {
		if diff := cmp.Diff(unknown, visible(f.call(t, "DELETE", "/sessions/"+id, bearer(k.access)))); diff != "" {
			t.Errorf("%q differs from an unknown session:\n%s", id, diff)
		}
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the caller", &k)
	f.isLive(t, "somebody else", &bobs)
}

func TestProfileChange(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	put := func(body M) reply { return f.call(t, "PUT", "/user", bearer(k.access), sendJSON(body)) }
	if p := put(M{"name": "Alice Liddell"}).want(200); p.str("name") != "Alice Liddell" {
		t.Errorf("answer is %s", p.body)
	}
	// The e-mail address is a way into the account, so it needs the password.
	p := put(M{"email": "a@example.org"}).wantError(401, "reauthentication_required")
	if !strings.Contains(p.header.Get("WWW-Authenticate"), `error="insufficient_user_authentication"`) {
		t.Errorf("challenge is %q (RFC 9470)", p.header.Get("WWW-Authenticate"))
	}
	put(M{"email": "a@example.org", "current_password": "wrong"}).wantError(400, "invalid_credentials")
	put(M{"email": "BOB@example.com", "current_password": alicePassword}).wantError(409, "exists")
	put(M{"email": "no address", "current_password": alicePassword}).wantError(422, "invalid_user")
	put(M{"name": "line\nbreak"}).wantError(422, "invalid_user")
	put(M{}).wantError(400, "invalid_request")
	put(M{"name": "x", "password": "a brand new password"}).wantError(400, "invalid_request")
	put(M{"email": "a@example.org", "current_password": alicePassword}).want(200)
	f.tryLogin(t, "alice@example.com", alicePassword).wantError(400, "invalid_credentials")
	f.tryLogin(t, "a@example.org", alicePassword).want(200)
	f.isLive(t, "a change of profile ends nothing", &k)
}

func TestReauthenticationStandsInForThePassword(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	change := func(body M) reply { return f.call(t, "PUT", "/user", bearer(k.access), sendJSON(body)) }
	change(M{"password": "a brand new password"}).wantError(401, "reauthentication_required")
	reauth := func(k tokens, pw string) reply {
		return f.call(t, "POST", "/reauthenticate", bearer(k.access), sendJSON(M{"password": pw}))
	}
	reauth(k, "").wantError(400, "invalid_request")
	reauth(k, "wrong").wantError(400, "invalid_credentials")
	k = f.tokensOf(reauth(k, alicePassword).want(200), "")

	// It is of this session and of no other.
	other := f.loginAlice(t)
	f.call(t, "PUT", "/user", bearer(other.access), sendJSON(M{"password": "a brand new password"})).wantError(401, "reauthentication_required")

	change(M{"password": alicePassword}).wantError(422, "same_password")
	change(M{"password": "short"}).wantError(422, "weak_password")
	change(M{"password": "a brand new password", "keep_current": "yes"}).wantError(400, "invalid_request")
	p := change(M{"password": "a brand new password", "keep_current": true}).want(200)
	if p.str("message") != "Password changed" || p.num("sessions_ended") != 1 || p.str("user.id") != f.alice.ID {
		t.Errorf("answer is %s", p.body)
	}
	f.isDead(t, "the other session", other)
	f.isSecret("a brand new password")
}

// A stolen access token must not become an oracle for the password: asking for
// it here is limited like a login.
func TestPasswordCannotBeGuessedThroughASession(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: strict})
	k := f.loginAlice(t)
	for range 3 {
		f.call(t, "POST", "/reauthenticate", bearer(k.access), sendForm("password", "wrong")).wantError(400, "invalid_credentials")
	}
	f.call(t, "POST", "/reauthenticate", bearer(k.access), sendForm("password", alicePassword)).wantError(429, "too_many_requests")
	f.call(t, "PUT", "/user", bearer(k.access), sendForm("password", "a brand new password", "current_password", alicePassword)).wantError(429, "too_many_requests")
	// But it does not keep its holder from logging out.
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	f.isDead(t, "the session", k)
}

// The role is read from the account at issue; a token says what it was then, and
// nobody without it gets in.
func TestUsersWithoutTheRoleAreNoOperators(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	f.createUser(t, authority.NewUser{Email: "eve@example.com", Username: "eve", Password: alicePassword, Roles: []string{"administrator", "Admin", "admin2"}})
	k := f.login(t, "eve", alicePassword)
	before := f.heads(t)
	for name, credential := range map[string]string{"user": k.access, "verifier key": f.verifier} {
		p := f.call(t, "POST", "/admin/logout", bearer(credential), sendJSON(M{"everybody": true})).wantError(403, "forbidden")
		if p.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: challenge %q", name, p.header.Get("WWW-Authenticate"))
		}
	}
	f.call(t, "POST", "/admin/logout", bearer(k.refresh), sendJSON(M{"everybody": true})).wantError(401, "invalid_token")
	f.call(t, "POST", "/admin/logout", bearer("cro_AAAA"), sendJSON(M{"everybody": true})).wantError(401, "invalid_token")
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
}
