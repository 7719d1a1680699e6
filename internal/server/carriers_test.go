package server_test

import (
	"slices"
	"strings"
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

// party is a session of the matrix below.
type party struct {
	owner  string
	tokens tokens // or
	cookie cookieSession
}

func (p party) id() string { return p.tokens.session + p.cookie.session }

// parties signs everybody in: alice four times, bob twice.
func (f *fixture) parties(t *testing.T) map[string]party {
	t.Helper()
	return map[string]party{
		"app": {owner: "alice", tokens: f.loginAlice(t)}, "phone": {owner: "alice", tokens: f.loginAlice(t)},
		"browser": {owner: "alice", cookie: f.aliceCookie(t)}, "tablet": {owner: "alice", cookie: f.aliceCookie(t)},
		"bob's app": {owner: "bob", tokens: f.loginBob(t)}, "bob's browser": {owner: "bob", cookie: f.bobCookie(t)},
	}
}

func (f *fixture) partyIsDead(t *testing.T, who string, p party) {
	t.Helper()
	if p.cookie.value != "" {
		f.cookieIsDead(t, who, p.cookie.value)
	} else {
		f.isDead(t, who, p.tokens)
	}
}

func (f *fixture) partyIsLive(t *testing.T, who string, p party) {
	t.Helper()
	if p.cookie.value != "" {
		f.cookieIsLive(t, who, p.cookie.value)
	} else {
		f.isLive(t, who, &p.tokens)
	}
}

// carrier is a way to present sessions.
type carrier struct {
	name string
	of   []string // the sessions that are presented
	// with returns the parameters of the body and the rest of the request.
	with func(all map[string]party) (M, []opt)
}

var carriers = []carrier{
	{"access token", []string{"app"}, func(all map[string]party) (M, []opt) { return nil, []opt{bearer(all["app"].tokens.access)} }},
	{"refresh token as bearer", []string{"app"}, func(all map[string]party) (M, []opt) { return nil, []opt{bearer(all["app"].tokens.refresh)} }},
	{"refresh token in the body", []string{"app"}, func(all map[string]party) (M, []opt) { return M{"refresh_token": all["app"].tokens.refresh}, nil }},
	{"logout token as bearer", []string{"app"}, func(all map[string]party) (M, []opt) { return nil, []opt{bearer(all["app"].tokens.logout)} }},
	{"logout token in the body", []string{"app"}, func(all map[string]party) (M, []opt) { return M{"logout_token": all["app"].tokens.logout}, nil }},
	{"logout token under another name", []string{"app"}, func(all map[string]party) (M, []opt) { return M{"refresh_token": all["app"].tokens.logout}, nil }},
	{"cookie", []string{"browser"}, func(all map[string]party) (M, []opt) { return nil, []opt{session(all["browser"].cookie.value)} }},
	{"cookie's value in the body", []string{"browser"}, func(all map[string]party) (M, []opt) {
		return M{"session_cookie": all["browser"].cookie.value}, nil
	}},
	{"cookie's value as bearer", []string{"browser"}, func(all map[string]party) (M, []opt) {
		return nil, []opt{bearer(all["browser"].cookie.value)}
	}},
	{"cookie and access token", []string{"browser", "app"}, func(all map[string]party) (M, []opt) {
		return nil, []opt{session(all["browser"].cookie.value), bearer(all["app"].tokens.access)}
	}},
	{"everything at once", []string{"browser", "app", "phone", "tablet", "bob's app"}, func(all map[string]party) (M, []opt) {
		return M{
			"refresh_token": all["phone"].tokens.refresh, "session_cookie": all["tablet"].cookie.value, "logout_token": all["bob's app"].tokens.logout,
		}, []opt{session(all["browser"].cookie.value), bearer(all["app"].tokens.access)}
	}},
	{"cookie of alice, access token of bob", []string{"browser", "bob's app"}, func(all map[string]party) (M, []opt) {
		return nil, []opt{session(all["browser"].cookie.value), bearer(all["bob's app"].tokens.access)}
	}},
	{"cookie of bob, logout token of alice", []string{"bob's browser", "app"}, func(all map[string]party) (M, []opt) {
		return M{"logout_token": all["app"].tokens.logout}, []opt{session(all["bob's browser"].cookie.value)}
	}},
	// Of two cookies one was put there by somebody else, who must not be able to
	// keep the other one's session alive.
	{"two cookies", []string{"browser", "bob's browser"}, func(all map[string]party) (M, []opt) {
		return nil, []opt{session(all["bob's browser"].cookie.value), session(all["browser"].cookie.value)}
	}},
	{"cookie and a bad bearer", []string{"browser"}, func(all map[string]party) (M, []opt) {
		return nil, []opt{session(all["browser"].cookie.value), bearer("garbage")}
	}},
	{"bad cookie and a bearer", []string{"app"}, func(all map[string]party) (M, []opt) {
		return nil, []opt{session("garbage"), bearer(all["app"].tokens.access)}
	}},
	{"bad cookie, bad refresh token, logout token", []string{"app"}, func(all map[string]party) (M, []opt) {
		return M{"refresh_token": "cr_AAAA", "logout_token": all["app"].tokens.logout}, []opt{session("cs_AAAA")}
	}},
}

// A logout ends the session of every carrier that it is given, and of nobody
// else, as far as its scope says (CVE-2026-86473).
func TestEveryCombinationOfCarriersAtEveryLogout(t *testing.T) {
	t.Parallel()
	for i, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, web)
			for j, call := range []struct{ path, scope string }{{"/logout", "local"}, {"/logout", "others"}, {"/logout", "global"}, {"/logout/all", "global"}} {
				all := f.parties(t)
				body, opts := c.with(all)
				if body == nil {
					body = M{}
				}
				if call.path == "/logout" {
					body["scope"] = call.scope
				}
				if (i+j)%2 == 0 {
					opts = append(opts, sendJSON(body))
				} else {
					var pairs []string
					for name, v := range body {
						pairs = append(pairs, name, v.(string))
					}
					opts = append(opts, sendForm(pairs...))
				}
				opts = append(opts, sameOrigin(f))
				what := call.path + " " + call.scope
				p := f.call(t, "POST", call.path, opts...).want(200)
				owners := map[string]bool{}
				for _, who := range c.of {
					owners[all[who].owner] = true
				}
				ended := 0
				for who, x := range all {
					presented := slices.Contains(c.of, who)
					dead := map[string]bool{
						"local": presented, "others": owners[x.owner] && !presented, "global": owners[x.owner],
					}[call.scope]
					if dead {
						ended++
						f.partyIsDead(t, what+": "+who, x)
					} else {
						f.partyIsLive(t, what+": "+who, x)
					}
				}
				if got := p.num("sessions_ended"); got < ended || p.str("scope") != call.scope || p.str("revocation.state") != "enforced" {
					t.Errorf("%s: %d sessions ended, want %d: %s", what, got, ended, p.body)
				}
				// Again it is a success, and ends nothing that lives.
				before := f.heads(t)
				if call.scope != "others" {
					if p := f.call(t, "POST", call.path, opts...).want(200); p.num("sessions_ended") != 0 {
						t.Errorf("%s again: %s", what, p.body)
					}
				}
				if after := f.heads(t); after != before {
					t.Errorf("%s again moved the heads from %v to %v", what, before, after)
				}
				f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"everybody": true})).want(200)
			}
		})
	}
}

