package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/google/go-cmp/cmp"
)

func TestRefreshRotatesInJSONAndInAForm(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	for _, c := range []struct {
		name string
		path string
		body func(refresh string) opt
	}{
		{"JSON", "/token", func(r string) opt { return sendJSON(M{"grant_type": "refresh_token", "refresh_token": r}) }},
		{"form", "/token", func(r string) opt { return sendForm("grant_type", "refresh_token", "refresh_token", r) }},
		{"grant type in the query", "/token?grant_type=refresh_token", func(r string) opt { return sendJSON(M{"refresh_token": r}) }},
		{"grant type in both", "/token?grant_type=refresh_token", func(r string) opt {
			return sendForm("grant_type", "refresh_token", "refresh_token", r)
		}},
		{"with what it may say", "/token", func(r string) opt {
			return sendJSON(M{"grant_type": "refresh_token", "refresh_token": r, "client_id": "default", "scope": "", "active": true, "whatever": 1})
		}},
		{"charset", "/token", func(r string) opt {
			return raw("application/json; charset=utf-8", `{"grant_type":"refresh_token","refresh_token":"`+r+`"}`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := f.tokensOf(f.call(t, "POST", c.path, c.body(k.refresh)).want(200), "")
			if next.refresh == k.refresh || next.access == k.access || next.session != k.session {
				t.Errorf("%+v gave %+v", k, next)
			}
			k = next
		})
	}
	f.isLive(t, "the session", &k)
}

// Whoever lost the answer asks again and gets the same successor; two tabs that
// refresh at once agree.
func TestRefreshRetryGetsTheSameSuccessor(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	first := f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
	for range 3 {
		again := f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
		if again.refresh != first.refresh || again.session != first.session {
			t.Errorf("first %s, then %s", first.refresh, again.refresh)
		}
	}
	f.isLive(t, "the session", &first)
}

// A refresh token that is used after its successor was used is in two hands.
// Nobody can tell the thief from the victim, so both are logged out.
func TestStolenRefreshTokenEndsItsSession(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	other, bobs := f.loginAlice(t), f.loginBob(t)
	stolen := f.loginAlice(t)
	second := f.tokensOf(f.tryRefresh(t, stolen.refresh).want(200), "")
	third := f.tokensOf(f.tryRefresh(t, second.refresh).want(200), "")
	p := f.tryRefresh(t, stolen.refresh).wantError(400, "invalid_grant")
	f.isDead(t, "session of the stolen token", third)
	f.isLive(t, "other session", &other)
	f.isLive(t, "somebody else", &bobs)
	if s, err := f.SessionByID(t.Context(), stolen.session); err != nil || s.EndReason != curfew.ReasonTokenReuse {
		t.Errorf("session ended for %q (%v)", s.EndReason, err)
	}
	rows := f.audited(t, audit.TokenReused)
	if len(rows) != 1 || rows[0].Session != stolen.session || rows[0].Reason != curfew.ReasonTokenReuse || rows[0].Subject != f.alice.ID {
		t.Errorf("audit: %+v", rows)
	}
	// The person is told, to change the password: both sides hear the same.
	for who, p := range map[string]reply{"the first": p, "the last": f.tryRefresh(t, third.refresh)} {
		if p.status != 400 || p.str("reason") != "token_reuse" {
			t.Errorf("%s is told: %s", who, p.body)
		}
	}
}

func TestRefreshTokenIsSpentAfterTheGraceWindow(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{RefreshGrace: time.Nanosecond}})
	k := f.loginAlice(t)
	next := f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
	f.tryRefresh(t, k.refresh).wantError(400, "invalid_grant")
	f.isDead(t, "the session", next)
}

