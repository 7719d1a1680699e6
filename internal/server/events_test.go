package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
)

// event is a server-sent event.
type event struct {
	name string
	data M
}

// stream is GET /sessions/events, read as browsers read it.
type stream struct {
	t      *testing.T
	who    string
	events chan event // closed when the stream is over
	hangUp context.CancelFunc
}

func (f *fixture) stream(t *testing.T, who string, opts ...opt) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", f.URL+"/sessions/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		o(r)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	f.check(t, r, reply{t: t, call: "GET /sessions/events", status: resp.StatusCode, header: resp.Header})
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d", who, resp.StatusCode)
	}
	s := &stream{t, who, make(chan event, 10), cancel}
	go func() {
		defer resp.Body.Close()
		defer close(s.events)
		var e event
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				e.name = value
			case name == "data":
				if err := json.Unmarshal([]byte(value), &e.data); err != nil {
					t.Errorf("%s: data %q: %v", who, value, err)
				}
			case name == "" && value == "" && e.name != "":
				s.events <- e
				e = event{}
			}
		}
	}()
	first := s.next(5 * time.Second)
	if first.name != "session" || first.data["session_id"] == "" || first.data["expires_in"] == nil || first.data["idle_timeout"] == nil {
		t.Errorf("%s: first event: %+v", who, first)
	}
	return s
}

// next waits for an event. One without a name means that the stream is over.
func (s *stream) next(within time.Duration) event {
	s.t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(within):
		s.t.Fatalf("%s: nothing within %v", s.who, within)
	}
	return event{}
}

// ended says that the stream ends with the reason, and then is over. An empty
// reason is an end without a word.
func (s *stream) ended(reason string, within time.Duration) {
	s.t.Helper()
	e := s.next(within)
	if reason != "" {
		if e.name != "ended" || e.data["reason"] != reason || e.data["msg"] != "Token has been invalidated" || len(e.data) != 2 {
			s.t.Errorf("%s: %+v, want the end for %s", s.who, e, reason)
			return
		}
		e = s.next(within)
	}
	if e.name != "" {
		s.t.Errorf("%s: %+v after the end", s.who, e)
	}
}

// goesOn says that the stream is there and nothing has come.
func (s *stream) goesOn() {
	s.t.Helper()
	select {
	case e := <-s.events:
		s.t.Errorf("%s: %+v, want nothing", s.who, e)
	default:
	}
}