// What can be revoked by RFC 7009, carrier by carrier.
func TestEveryCarrierAtRevocation(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	for _, c := range []struct {
		value func(map[string]party) string
		of    string
		fate  fate
	}{
		{func(all map[string]party) string { return all["app"].tokens.access }, "app", losesAccess},
		{func(all map[string]party) string { return all["app"].tokens.refresh }, "app", ends},
		{func(all map[string]party) string { return all["app"].tokens.logout }, "app", lives},
		{func(all map[string]party) string { return all["browser"].cookie.value }, "browser", ends},
	} {
		for _, form := range []bool{true, false} {
			all := f.parties(t)
			body := sendJSON(M{"token": c.value(all)})
			if form {
				body = sendForm("token", c.value(all))
			}
			// A cookie that the browser adds by itself is not the one to revoke.
			f.call(t, "POST", "/revoke", body, session(all["tablet"].cookie.value)).want(200)
			for who, x := range all {
				switch {
				case who != c.of || c.fate == lives:
					f.partyIsLive(t, who, x)
				case c.fate == ends:
					f.partyIsDead(t, who, x)
				default:
					f.accessIsDead(t, who, x.tokens)
					f.refreshIsLive(t, who, &x.tokens)
				}
			}
		}
	}
}

// The page knows one carrier.
func TestEveryScopeOfThePage(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	for _, scope := range []string{"", "local", "global"} {
		all := f.parties(t)
		f.call(t, "POST", "/signout", session(all["browser"].cookie.value), sameOrigin(f), sendForm("scope", scope)).to("/login")
		for who, x := range all {
			if who == "browser" || scope == "global" && x.owner == "alice" {
				f.partyIsDead(t, scope+": "+who, x)
			} else {
				f.partyIsLive(t, scope+": "+who, x)
			}
		}
	}
	all := f.parties(t)
	f.call(t, "POST", "/signout", session(all["browser"].cookie.value), sameOrigin(f), sendForm("scope", "others")).want(400)
	f.call(t, "POST", "/signout", session(all["browser"].cookie.value), sameOrigin(f), sendForm("scope", "everything")).want(400)
	f.partyIsLive(t, "after a scope that the page does not know", all["browser"])
	// Nor can a second cookie, put there by somebody else, keep the first alive.
	f.call(t, "POST", "/signout", session(all["bob's browser"].cookie.value), session(all["browser"].cookie.value), sameOrigin(f)).to("/login")
	f.partyIsDead(t, "browser, of two cookies", all["browser"])
}

