package server_test

import (
	"testing"

	"github.com/curfewhq/curfew/internal/store"
)

// fate is what becomes of a session.
type fate int

const (
	lives       fate = iota
	ends             // no credential of it is accepted any more
	losesAccess      // its access token is dead, its refresh token gives another
	renewed          // its old credentials are dead, the answer has new ones
)

// ending is a call that ends something. It is made on behalf of a session of
// alice, who has another one, with another client than bob has.
type ending struct {
	name   string
	status int // 200 unless set
	// call presents a credential: of the session for the calls of users, of an
	// operator for the others.
	call              func(f *fixture, t *testing.T, mine tokens, credential string) reply
	mine, other, bobs fate
	noLogin           bool // alice cannot log in with her password afterwards
}

func post(path string, opts ...opt) func(*fixture, *testing.T, tokens, string) reply {
	return func(f *fixture, t *testing.T, _ tokens, credential string) reply {
		t.Helper()
		return f.call(t, "POST", path, append(opts, bearer(credential))...)
	}
}

// inBody presents the credential as the parameter name, of a form or of JSON.
func inBody(path, name, scope string, form bool) func(*fixture, *testing.T, tokens, string) reply {
	return func(f *fixture, t *testing.T, _ tokens, credential string) reply {
		t.Helper()
		if form {
			return f.call(t, "POST", path, sendForm(name, credential, "scope", scope))
		}
		return f.call(t, "POST", path, sendJSON(M{name: credential, "scope": scope}))
	}
}