// Whichever way a session ends, a browser that listens hears of it at once, with
// the reason; and nobody else does.
func TestBrowserIsToldThatItsSessionHasEnded(t *testing.T) {
	t.Parallel()
	const over = "over" // the stream ends without a word, and the client comes again
	for _, c := range []struct {
		name string
		// What the cookie's stream and the token's stream say; "" = they go on.
		cookie, token, bobs string
		end                 func(f *fixture, t *testing.T, c cookieSession, k tokens)
	}{
		{"sign-out", "user", "", "", func(f *fixture, t *testing.T, c cookieSession, _ tokens) {
			f.call(t, "POST", "/signout", session(c.value), sameOrigin(f)).want(303)
		}},
		{"logout with a cookie", "user", "", "", func(f *fixture, t *testing.T, c cookieSession, _ tokens) {
			f.call(t, "POST", "/logout", session(c.value), sameOrigin(f)).want(200)
		}},
		{"logout with a token", "", "user", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "POST", "/logout", bearer(k.access)).want(200)
		}},
		{"logout with a logout token", "", "user", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "POST", "/logout", sendJSON(M{"logout_token": k.logout})).want(200)
		}},
		{"logout of the others", "user_others", "", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "POST", "/logout?scope=others", bearer(k.access)).want(200)
		}},
		{"logout everywhere", "user_all", "user_all", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/logout/all", bearer(f.loginAlice(t).access)).want(200)
		}},
		{"end of one device", "user", "", "", func(f *fixture, t *testing.T, c cookieSession, k tokens) {
			f.call(t, "DELETE", "/sessions/"+c.session, bearer(k.access)).want(200)
		}},
		{"operator", "", "admin", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "DELETE", "/admin/sessions/"+k.session, bearer(f.operator)).want(200)
		}},
		{"operator, compromised", "compromised", "compromised", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/users/alice/logout", bearer(f.operator), sendJSON(M{"reason": "compromised"})).want(200)
		}},
		{"operator in bulk", "suspicious", "suspicious", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/sessions/end", bearer(f.operator), sendJSON(M{"user": "alice", "reason": "suspicious"})).want(200)
		}},
		{"disabled", "disabled", "disabled", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/users/alice/disable", bearer(f.operator)).want(200)
		}},
		{"deleted", "deleted", "deleted", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "DELETE", "/admin/users/alice", bearer(f.operator)).want(200)
		}},
		{"password set", "password_changed", "password_changed", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/users/alice/password", bearer(f.operator), sendJSON(M{"password": "chosen by the desk"})).want(200)
		}},
		{"password changed elsewhere", "password_changed", "password_changed", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "PUT", "/user", bearer(f.loginAlice(t).access), sendJSON(M{"password": "a brand new password", "current_password": alicePassword, "keep_current": true})).want(200)
		}},
		{"password changed here, by cookie, and stayed", "", "password_changed", "", func(f *fixture, t *testing.T, c cookieSession, _ tokens) {
			f.call(t, "PUT", "/user", session(c.value), sameOrigin(f), sendJSON(M{"password": "a brand new password", "current_password": alicePassword, "keep_current": true})).want(200)
		}},
		{"password changed here, by token, and stayed", "password_changed", over, "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "PUT", "/user", bearer(k.access), sendJSON(M{"password": "a brand new password", "current_password": alicePassword, "keep_current": true})).want(200)
		}},
		{"password changed here, and left", "password_changed", "password_changed", "", func(f *fixture, t *testing.T, c cookieSession, _ tokens) {
			f.call(t, "PUT", "/user", session(c.value), sameOrigin(f), sendJSON(M{"password": "a brand new password", "current_password": alicePassword})).want(200)
		}},
		{"spent refresh token", "", "token_reuse", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			second := f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
			f.tryRefresh(t, second.refresh).want(200)
			f.tryRefresh(t, k.refresh).want(400)
		}},
		{"refresh token revoked", "", "token_revoked", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "POST", "/revoke", sendForm("token", k.refresh)).want(200)
		}},
		{"cookie revoked", "token_revoked", "", "", func(f *fixture, t *testing.T, c cookieSession, _ tokens) {
			f.call(t, "POST", "/revoke", sendForm("token", c.value)).want(200)
		}},
		{"another login in this browser", "replaced", "", "", func(f *fixture, t *testing.T, c cookieSession, _ tokens) {
			f.trySite(t, M{"email": "alice@example.com", "password": alicePassword, "replaces": c.value}).want(201)
		}},
		// These end no session of a token: a refresh gets another one.
		{"access token revoked", "", over, "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.call(t, "POST", "/revoke", sendForm("token", k.access)).want(200)
		}},
		{"key revoked", "", over, over, func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			kid := f.call(t, "GET", "/admin/keys", bearer(f.operator)).want(200).list("keys")[0]["kid"].(string)
			f.call(t, "POST", "/admin/keys/"+kid+"/revoke", bearer(f.operator)).want(200)
		}},
		{"client", "admin", "admin", "admin", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"client": "default"})).want(200)
		}},
		{"everybody", "admin", "admin", "admin", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"everybody": true})).want(200)
		}},
		// What only asks, or concerns somebody else, ends no stream.
		{"dry run", "", "", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"user": "alice", "dry_run": true})).want(200)
		}},
		{"bob", "", "", "user_all", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/logout/all", bearer(f.loginBob(t).access)).want(200)
		}},
		{"refresh", "", "", "", func(f *fixture, t *testing.T, _ cookieSession, k tokens) {
			f.tryRefresh(t, k.refresh).want(200)
		}},
		{"another client", "", "", "", func(f *fixture, t *testing.T, _ cookieSession, _ tokens) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"client": "other"})).want(200)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, web)
			mine, k, bobs := f.aliceCookie(t), f.loginAlice(t), f.loginBob(t)
			streams := map[*stream]string{
				f.stream(t, "cookie", session(mine.value)): c.cookie, f.stream(t, "cookie, second tab", session(mine.value)): c.cookie,
				f.stream(t, "token", bearer(k.access)): c.token, f.stream(t, "bob", bearer(bobs.access)): c.bobs,
			}
			c.end(f, t, mine, k)
			for s, want := range streams {
				switch want {
				case "":
				case over:
					s.ended("", time.Second)
				default:
					s.ended(want, time.Second)
				}
			}
			for s, want := range streams {
				if want == "" {
					s.goesOn()
				}
			}
			if c.cookie == "" { // and hears of the real end, though it has another cookie by now
				f.call(t, "DELETE", "/admin/sessions/"+mine.session, bearer(f.operator)).want(200)
				for s := range streams {
					if strings.HasPrefix(s.who, "cookie") {
						s.ended("admin", time.Second)
					}
				}
			}
		})
	}
}