// A credential that is dead is still a good one to log out with, and reaches no
// further than its own session.
func TestDeadCarriersStillLogOutAndReachNobodyElse(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	all := f.parties(t)
	for _, who := range []string{"app", "browser"} {
		x := all[who]
		f.call(t, "DELETE", "/admin/sessions/"+x.id(), bearer(f.operator)).want(200)
	}
	before := f.heads(t)
	for _, scope := range []string{"local", "others", "global"} {
		for name, opts := range map[string][]opt{
			"access token":   {bearer(all["app"].tokens.access), sendForm("scope", scope)},
			"refresh token":  {sendForm("refresh_token", all["app"].tokens.refresh, "scope", scope)},
			"logout token":   {sendForm("logout_token", all["app"].tokens.logout, "scope", scope)},
			"cookie":         {session(all["browser"].cookie.value), sendForm("scope", scope)},
			"cookie's value": {sendForm("session_cookie", all["browser"].cookie.value, "scope", scope)},
		} {
			p := f.call(t, "POST", "/logout", opts...).want(200)
			if p.str("scope") != "local" || p.num("sessions_ended") != 0 {
				t.Errorf("dead %s, %s: %s", name, scope, p.body)
			}
		}
	}
	f.call(t, "POST", "/signout", session(all["browser"].cookie.value), sendForm("scope", "global")).to("/login")
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	for _, who := range []string{"phone", "tablet", "bob's app", "bob's browser"} {
		f.partyIsLive(t, who, all[who])
	}
}

// A logout token lies about where the tokens must not: it opens nothing, gives
// nothing, and says nothing.
func TestLogoutTokenCanDoNothingElse(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	k := f.loginAlice(t)
	before := f.heads(t)
	for _, g := range f.everyCall(t, k) {
		if len(g.secured) == 0 || strings.HasPrefix(g.path, "/logout") {
			continue
		}
		var opts []opt
		if g.body != nil {
			opts = append(opts, sendJSON(g.body))
		}
		for how, o := range map[string]opt{"bearer": bearer(k.logout), "cookie": session(k.logout), "refresh cookie": withCookie("refresh_token", k.logout)} {
			if p := f.call(t, g.method, g.path, append(opts, o)...); p.status != 401 {
				t.Errorf("%s with a logout token as %s: %d %s", g.name, how, p.status, p.body)
			}
		}
	}
	f.tryRefresh(t, k.logout).wantError(400, "invalid_grant")
	f.tryRefresh(t, strings.Replace(k.logout, "cl_", "cr_", 1)).wantError(400, "invalid_grant")
	f.call(t, "POST", "/token", sendJSON(M{"grant_type": "password", "email": "alice@example.com", "password": k.logout})).wantError(400, "invalid_credentials")
	if got := strings.TrimSpace(string(f.introspect(t, k.logout).body)); got != `{"active":false}` {
		t.Errorf("introspection: %s", got)
	}
	for _, path := range []string{"/account", "/signout", "/demo"} {
		if p := f.call(t, "GET", path, session(k.logout)); p.status == 200 {
			t.Errorf("GET %s: %d", path, p.status)
		}
	}
	f.call(t, "POST", "/sessions", bearer(f.verifier), sendJSON(M{"email": "bob@example.com", "password": bobPassword, "replaces": k.logout})).want(201)
	f.call(t, "POST", "/revoke", sendForm("token", k.logout)).want(200)
	if after := f.heads(t); after[0] != before[0] {
		t.Errorf("the log moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)

	// The same for as long as the session lives, whatever is refreshed.
	next := f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
	if next.logout != k.logout {
		t.Error("a refresh gives another logout token")
	}
	// One that was made up, of a session that lives, logs nobody out.
	for _, forged := range []string{
		k.logout[:len(k.logout)-2] + "AA", k.logout[:10] + "AAAA" + k.logout[14:], k.logout + "A", k.logout[:len(k.logout)-1], "cl_", "cl_" + k.logout[3:24],
		strings.Replace(k.refresh, "cr_", "cl_", 1),
	} {
		if forged == k.logout {
			continue
		}
		f.call(t, "POST", "/logout", sendJSON(M{"logout_token": forged})).wantError(401, "invalid_token")
		f.call(t, "POST", "/logout/all", bearer(forged)).wantError(401, "invalid_token")
	}
	f.isLive(t, "the session", &next)
	f.call(t, "POST", "/logout", sendJSON(M{"logout_token": k.logout})).want(200)
	f.isDead(t, "the session", next)
}