// Every carrier at every call that ends something. A logout that looks at one
// carrier and ignores another answers success and ends nothing (CVE-2026-86473).
func TestEveryCarrierAtEveryEndpoint(t *testing.T) {
	t.Parallel()
	access := func(k tokens) string { return k.access }
	refresh := func(k tokens) string { return k.refresh }
	ofUsers := []struct {
		carrier string
		of      func(tokens) string
		endings []ending
	}{
		{"access", access, []ending{
			{name: "logout", call: post("/logout"), mine: ends},
			{name: "logout others", call: post("/logout?scope=others"), other: ends},
			{name: "logout global", call: post("/logout", sendJSON(M{"scope": "global"})), mine: ends, other: ends},
			{name: "logout all", call: post("/logout/all"), mine: ends, other: ends},
			{name: "revoke form", call: inBody("/revoke", "token", "", true), mine: losesAccess},
			{name: "revoke JSON", call: inBody("/revoke", "token", "", false), mine: losesAccess},
			{name: "end my session", call: func(f *fixture, t *testing.T, mine tokens, credential string) reply {
				return f.call(t, "DELETE", "/sessions/"+mine.session, bearer(credential))
			}, mine: ends},
			{name: "end my other session", call: func(f *fixture, t *testing.T, mine tokens, credential string) reply {
				return f.call(t, "DELETE", "/sessions/"+f.otherSession(t, mine), bearer(credential))
			}, other: ends},
			{name: "change password", call: func(f *fixture, t *testing.T, _ tokens, credential string) reply {
				return f.call(t, "PUT", "/user", bearer(credential), sendJSON(M{"password": "a brand new password", "current_password": alicePassword}))
			}, mine: ends, other: ends, noLogin: true},
			{name: "change password and stay", call: func(f *fixture, t *testing.T, _ tokens, credential string) reply {
				return f.call(t, "PUT", "/user", bearer(credential), sendJSON(M{"password": "a brand new password", "current_password": alicePassword, "keep_current": true}))
			}, mine: renewed, other: ends, noLogin: true},
		}},
		{"refresh as bearer", refresh, []ending{
			{name: "logout", call: post("/logout"), mine: ends},
			{name: "logout others", call: post("/logout?scope=others"), other: ends},
			{name: "logout global", call: post("/logout", sendJSON(M{"scope": "global"})), mine: ends, other: ends},
			{name: "logout all", call: post("/logout/all"), mine: ends, other: ends},
			// Only logging out takes a refresh token: elsewhere it is no credential.
			{name: "end my session", status: 401, call: func(f *fixture, t *testing.T, mine tokens, credential string) reply {
				return f.call(t, "DELETE", "/sessions/"+mine.session, bearer(credential))
			}},
			{name: "change password", status: 401, call: func(f *fixture, t *testing.T, _ tokens, credential string) reply {
				return f.call(t, "PUT", "/user", bearer(credential), sendJSON(M{"password": "a brand new password", "current_password": alicePassword}))
			}},
		}},
		{"refresh in the body", refresh, []ending{
			{name: "logout JSON", call: inBody("/logout", "refresh_token", "", false), mine: ends},
			{name: "logout form", call: inBody("/logout", "refresh_token", "", true), mine: ends},
			{name: "logout others", call: inBody("/logout", "refresh_token", "others", true), other: ends},
			{name: "logout global", call: inBody("/logout", "refresh_token", "global", false), mine: ends, other: ends},
			{name: "logout all JSON", call: inBody("/logout/all", "refresh_token", "", false), mine: ends, other: ends},
			{name: "logout all form", call: inBody("/logout/all", "refresh_token", "", true), mine: ends, other: ends},
			{name: "revoke form", call: inBody("/revoke", "token", "", true), mine: ends},
			{name: "revoke JSON", call: inBody("/revoke", "token", "", false), mine: ends},
		}},
		{"access in the body", access, []ending{
			{name: "logout", call: inBody("/logout", "refresh_token", "", false), mine: ends},
			{name: "logout all", call: inBody("/logout/all", "refresh_token", "", true), mine: ends, other: ends},
		}},
	}
	for _, c := range ofUsers {
		for _, e := range c.endings {
			t.Run(c.carrier+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				f := start(t, options{})
				f.checkEnding(t, e, c.of)
			})
		}
	}

	ofOperators := []ending{
		{name: "logout user", call: post("/admin/users/alice/logout"), mine: ends, other: ends},
		{name: "logout user by address", call: post("/admin/logout", sendJSON(M{"user": "ALICE@example.com"})), mine: ends, other: ends},
		{name: "logout session", call: func(f *fixture, t *testing.T, mine tokens, credential string) reply {
			return f.call(t, "POST", "/admin/logout", bearer(credential), sendForm("session", mine.session))
		}, mine: ends},
		{name: "end session", call: func(f *fixture, t *testing.T, mine tokens, credential string) reply {
			return f.call(t, "DELETE", "/admin/sessions/"+mine.session+"?reason=suspicious&note=odd", bearer(credential))
		}, mine: ends},
		{name: "bulk by user", call: post("/admin/sessions/end", sendJSON(M{"user": "alice@example.com"})), mine: ends, other: ends},
		{name: "bulk by client", call: post("/admin/sessions/end", sendJSON(M{"client_id": "web"})), mine: ends},
		{name: "logout client", call: post("/admin/logout", sendJSON(M{"client": "web", "reason": "suspicious"})), mine: ends},
		{name: "everybody", call: post("/admin/logout", sendJSON(M{"everybody": true})), mine: ends, other: ends, bobs: ends},
		{name: "disable", call: post("/admin/users/alice/disable"), mine: ends, other: ends, noLogin: true},
		{name: "delete", call: func(f *fixture, t *testing.T, _ tokens, credential string) reply {
			return f.call(t, "DELETE", "/admin/users/alice", bearer(credential))
		}, mine: ends, other: ends, noLogin: true},
		{name: "set password", call: post("/admin/users/alice/password", sendJSON(M{"password": "chosen by the desk"})), mine: ends, other: ends, noLogin: true},
		{name: "revoke the key", call: func(f *fixture, t *testing.T, _ tokens, credential string) reply {
			keys := f.call(t, "GET", "/admin/keys", bearer(credential)).want(200).list("keys")
			kid, _ := keys[0]["kid"].(string)
			return f.call(t, "POST", "/admin/keys/"+kid+"/revoke", bearer(credential))
		}, mine: losesAccess, other: losesAccess, bobs: losesAccess},
		// What only asks must end nothing.
		{name: "dry run of a user", call: post("/admin/logout", sendJSON(M{"user": "alice", "dry_run": true}))},
		{name: "dry run of a client", call: post("/admin/logout", sendJSON(M{"client": "web", "dry_run": true}))},
		{name: "dry run of everybody", call: post("/admin/logout", sendForm("everybody", "true", "dry_run", "true"))},
		{name: "dry run in bulk", call: post("/admin/sessions/end", sendJSON(M{"client_id": "web", "dry_run": true}))},
		{name: "rotate keys", call: post("/admin/keys/rotate")},
		{name: "enable", call: post("/admin/users/alice/enable")},
	}
	for _, carrier := range []string{"operator key", "token of an admin"} {
		for _, e := range ofOperators {
			t.Run(carrier+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				f := start(t, options{})
				credential := f.operator
				if carrier != "operator key" {
					credential = f.login(t, "admin@example.com", adminPassword).access
				}
				f.checkEnding(t, e, func(tokens) string { return credential })
			})
		}
	}
}