// A stream is no activity, and tells of the end that comes of having none.
func TestBrowserIsToldOfTheIdleTimeOut(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{IdleTimeout: 1200 * time.Millisecond}})
	begin := time.Now()
	c, k := f.aliceCookie(t), f.loginAlice(t)
	byCookie, byToken := f.stream(t, "cookie", session(c.value)), f.stream(t, "token", bearer(k.access))
	// The sweep comes once a second.
	byCookie.ended("idle", 5*time.Second)
	byToken.ended("idle", 5*time.Second)
	if took := time.Since(begin); took < 1200*time.Millisecond {
		t.Errorf("idle after %v", took)
	}
}

func TestBrowserIsToldOfTheAbsoluteLimit(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{Lifetime: 2500 * time.Millisecond}})
	begin := time.Now()
	c, k := f.aliceCookie(t), f.loginAlice(t)
	byCookie, byToken := f.stream(t, "cookie", session(c.value)), f.stream(t, "token", bearer(k.access))
	byCookie.ended("expired", 5*time.Second)
	byToken.ended("expired", 5*time.Second)
	if took := time.Since(begin); took < 2500*time.Millisecond || took > 4*time.Second {
		t.Errorf("over after %v", took)
	}
}

// When the access token is over the client comes again with another one.
func TestStreamEndsWithItsAccessToken(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{AccessLife: 2 * time.Second}})
	c, k := f.aliceCookie(t), f.loginAlice(t)
	byCookie, byToken := f.stream(t, "cookie", session(c.value)), f.stream(t, "token", bearer(k.access))
	byToken.ended("", 5*time.Second)
	if p := f.call(t, "GET", "/sessions/events", bearer(k.access)).wantError(401, "token_expired"); p.get("reason") != nil {
		t.Errorf("the session lives: %s", p.body)
	}
	k = f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
	f.stream(t, "next token", bearer(k.access)).goesOn()
	byCookie.goesOn()
}

// Whoever comes too late hears it as the answer.
func TestStreamOfASessionThatHasEndedIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c, k := f.aliceCookie(t), f.loginAlice(t)
	f.call(t, "POST", "/logout/all", bearer(f.loginAlice(t).access)).want(200)
	for _, path := range []string{"/sessions/events", "/sessions/current"} {
		for who, o := range map[string]opt{"cookie": session(c.value), "token": bearer(k.access)} {
			if p := f.call(t, "GET", path, o).wantError(401, "session_revoked"); p.str("reason") != "user_all" {
				t.Errorf("%s, %s: %s", path, who, p.body)
			}
		}
		// Only a genuine credential of that session hears it.
		f.call(t, "GET", path).wantError(401, "no_credential")
		parts := strings.Split(k.access, ".")
		for who, o := range map[string]opt{
			"garbage": bearer("garbage"), "signature of another": bearer(parts[0] + "." + parts[1] + ".AAAA"), "made-up cookie": session("cs_" + strings.Repeat("A", 66)),
			"refresh token": bearer(k.refresh), "logout token": bearer(k.logout),
			"cookie of that session with another secret": session(c.value[:30] + strings.Repeat("A", len(c.value)-30)),
		} {
			if p := f.call(t, "GET", path, o).wantError(401, "invalid_token"); p.get("reason") != nil {
				t.Errorf("%s, %s: %s", path, who, p.body)
			}
		}
	}
	// A token that was replaced by others is no news about its session.
	k = f.loginAlice(t)
	f.call(t, "PUT", "/user", bearer(k.access), sendJSON(M{"password": "a brand new password", "current_password": alicePassword, "keep_current": true})).want(200)
	if p := f.call(t, "GET", "/sessions/events", bearer(k.access)).wantError(401, "session_revoked"); p.get("reason") != nil {
		t.Errorf("replaced token: %s", p.body)
	}
}

// One session cannot take all the streams.
func TestStreamsOfASessionAreLimited(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c, other := f.aliceCookie(t), f.aliceCookie(t)
	var all []*stream
	for i := range 20 {
		all = append(all, f.stream(t, fmt.Sprint("stream ", i), session(c.value)))
	}
	if p := f.call(t, "GET", "/sessions/events", session(c.value)).wantError(503, "busy"); p.header.Get("Retry-After") == "" {
		t.Errorf("headers: %v", p.header)
	}
	f.stream(t, "another session", session(other.value))
	all[3].hangUp()
	eventually(t, "room for another", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", f.URL+"/sessions/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		session(c.value)(r)
		resp, err := f.client.Do(r)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// A server that stops does not wait for those who listen, and tells them
// nothing that is not so.
func TestStreamsEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	f := start(t, web)
	c, k := f.aliceCookie(t), f.loginAlice(t)
	streams := []*stream{f.stream(t, "cookie", session(c.value)), f.stream(t, "token", bearer(k.access))}
	f.server.Drain()
	for _, s := range streams {
		s.ended("", time.Second)
	}
	f.stream(t, "while it stops", session(c.value)).ended("", time.Second)
	f.cookieIsLive(t, "the session", c.value)
}

// HEAD has nothing to wait for.
func TestHeadOfAStreamIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	for _, o := range []options{{}, web} {
		f := start(t, o)
		k := f.loginAlice(t)
		begin := time.Now()
		for range 25 { // more than there may be streams
			f.call(t, "HEAD", "/sessions/events", bearer(k.access)).want(200)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("25 answers after %v", took)
		}
	}
}

