package guard_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// routes is one service with a route for each mode.
func routes(g *guard.Guard, h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/default", g.Middleware(h))
	for _, m := range []guard.Mode{guard.Deny, guard.Ask, guard.Strict} {
		mux.Handle("/"+m.String(), g.Route(guard.Route{Mode: m})(h))
	}
	return mux
}

// ask is a request with a credential.
type ask struct{ path, credential string }

// together sends requests at the same time and returns the answers in order.
func together(t *testing.T, url string, list ...ask) []answer {
	t.Helper()
	var running []<-chan answer
	for _, q := range list {
		running = append(running, open(t, url+q.path, bearer(q.credential)))
	}
	var out []answer
	for _, ch := range running {
		got, _ := within(t, 10*time.Second, "an answer", ch)
		if got.Response == nil {
			t.Fatal(got.err)
		}
		out = append(out, got)
	}
	return out
}

// 503 and not 401: the client must keep its session.
func TestModesWithoutTheAuthority(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*guardtest.Authority){
		"silent": (*guardtest.Authority).Silence, "down": (*guardtest.Authority).Down,
	} {
		t.Run(name, func(t *testing.T) {
			m := &recorder{}
			a, g := newShort(t, guard.Config{Metrics: m})
			url := serve(t, routes(g, whoami)).URL
			text, session := a.Issue(guardtest.Token{})
			value, _ := a.Cookie(guardtest.Token{})
			for _, path := range []string{"/default", "/deny", "/ask", "/strict"} {
				get(t, url+path, bearer(text)).want(t, 200)
				get(t, url+path, bearer(value)).want(t, 200)
			}
			cut(a)
			// Under the lease it needs nobody, but for the strict route.
			get(t, url+"/default", bearer(text)).want(t, 200)
			waitStale(t, g)
			all := []ask{{"/default", text}, {"/deny", text}, {"/ask", text}, {"/strict", text}, {"/default", value}, {"/ask", value}}
			for _, got := range together(t, url, all...) {
				got.wantError(t, 503, "verifier_stale")
			}
			get(t, url+"/default", bearer("a.b.c")).wantError(t, 503, "verifier_stale")
			get(t, url+"/default").wantError(t, 401, "no_credential")
			a.Resume()
			waitLease(t, g)
			for _, path := range []string{"/default", "/deny", "/ask", "/strict"} {
				get(t, url+path, bearer(text)).want(t, 200)
			}
			a.Revoke(session)
			for _, path := range []string{"/default", "/deny", "/ask", "/strict"} {
				get(t, url+path, bearer(text)).wantError(t, 401, "session_revoked")
			}
			eventually(t, "the report of the lease", func() (ok bool) {
				m.read(func(m *recorder) { ok = fmt.Sprint(m.stale) == "[false true false]" })
				return ok
			})
		})
	}
}

// An authority that answers, but more slowly than a lease lasts.
func TestModesWithASlowAuthority(t *testing.T) {
	t.Parallel()
	a, g := newShort(t, guard.Config{})
	// A handler that takes its time must be able to finish, lease or not.
	steady := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			t.Errorf("%s: cancelled: %v", r.URL.Path, r.Context().Err())
		case <-time.After(300 * time.Millisecond):
			whoami(w, r)
		}
	})
	url := serve(t, routes(g, steady)).URL
	text, session := a.Issue(guardtest.Token{})
	value, cookieSession := a.Cookie(guardtest.Token{})
	a.Slow(short + 100*time.Millisecond)
	waitStale(t, g)
	time.Sleep(600 * time.Millisecond) // long enough for what ran to be cancelled
	for _, got := range together(t, url, ask{"/deny", text}, ask{"/deny", value}) {
		got.wantError(t, 503, "verifier_stale")
	}
	asking := []ask{{"/ask", text}, {"/strict", text}, {"/ask", value}, {"/strict", value}}
	for _, got := range together(t, url, asking...) {
		got.want(t, 200)
	}
	revoke(a, session)
	revoke(a, cookieSession)
	for _, got := range together(t, url, asking...) {
		got.wantError(t, 401, "session_revoked")
	}
	get(t, url+"/ask", bearer("a.b.c")).wantError(t, 401, "session_revoked") // all that the authority says is "not active"
}