// checkEnding makes the call and asks all observers about all sessions: what
// should have ended is refused, and nobody else is logged out.
func (f *fixture) checkEnding(t *testing.T, e ending, credential func(tokens) string) {
	t.Helper()
	login := func(name, pw, clientID string) tokens {
		p := f.call(t, "POST", "/token", sendJSON(M{"grant_type": "password", "email": name, "password": pw, "client_id": clientID})).want(200)
		return f.tokensOf(p, "")
	}
	mine := login("alice@example.com", alicePassword, "web")
	other := login("alice@example.com", alicePassword, "phone")
	bobs := login("bob@example.com", bobPassword, "phone")
	status := e.status
	if status == 0 {
		status = 200
	}
	p := e.call(f, t, mine, credential(mine)).want(status)
	if len(p.body) > 0 && p.status == 200 && p.get("revocation") != nil && p.str("revocation.state") != "enforced" {
		t.Errorf("state is %q", p.str("revocation.state"))
	}
	for _, s := range []struct {
		who  string
		fate fate
		k    *tokens
	}{{"the session of the call", e.mine, &mine}, {"the other session", e.other, &other}, {"the session of somebody else", e.bobs, &bobs}} {
		switch s.fate {
		case lives:
			f.isLive(t, s.who, s.k)
		case ends:
			f.isDead(t, s.who, *s.k)
		case losesAccess:
			f.accessIsDead(t, s.who, *s.k)
			f.refreshIsLive(t, s.who, s.k)
			f.isLive(t, s.who, s.k)
		case renewed:
			f.accessIsDead(t, s.who+", old tokens", *s.k)
			k := f.tokensOf(p, "tokens.")
			f.isLive(t, s.who+", new tokens", &k)
		}
	}
	// Whoever was logged out may log in again: the end of a session is not the
	// end of the account, and the new session is not under the old verdict.
	if e.noLogin {
		f.tryLogin(t, "alice@example.com", alicePassword).wantError(400, "invalid_credentials")
	} else {
		again := login("alice@example.com", alicePassword, "web")
		f.isLive(t, "a login afterwards", &again)
	}
	// The verdict outlives the tidying up of the rows, which for a client and
	// for everybody comes after the answer.
	for id, fate := range map[string]fate{mine.session: e.mine, other.session: e.other, bobs.session: e.bobs} {
		eventually(t, "end of the row", func() bool {
			s, err := f.SessionByID(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return s.Ended() == (fate == ends)
		})
	}
	if e.mine == ends {
		f.isDead(t, "after the sweep", mine)
	}
	if e.bobs == lives {
		f.isLive(t, "somebody else, after the sweep", &bobs)
	}
}

// otherSession finds the session of alice that is not k's.
func (f *fixture) otherSession(t *testing.T, k tokens) string {
	t.Helper()
	rows, err := f.Sessions(t.Context(), store.SessionFilter{Subject: f.alice.ID, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range rows {
		if s.ID != k.session {
			return s.ID
		}
	}
	t.Fatal("there is no other session")
	return ""
}

// The refresh token that somebody stole before the password was changed must
// not give out the tokens that the change was made to get: not even within the
// grace window, in which a retried refresh gets its successor again.
func TestStolenRefreshTokenDiesWithThePasswordChangeThatKeepsTheSession(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	stolen := k.refresh
	f.call(t, "PUT", "/user", bearer(k.access), sendJSON(M{"password": "a brand new password", "current_password": alicePassword, "keep_current": true})).want(200)
	f.tryRefresh(t, stolen).wantError(400, "invalid_grant")
}