// Somebody who asks for streams and never reads keeps nobody from logging out.
func TestClientsThatDoNotReadHoldNothingUp(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k, bobs := f.loginAlice(t), f.loginBob(t)
	for range 15 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /sessions/events HTTP/1.1\r\nHost: curfew\r\nAuthorization: Bearer %s\r\n\r\n", k.access)
	}
	s := f.stream(t, "one that reads", bearer(k.access))
	begin := time.Now()
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	s.ended("user", time.Second)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("logout took %v", took)
	}
	f.isLive(t, "bob", &bobs)
}

func TestHowASessionStands(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{IdleTimeout: time.Hour, Lifetime: 24 * time.Hour}})
	c, k := f.aliceCookie(t), f.loginAlice(t)
	for who, o := range map[string]opt{c.session: session(c.value), k.session: bearer(k.access)} {
		p := f.call(t, "GET", "/sessions/current", o).want(200)
		if p.str("session.id") != who || p.get("session.current") != true || p.str("session.ip") != "127.0.0.1" || p.str("user.id") != f.alice.ID || p.str("user.email") != "alice@example.com" {
			t.Errorf("answer: %s", p.body)
		}
		if in := p.num("expires_in"); in < 86395 || in >= 86400 || p.num("idle_timeout") != 3600 || p.num("idle_expires_in") < 3598 || p.num("idle_expires_in") > 3600 {
			t.Errorf("times: %s", p.body)
		}
		s := f.stream(t, "stream", o)
		s.goesOn()
	}
	// Without a time-out there is nothing to count down.
	f = start(t, options{})
	p := f.call(t, "GET", "/sessions/current", bearer(f.loginAlice(t).access)).want(200)
	if p.num("idle_timeout") != 0 || p.get("idle_expires_in") != nil {
		t.Errorf("answer: %s", p.body)
	}
}

// A page that asks by itself is no person who is there.
func TestBackgroundCallsAreNoActivity(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{IdleTimeout: 20 * time.Second}})
	c, k := f.aliceCookie(t), f.loginAlice(t)
	for who, o := range map[string]opt{"cookie": session(c.value), "token": bearer(k.access)} {
		seen := func() time.Time {
			text := f.call(t, "GET", "/sessions/current", o, header("Curfew-Background", "1")).want(200).str("session.last_seen_at")
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		// What counts is when the person was last seen. Asking does not move it.
		f.call(t, "GET", "/user", o).want(200)
		first := seen()
		time.Sleep(20 * time.Millisecond)
		f.stream(t, who, o)
		for _, path := range []string{"/user", "/sessions", "/sessions/current"} {
			f.call(t, "GET", path, o, header("Curfew-Background", "1")).want(200)
		}
		if again := seen(); again.After(first) {
			t.Errorf("%s: seen at %s, then at %s", who, first, again)
		}
		for _, path := range []string{"/user", "/sessions", "/sessions/current"} {
			before := seen()
			time.Sleep(5 * time.Millisecond)
			f.call(t, "GET", path, o).want(200)
			eventually(t, who+" is seen at "+path, func() bool { return seen().After(before) })
		}
	}
}

// A token is refused for being idle before the log says so, wherever it is
// presented.
func TestIdleTokenIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	f := start(t, options{tls: true, Config: authority.Config{IdleTimeout: 700 * time.Millisecond}})
	admin := f.login(t, "admin@example.com", adminPassword)
	f.call(t, "GET", "/admin/status", bearer(admin.access)).want(200)
	time.Sleep(750 * time.Millisecond)
	for _, path := range []string{"/admin/status", "/user", "/sessions", "/sessions/current", "/sessions/events"} {
		p := f.call(t, "GET", path, bearer(admin.access)).wantError(401, "session_revoked")
		if got := p.get("reason"); got != nil && got != "idle" {
			t.Errorf("GET %s: %s", path, p.body)
		}
	}
}
