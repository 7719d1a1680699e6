package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/curfewhq/curfew/internal/store"
)

func TestSecondLogoutSucceedsAndChangesNothing(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, path := range []string{"/logout", "/logout/all"} {
		k := f.loginAlice(t)
		first := f.call(t, "POST", path, bearer(k.access)).want(200)
		before := f.heads(t)
		for _, again := range []reply{
			f.call(t, "POST", path, bearer(k.access)),
			f.call(t, "POST", path, sendJSON(M{"refresh_token": k.refresh})),
			f.call(t, "POST", path, bearer(k.access), sendForm("refresh_token", k.refresh)),
		} {
			again.want(200)
			if again.str("message") != first.str("message") || again.str("scope") != first.str("scope") ||
				again.num("revocation.seq") != first.num("revocation.seq") || again.num("sessions_ended") != 0 {
				t.Errorf("%s: first %s, then %s", path, first.body, again.body)
			}
		}
		if after := f.heads(t); after != before {
			t.Errorf("%s: repeating it moved the heads from %v to %v", path, before, after)
		}
	}
}

// Tokens of a life of a millisecond are over when they arrive.
var shortLived = authority.Config{AccessLife: time.Millisecond}

func TestExpiredAccessTokenStillLogsItsSessionOut(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: shortLived})
	k, other, bobs := f.loginAlice(t), f.loginAlice(t), f.loginBob(t)
	f.expire(t, k)
	f.call(t, "GET", "/user", bearer(k.access)).wantError(401, "token_expired")
	p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	if p.num("sessions_ended") != 1 || p.str("revocation.state") != "enforced" {
		t.Errorf("answer is %s", p.body)
	}
	f.isDead(t, "the session", k)
	f.refreshIsLive(t, "the other session", &other)
	f.refreshIsLive(t, "somebody else", &bobs)
}

// expire waits until an access token is over. It is at most one second away.
func (f *fixture) expire(t *testing.T, k tokens) {
	t.Helper()
	eventually(t, "expiry", func() bool { return f.call(t, "GET", "/user", bearer(k.access)).status == 401 })
}

// A signature is what makes a credential genuine. Without one nothing is ended
// and nothing is admitted.
func TestForgedTokenLogsNobodyOut(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	parts := strings.Split(k.access, ".")
	flip := func(s string) string { // another character in the middle
		c := byte('A')
		if s[len(s)/2] == c {
			c = 'B'
		}
		return s[:len(s)/2] + string(c) + s[len(s)/2+1:]
	}
	forged := map[string]string{
		"garbage":                "garbage",
		"one dot":                "a.b",
		"two dots":               "..",
		"alg none":               "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
		"signature changed":      parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"payload changed":        parts[0] + "." + flip(parts[1]) + "." + parts[2],
		"padding":                k.access + "=",
		"fourth segment":         k.access + ".x",
		"line break in it":       parts[0] + "." + parts[1] + "%0A." + parts[2],
		"refresh token changed":  flip(k.refresh),
		"refresh token cut":      k.refresh[:len(k.refresh)-1],
		"refresh token extended": k.refresh + "A",
		"prefix alone":           "cr_",
		"operator key":           f.operator,
		"verifier key":           f.verifier,
	}
	before := f.heads(t)
	for name, token := range forged {
		for _, path := range []string{"/logout", "/logout?scope=others", "/logout?scope=global", "/logout/all"} {
			p := f.call(t, "POST", path, bearer(token)).wantError(401, "invalid_token")
			if !strings.Contains(p.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%s: challenge is %q", name, p.header.Get("WWW-Authenticate"))
			}
			f.call(t, "POST", path, sendJSON(M{"refresh_token": token})).wantError(401, "invalid_token")
		}
		// RFC 7009: an unknown token is a success, since it is not good.
		f.call(t, "POST", "/revoke", sendForm("token", token)).want(200)
		f.call(t, "GET", "/user", bearer(token)).wantError(401, "invalid_token")
		if got := strings.TrimSpace(string(f.introspect(t, token).body)); got != `{"active":false}` {
			t.Errorf("%s: introspection: %s", name, got)
		}
	}
	if after := f.heads(t); after != before {
		t.Errorf("forged tokens moved the heads from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
}

// A request with the credentials of two sessions ends both: one that was
// ignored would live on behind a success.
func TestAllCredentialsOfACallCount(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, path := range []string{"/logout", "/logout/all"} {
		one, two := f.loginAlice(t), f.loginBob(t)
		rest := f.loginAlice(t)
		p := f.call(t, "POST", path, bearer(one.access), sendJSON(M{"refresh_token": two.refresh})).want(200)
		want := map[string]int{"/logout": 2, "/logout/all": 3}[path]
		if p.num("sessions_ended") != want {
			t.Errorf("%s: %s, want %d sessions ended", path, p.body, want)
		}
		f.isDead(t, path+": session of the bearer", one)
		f.isDead(t, path+": session of the refresh token", two)
		if path == "/logout" {
			f.isLive(t, "session not presented", &rest)
			f.call(t, "POST", "/logout", bearer(rest.access)).want(200)
		}
	}
	// A bad credential beside a good one does not save the good one's session.
	k := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer("garbage"), sendJSON(M{"refresh_token": k.refresh})).want(200)
	f.isDead(t, "session beside a bad bearer", k)
	// Nor does a dead one beside a live one.
	dead, live := k, f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(dead.access), sendJSON(M{"refresh_token": live.refresh})).want(200)
	f.isDead(t, "session beside a dead bearer", live)
}