// What runs on a route that asks ends nevertheless, a little later: nobody can
// know any more whether its session has ended.
func TestLongRequestsEndWithoutALease(t *testing.T) {
	t.Parallel()
	a, g := newShort(t, guard.Config{Mode: guard.Ask})
	h := newWaiting()
	url := serve(t, g.Middleware(h)).URL
	text, _ := a.Issue(guardtest.Token{})
	a.Slow(short + 100*time.Millisecond)
	waitStale(t, g)
	time.Sleep(600 * time.Millisecond)
	open(t, url, bearer(text))
	within(t, 5*time.Second, "the request", h.started)
	cause, took := within(t, promised, "the end", h.ended)
	if !errors.Is(cause, curfew.ErrStale) || took < 300*time.Millisecond {
		t.Errorf("ended after %v with %v", took, cause)
	}
}

// A question serves those who came before it was asked, together.
func TestQuestionsAreShared(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	url := serve(t, routes(g, whoami)).URL
	text, _ := a.Issue(guardtest.Token{})
	value, _ := a.Cookie(guardtest.Token{})
	get(t, url+"/strict", bearer(text)).want(t, 200)
	a.Slow(200 * time.Millisecond)
	before := a.Asked()
	var running []<-chan answer
	for range 30 {
		running = append(running, open(t, url+"/strict", bearer(text)), open(t, url+"/default", bearer(value)))
	}
	for _, ch := range running {
		got, _ := within(t, 10*time.Second, "an answer", ch)
		got.want(t, 200)
	}
	after := a.Asked()
	if n := after.Confirms - before.Confirms; n < 1 || n > 5 {
		t.Errorf("%d confirmations for 30 requests that came together", n)
	}
	if n := after.Introspections - before.Introspections; n < 1 || n > 5 {
		t.Errorf("%d introspections for 30 requests with one cookie", n)
	}
}

// A strict route knows what is recorded, before anybody enforces it.
func TestStrictSeesWhatIsRecorded(t *testing.T) {
	a, g := newGuard(t, guard.Config{Mode: guard.Strict})
	url := serve(t, g.Middleware(whoami)).URL
	for i := range 20 {
		text, session := a.Issue(guardtest.Token{})
		get(t, url, bearer(text)).want(t, 200)
		before := a.Asked().Confirms
		revoke(a, session)
		get(t, url, bearer(text)).wantError(t, 401, "session_revoked")
		if n := a.Asked().Confirms - before; n != 1 {
			t.Fatalf("request %d: %d questions", i, n)
		}
	}
}

// A session that was renewed across a revocation of its subject, as by a change
// of the password that keeps it, is known again under its old cookie.
func TestRenewedSession(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	value, session := a.Cookie(guardtest.Token{Subject: "carol"})
	if _, err := g.Verify(t.Context(), value); err != nil {
		t.Fatal(err)
	}
	a.RevokeSubject("carol")
	if _, err := g.Verify(t.Context(), value); !errors.Is(err, curfew.ErrRevoked) {
		t.Fatalf("error %v", err)
	}
	a.Renew(value)
	if _, err := g.Verify(t.Context(), value); err != nil {
		t.Errorf("a session that lives on is refused: %v", err)
	}
	a.Revoke(session)
	before := a.Asked().Introspections
	for range 3 {
		if _, err := g.Verify(t.Context(), value); !errors.Is(err, curfew.ErrRevoked) {
			t.Fatalf("error %v", err)
		}
	}
	if n := a.Asked().Introspections - before; n != 0 {
		t.Errorf("%d questions about a session that is known to have ended", n)
	}
}

// Guards that start or come back far behind catch up before they answer.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	a, g := newShort(t, guard.Config{})
	url := serve(t, g.Middleware(whoami)).URL
	text, session := a.Issue(guardtest.Token{})
	other, _ := a.Issue(guardtest.Token{})
	a.Down()
	p := revoke(a, session)
	a.Compact()
	p.Wait()
	get(t, url, bearer(text)).wantError(t, 503, "verifier_stale")
	a.Resume()
	for range 200 {
		got := get(t, url, bearer(text))
		if got.StatusCode == 200 {
			t.Fatal("a session that has ended was accepted")
		}
		if got.StatusCode == 401 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	get(t, url, bearer(text)).wantError(t, 401, "session_revoked")
	get(t, url, bearer(other)).want(t, 200)
}