// What is no refresh token of ours looks like any other that is none, byte for
// byte. Only a genuine one learns more: why its session has ended, and nothing
// else.
func TestOnlyGenuineRefreshTokensLearnWhyTheirSessionEnded(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	loggedOut, reused, deleted, foreign := f.loginAlice(t), f.loginAlice(t), f.loginBob(t), f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(loggedOut.access)).want(200)
	next := f.tokensOf(f.tryRefresh(t, reused.refresh).want(200), "")
	f.tryRefresh(t, next.refresh).want(200)
	f.call(t, "DELETE", "/admin/users/bob", bearer(f.operator)).want(200)
	answers := map[string]reply{
		"garbage":              f.tryRefresh(t, "garbage"),
		"logged out":           f.tryRefresh(t, loggedOut.refresh),
		"reused":               f.tryRefresh(t, reused.refresh),
		"of a deleted user":    f.tryRefresh(t, deleted.refresh),
		"an access token":      f.tryRefresh(t, foreign.access),
		"of somebody's client": f.call(t, "POST", "/token", sendJSON(M{"grant_type": "refresh_token", "refresh_token": foreign.refresh, "client_id": "evil"})),
	}
	want := answers["garbage"].want(400)
	reasons := map[string]string{"logged out": "user", "reused": "token_reuse", "of a deleted user": "deleted"}
	for name, p := range answers {
		if reasons[name] != "" {
			p.body = []byte(strings.Replace(string(p.body), `,"reason":"`+reasons[name]+`"`, "", 1))
			p.header.Set("Content-Length", want.header.Get("Content-Length"))
		}
		if diff := cmp.Diff(visible(want), visible(p)); diff != "" {
			t.Errorf("%s differs from garbage:\n%s", name, diff)
		}
	}
}

// visible is everything of an answer but the time of day.
func visible(p reply) any {
	h := p.header.Clone()
	h.Del("Date")
	return struct {
		Status int
		Header http.Header
		Body   string
	}{p.status, h, string(p.body)}
}

// A refresh token that leaked to another application is of no use there, and
// trying does not log the owner out.
func TestRefreshTokenOfAnotherClientIsRefusedAndStaysGood(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	before := f.heads(t)
	f.call(t, "POST", "/token", sendJSON(M{"grant_type": "refresh_token", "refresh_token": k.refresh, "client_id": "evil"})).wantError(400, "invalid_grant")
	for _, token := range []string{k.refresh, k.access} {
		f.call(t, "POST", "/revoke", sendForm("token", token, "client_id", "evil")).wantError(400, "invalid_grant")
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
}

func TestRefreshMayAskForLessScopeButNotForMore(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Scopes: []string{"read", "write"}}})
	login := func(scope string) reply {
		return f.call(t, "POST", "/token", sendJSON(M{"grant_type": "password", "email": "alice@example.com", "password": alicePassword, "scope": scope}))
	}
	login("read everything").wantError(400, "invalid_scope")
	p := login("read").want(200)
	if p.str("scope") != "read" {
		t.Errorf("scope is %q", p.str("scope"))
	}
	k := f.tokensOf(p, "")
	before := f.heads(t)
	refresh := func(scope string) reply {
		return f.call(t, "POST", "/token", sendJSON(M{"grant_type": "refresh_token", "refresh_token": k.refresh, "scope": scope}))
	}
	if p := refresh("read write").wantError(400, "invalid_scope"); p.str("error") != "invalid_scope" {
		t.Errorf("error is %q", p.str("error"))
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	if p := refresh("read").want(200); p.str("scope") != "read" {
		t.Errorf("scope is %q", p.str("scope"))
	}
	if p := f.introspect(t, k.access); p.str("scope") != "read" {
		t.Errorf("introspection: %s", p.body)
	}
}

// Renewal in the background is no activity of the person (NIST SP 800-63B-4):
// otherwise no session of an open tab would ever be idle.
func TestBackgroundRefreshDoesNotKeepAnIdleSessionAlive(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{IdleTimeout: 300 * time.Millisecond}})
	k := f.loginAlice(t)
	begin := time.Now()
	dead := false
	eventually(t, "idle time-out in spite of refreshes", func() bool {
		p := f.tryRefresh(t, k.refresh)
		if dead = p.status == 400; !dead {
			k = f.tokensOf(p, "")
		}
		return dead
	})
	if took := time.Since(begin); took < 250*time.Millisecond {
		t.Errorf("idle after %v", took)
	}
	f.isDead(t, "the idle session", k)
	if s, err := f.SessionByID(t.Context(), k.session); err != nil || s.EndReason != curfew.ReasonIdle {
		t.Errorf("ended for %q (%v)", s.EndReason, err)
	}
}