// Somebody who finds an old token, in a log or in a browser's history, must not
// be able to log its owner out everywhere with it.
func TestOldTokenCannotLogItsOwnerOutEverywhere(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for name, scope := range map[string]string{"global": "/logout?scope=global", "all": "/logout/all", "others": "/logout?scope=others"} {
		t.Run(name, func(t *testing.T) {
			old := f.loginAlice(t)
			f.call(t, "POST", "/logout", bearer(old.access)).want(200)
			live := f.loginAlice(t)
			before := f.heads(t)
			for _, o := range []opt{bearer(old.access), bearer(old.refresh), sendJSON(M{"refresh_token": old.refresh})} {
				p := f.call(t, "POST", scope, o).want(200)
				if p.str("scope") != "local" || p.str("message") != "Logout successful" || p.num("sessions_ended") != 0 {
					t.Errorf("answer to a dead token: %s", p.body)
				}
			}
			if after := f.heads(t); after != before {
				t.Errorf("heads moved from %v to %v", before, after)
			}
			f.isLive(t, "the owner's session", &live)
		})
	}
}

// The same with credentials that are dead by themselves while their session
// lives: one that was spent by a refresh long ago, one that was revoked. They
// may still end their own session, which they are part of.
func TestSpentOrRevokedCredentialEndsItsOwnSessionOnly(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, scope := range []string{"/logout?scope=global", "/logout/all", "/logout"} {
		spent, other := f.loginAlice(t), f.loginAlice(t)
		now := f.tokensOf(f.tryRefresh(t, spent.refresh).want(200), "")
		now = f.tokensOf(f.tryRefresh(t, now.refresh).want(200), "")
		p := f.call(t, "POST", scope, sendJSON(M{"refresh_token": spent.refresh})).want(200)
		if p.str("scope") != "local" {
			t.Errorf("%s with a spent refresh token: %s", scope, p.body)
		}
		f.isDead(t, "session of the spent token", now)
		f.isLive(t, "other session", &other)

		revoked := f.loginAlice(t)
		f.call(t, "POST", "/revoke", sendForm("token", revoked.access)).want(200)
		p = f.call(t, "POST", scope, bearer(revoked.access)).want(200)
		if p.str("scope") != "local" {
			t.Errorf("%s with a revoked access token: %s", scope, p.body)
		}
		f.isDead(t, "session of the revoked token", revoked)
		f.isLive(t, "other session", &other)
	}
}

// Logging the others out must not stop at some page of them.
func TestLogoutOthersEndsMoreThanAPage(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	now := f.Now()
	var c store.Change
	for range 1203 {
		c.InsertSessions = append(c.InsertSessions, curfew.Session{
			ID: curfew.NewID(), Subject: f.alice.ID, ClientID: "default", CreatedAt: now, AuthTime: now, LastSeenAt: now,
			ExpiresAt: now.Add(time.Hour), RotatedAt: now, TokenExp: now.Add(time.Minute), Counter: 1,
		})
	}
	c.At = now
	if _, err := f.store.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	p := f.call(t, "POST", "/logout?scope=others", bearer(k.access)).want(200)
	if p.num("sessions_ended") != 1203 {
		t.Errorf("%d sessions ended, want 1203", p.num("sessions_ended"))
	}
	if rows := f.call(t, "GET", "/sessions", bearer(k.access)).want(200).list("sessions"); len(rows) != 1 {
		t.Errorf("%d sessions are left, want the caller's own", len(rows))
	}
}

// The limit stops the useless repeats and nothing else.
func TestLogoutLimit(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k, bobs := f.loginAlice(t), f.loginBob(t)
	for i := range 20 {
		p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
		if got, want := p.header.Get("RateLimit-Remaining"), strconv.Itoa(19-i); got != want || p.header.Get("RateLimit-Limit") != "20" {
			t.Errorf("call %d: remaining %q of %q, want %s of 20", i+1, got, p.header.Get("RateLimit-Limit"), want)
		}
	}
	before := f.heads(t)
	for _, path := range []string{"/logout", "/logout/all"} {
		p := f.call(t, "POST", path, bearer(k.access)).wantError(429, "too_many_requests")
		reset, _ := strconv.Atoi(p.header.Get("RateLimit-Reset"))
		if p.header.Get("RateLimit-Remaining") != "0" || reset < 1 || reset > 300 || p.header.Get("Retry-After") != p.header.Get("RateLimit-Reset") {
			t.Errorf("%s: headers are %v", path, p.header)
		}
	}
	if after := f.heads(t); after != before {
		t.Errorf("refused calls moved the heads from %v to %v", before, after)
	}
	// A person whose session lives is never kept from ending it.
	for i := range 3 {
		live := f.loginAlice(t)
		p := f.call(t, "POST", "/logout", bearer(live.access)).want(200)
		if p.num("sessions_ended") != 1 {
			t.Errorf("logout %d beyond the limit: %s", i, p.body)
		}
		f.isDead(t, "session ended beyond the limit", live)
	}
	live := f.loginAlice(t)
	f.call(t, "POST", "/logout/all", bearer(live.access)).want(200)
	f.isDead(t, "session ended beyond the limit", live)
	// Nor is anybody else.
	f.call(t, "POST", "/logout", bearer(bobs.access)).want(200)
	f.call(t, "POST", "/logout", bearer(bobs.access)).want(200)
}

func TestLogoutWithoutALimitHasNoLimitHeaders(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{LogoutLimit: limit.Config{Limit: -1}}})
	k := f.loginAlice(t)
	for range 30 {
		p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
		if p.header.Get("RateLimit-Limit") != "" {
			t.Fatalf("RateLimit-Limit is %q", p.header.Get("RateLimit-Limit"))
		}
	}
}

func TestRespondAsyncAnswersWhenRecorded(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.call(t, "POST", "/logout", bearer(k.access), header("Prefer", "respond-async, wait=1")).want(200)
	if p.header.Get("Preference-Applied") != "respond-async" || p.num("revocation.seq") == 0 {
		t.Errorf("%v %s", p.header, p.body)
	}
	seq := p.num("revocation.seq")
	eventually(t, "enforcement", func() bool {
		return f.call(t, "GET", fmt.Sprintf("/admin/revocations/%d", seq), bearer(f.operator)).want(200).str("state") == "enforced"
	})
	f.isDead(t, "the session", k)
}

// Every ending leaves exactly one line in the audit trail, with its reason.
func TestEveryLogoutIsAudited(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, c := range []struct {
		path   string
		reason curfew.Reason
		count  int64
	}{{"/logout", curfew.ReasonUser, 1}, {"/logout?scope=others", curfew.ReasonUserOthers, 1}, {"/logout/all", curfew.ReasonUserAll, 2}} {
		f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"user": "alice"})).want(200)
		k, _ := f.loginAlice(t), f.loginAlice(t)
		before := len(f.audited(t, audit.SessionLogout))
		p := f.call(t, "POST", c.path, bearer(k.access), header("User-Agent", "test agent")).want(200)
		rows := f.audited(t, audit.SessionLogout)[before:]
		if len(rows) != 1 {
			t.Fatalf("%s: %d entries", c.path, len(rows))
		}
		e := rows[0]
		if e.Reason != c.reason || e.Count != c.count || e.Subject != f.alice.ID || e.Actor != "user:"+f.alice.ID ||
			e.IP != "127.0.0.1" || e.UserAgent != "test agent" || int(e.RevSeq) != p.num("revocation.seq") {
			t.Errorf("%s: %+v", c.path, e)
		}
	}
}

// gate lets a test stop the first commit that ends a session just before it
// begins.
type gate struct {
	store.Store
	once    sync.Once
	reached chan struct{} // closed when the commit is about to begin
	proceed chan struct{} // closed when it may
}

func (g *gate) Commit(ctx context.Context, c store.Change) (store.Committed, error) {
	if len(c.Revocations) > 0 {
		g.once.Do(func() {
			close(g.reached)
			<-g.proceed
			// The server notices in the background that the client is gone.
			// Give it the time: a logout that depends on its context is lost
			// then, and one that does not passes here after a moment.
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		})
	}
	return g.Store.Commit(ctx, c)
}

// Browsers abort the requests of a page that is left, and leaving the page is
// what comes after a logout.
func TestClientThatHangsUpDoesNotLoseItsLogout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, path string }{
		{"POST", "/logout"}, {"POST", "/logout/all"}, {"POST", "/revoke"}, {"DELETE", "/sessions/"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			g := &gate{reached: make(chan struct{}), proceed: make(chan struct{})}
			f := start(t, options{wrap: func(s store.Store) store.Store { g.Store = s; return g }})
			k := f.loginAlice(t)
			path, body := c.path, ""
			switch c.path {
			case "/revoke":
				body = "token=" + k.refresh
			case "/sessions/":
				path += k.session
			}
			conn, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: curfew\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
				c.method, path, k.access, len(body), body)
			<-g.reached
			conn.Close()
			close(g.proceed)
			eventually(t, "the logout", func() bool {
				s, err := f.SessionByID(t.Context(), k.session)
				if err != nil {
					t.Fatal(err)
				}
				return s.Ended()
			})
			eventually(t, "its enforcement", func() bool { return f.call(t, "GET", "/user", bearer(k.access)).status == 401 })
			f.isDead(t, "the session", k)
		})
	}
}

// A request of which only a part arrived is none.
func TestHalfARequestEndsNothing(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /logout HTTP/1.1\r\nHost: curfew\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"scope\":", k.access)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("answer: %v, %v", resp, err)
	}
	conn.Close()
	f.isLive(t, "the session", &k)
}
