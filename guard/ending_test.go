package guard_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// Whatever ends a session ends what runs for it, says why, and ends nothing
// else.
func TestRunningRequestsEnd(t *testing.T) {
	for _, tc := range []struct {
		kind   curfew.Kind
		reason curfew.Reason
		cookie bool // whether a request with the session's cookie ends too
		revoke func(a *guardtest.Authority, text string)
	}{
		{curfew.KindSession, curfew.ReasonUser, true, func(a *guardtest.Authority, _ string) { a.Revoke("s1") }},
		{curfew.KindSubject, curfew.ReasonUserAll, true, func(a *guardtest.Authority, _ string) { a.RevokeSubject("carol") }},
		{curfew.KindClient, curfew.ReasonAdmin, true, func(a *guardtest.Authority, _ string) { a.RevokeClient("app") }},
		{curfew.KindToken, curfew.ReasonTokenRevoked, false, func(a *guardtest.Authority, text string) { a.RevokeToken(text) }},
		{curfew.KindKey, curfew.ReasonKeyRevoked, false, func(a *guardtest.Authority, _ string) { k := a.KeyID(); a.RotateKey(); a.RevokeKey(k) }},
		{curfew.KindEverything, curfew.ReasonAdmin, true, func(a *guardtest.Authority, _ string) { a.RevokeEverything() }},
		{"galaxy", curfew.ReasonAdmin, true, func(a *guardtest.Authority, _ string) {
			a.Record(curfew.Revocation{Kind: "galaxy", Target: "milky-way"}).Wait()
		}},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			m := &recorder{}
			a, g := newGuard(t, guard.Config{Metrics: m})
			mine, cookies, others := newWaiting(), newWaiting(), newWaiting()
			mux := http.NewServeMux()
			mux.Handle("/mine", mine)
			mux.Handle("/cookie", cookies)
			mux.Handle("/other", others)
			url := serve(t, g.Middleware(mux)).URL
			text, _ := a.Issue(guardtest.Token{Subject: "carol", Client: "app", Session: "s1"})
			value, _ := a.Cookie(guardtest.Token{Subject: "carol", Client: "app", Session: "s1"})
			open(t, url+"/mine", bearer(text))
			open(t, url+"/mine", bearer(text))
			open(t, url+"/cookie", bearer(value))
			for _, ch := range []chan struct{}{mine.started, mine.started, cookies.started} {
				within(t, 5*time.Second, "a request", ch)
			}
			// Somebody else, who came since.
			first := a.KeyID()
			if tc.kind == curfew.KindKey {
				a.RotateKey()
			}
			_, dead := a.Issue(guardtest.Token{})
			a.Revoke(dead)
			later := guardtest.Token{Subject: "dave", Client: "web", Session: "s2", Ver: a.Head() + 1}
			other, _ := a.Issue(later)
			open(t, url+"/other", bearer(other))
			within(t, 5*time.Second, "a request", others.started)
			if n := g.Status().Running; n != 4 {
				t.Fatalf("%d requests are running", n)
			}

			if tc.kind == curfew.KindKey {
				a.RevokeKey(first)
			} else {
				tc.revoke(a, text)
			}
			for range 2 {
				cause, _ := within(t, promised, "the end", mine.ended)
				mustEnd(t, cause, "s1", tc.reason)
			}
			ended := 2
			if tc.cookie {
				cause, _ := within(t, promised, "the end", cookies.ended)
				mustEnd(t, cause, "s1", tc.reason)
				ended++
			}
			select {
			case cause := <-others.ended:
				t.Errorf("somebody else was ended: %v", cause)
			case cause := <-cookies.ended:
				t.Errorf("the cookie was ended: %v", cause)
			case <-time.After(200 * time.Millisecond):
			}
			m.read(func(m *recorder) {
				if m.cancelled != ended {
					t.Errorf("%d cancelled, want %d", m.cancelled, ended)
				}
			})
			eventually(t, "the end of the requests", func() bool { return g.Status().Running == 4-ended })
		})
	}
}

// A revocation between the check and the registration finds the request all the
// same.
func TestEndedWhileEntering(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	text, session := a.Issue(guardtest.Token{})
	claims, err := g.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	a.Revoke(session)
	if ctx, _, err := g.Enter(t.Context(), claims); ctx != nil || !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("Enter = %v, %v", ctx, err)
	}
	if n := g.Status().Running; n != 0 {
		t.Errorf("%d running", n)
	}
}

// Ending work twice is what happens with a defer and an early return. It must
// not take other work of the session out of reach of a logout.
func TestEndTwice(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	text, session := a.Issue(guardtest.Token{})
	claims, err := g.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	enter := func() (context.Context, func()) {
		ctx, end, err := g.Enter(t.Context(), claims)
		if err != nil {
			t.Fatal(err)
		}
		return ctx, end
	}
	one, endOne := enter()
	two, endTwo := enter()
	_, endThree := enter()
	endThree()
	endThree()
	endOne()
	endThree()
	endOne()
	if n := g.Status().Running; n != 1 {
		t.Errorf("%d running, want 1", n)
	}
	if one.Err() == nil || two.Err() != nil {
		t.Errorf("contexts %v and %v", one.Err(), two.Err())
	}
	a.Revoke(session)
	within(t, promised, "the end of the other work", two.Done())
	mustEnd(t, context.Cause(two), session, curfew.ReasonUser)
	endTwo()
	endTwo()
	if n := g.Status().Running; n != 0 {
		t.Errorf("%d running", n)
	}
}

func TestLeaseLostWhileRunning(t *testing.T) {
	t.Parallel()
	for name, outlive := range map[string]bool{"default": false, "InsecureOutliveLease": true} {
		t.Run(name, func(t *testing.T) {
			m := &recorder{}
			a, g := newShort(t, guard.Config{InsecureOutliveLease: outlive, Metrics: m})
			h := newWaiting()
			url := serve(t, g.Middleware(h)).URL
			text, session := a.Issue(guardtest.Token{})
			open(t, url, bearer(text))
			within(t, 5*time.Second, "the request", h.started)
			a.Down()
			r := revoke(a, session).Wait()
			if len(r.Unacknowledged) != 1 {
				t.Errorf("receipt %v", r)
			}
			if !outlive {
				cause, _ := within(t, promised, "the end", h.ended)
				if !errors.Is(cause, curfew.ErrStale) {
					t.Errorf("cause %v", cause)
				}
				time.Sleep(300 * time.Millisecond)
				m.read(func(m *recorder) {
					if m.cancelled != 1 {
						t.Errorf("%d cancelled, want 1", m.cancelled)
					}
				})
				return
			}
			select {
			case cause := <-h.ended:
				t.Fatalf("ended: %v", cause)
			case <-time.After(promised):
			}
			a.Resume()
			cause, _ := within(t, 5*time.Second, "the end", h.ended)
			mustEnd(t, cause, session, curfew.ReasonUser)
		})
	}
}

// After the restore of a backup positions mean something else. What runs with
// credentials from before ends, and cookies are asked about again.
func TestRestoredAuthority(t *testing.T) {
	t.Parallel()
	for name, outlive := range map[string]bool{"default": false, "InsecureOutliveLease": true} {
		t.Run(name, func(t *testing.T) {
			a, g := newShort(t, guard.Config{InsecureOutliveLease: outlive})
			for range 5 {
				_, s := a.Issue(guardtest.Token{})
				a.Revoke(s)
			}
			h, hCookie := newWaiting(), newWaiting()
			mux := http.NewServeMux()
			mux.Handle("/token", h)
			mux.Handle("/cookie", hCookie)
			mux.Handle("/", whoami)
			url := serve(t, g.Middleware(mux)).URL
			// Its key is not in the backup, and its position is ahead of it.
			a.RevokeKey(a.KeyID())
			text, _ := a.Issue(guardtest.Token{})
			value, _ := a.Cookie(guardtest.Token{})
			open(t, url+"/token", bearer(text))
			open(t, url+"/cookie", bearer(value))
			within(t, 5*time.Second, "the request", h.started)
			within(t, 5*time.Second, "the request", hCookie.started)

			a.Rewind()
			within(t, promised, "the end", h.ended)
			within(t, promised, "the end", hCookie.ended)
			if got := get(t, url, bearer(text)); got.StatusCode != 401 {
				t.Errorf("token: %s", got.Status)
			}
			if got := get(t, url, bearer(value)); got.StatusCode != 401 {
				t.Errorf("cookie: %s", got.Status)
			}
			again, session := a.Issue(guardtest.Token{})
			get(t, url, bearer(again)).want(t, 200)
			a.Revoke(session)
			get(t, url, bearer(again)).wantError(t, 401, "session_revoked")
		})
	}
}

// A request that was on its way in while another log came is not let in on what
// was known before.
func TestRestoredWhileEntering(t *testing.T) {
	t.Parallel()
	looking, found := make(chan struct{}), make(chan string)
	a, g := newShort(t, guard.Config{Sources: []guard.Source{{Find: func(*http.Request) (string, error) {
		looking <- struct{}{}
		return <-found, nil
	}}}})
	url := serve(t, g.Middleware(whoami)).URL
	got := open(t, url)
	<-looking
	a.Rewind()
	value, _ := a.Cookie(guardtest.Token{})
	found <- value
	first, _ := within(t, 5*time.Second, "an answer", got)
	first.wantError(t, 503, "verifier_stale")
	eventually(t, "an answer that lets it in", func() bool {
		got = open(t, url)
		<-looking
		found <- value
		again, _ := within(t, 5*time.Second, "an answer", got)
		return again.err == nil && again.StatusCode == 200
	})
}

// What a request costs is given back, also by those that were refused, that
// panicked, and whose sessions ended.
func TestNothingLeaks(t *testing.T) {
	a, g := newGuard(t, guard.Config{CacheSize: 64})
	h := g.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
	}))
	requests := make([]*http.Request, 0, 300)
	for range 100 {
		live, _ := a.Issue(guardtest.Token{})
		for _, path := range []string{"/", "/panic"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Authorization", "Bearer "+live)
			requests = append(requests, r)
		}
		dead, session := a.Issue(guardtest.Token{})
		revoke(a, session)
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+dead)
		requests = append(requests, r)
	}
	run := func(n int) {
		for i := range n {
			func() {
				defer func() { _ = recover() }()
				h.ServeHTTP(sink{}, requests[i%len(requests)])
			}()
		}
	}
	run(3000)
	goroutines, heap := footprint()
	run(100_000)
	if n := g.Status().Running; n != 0 {
		t.Errorf("%d requests are running", n)
	}
	after, heapAfter := footprint()
	if after > goroutines+5 {
		t.Errorf("%d goroutines, %d before", after, goroutines)
	}
	if heapAfter > heap+1<<20 {
		t.Errorf("%d bytes in use, %d before", heapAfter, heap)
	}
}

// sink takes answers and keeps nothing.
type sink struct{}

func (sink) Header() http.Header         { return http.Header{} }
func (sink) Write(b []byte) (int, error) { return len(b), nil }
func (sink) WriteHeader(int)             {}

// footprint counts goroutines, and the bytes that are still in use.
func footprint() (int, uint64) {
	http.DefaultClient.CloseIdleConnections()
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// The same over connections, with revocations that meet requests in the middle.
func TestNothingLeaksOverConnections(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	h := newWaiting()
	srv := serve(t, g.Middleware(h))
	get(t, srv.URL)
	goroutines, _ := footprint()
	for range 20 {
		text, session := a.Issue(guardtest.Token{})
		var running []<-chan answer
		for range 10 {
			running = append(running, open(t, srv.URL, bearer(text)))
		}
		for range running {
			within(t, 5*time.Second, "a request", h.started)
		}
		a.Revoke(session)
		for _, ch := range running {
			within(t, promised, "the end", ch)
			<-h.ended
		}
	}
	eventually(t, "the end of all", func() bool { return g.Status().Running == 0 })
	srv.CloseClientConnections()
	eventually(t, "the end of all goroutines", func() bool { n, _ := footprint(); return n <= goroutines+5 })
}

func TestBackgroundIsNoActivity(t *testing.T) {
	a, g := newShort(t, guard.Config{})
	mux := http.NewServeMux()
	mux.Handle("/", g.Middleware(whoami))
	mux.Handle("/poll", g.Route(guard.Route{Background: true})(whoami))
	url := serve(t, mux).URL
	active, activeSession := a.Issue(guardtest.Token{})
	polling, pollingSession := a.Issue(guardtest.Token{})
	marked, markedSession := a.Issue(guardtest.Token{})
	get(t, url+"/poll", bearer(polling)).want(t, 200)
	get(t, url, bearer(marked), header(guard.BackgroundHeader, "1")).want(t, 200)
	eventually(t, "a report", func() bool {
		get(t, url, bearer(active)).want(t, 200)
		_, ok := a.LastSeen(activeSession)
		return ok
	})
	for _, s := range []string{pollingSession, markedSession} {
		if _, ok := a.LastSeen(s); ok {
			t.Error("a request in the background was reported as activity")
		}
	}
}

// A handler that ends its own session and outlives it has the last word. One
// that does not is cut off like all others.
func TestOutlive(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	bystander := newWaiting()
	mux := http.NewServeMux()
	mux.Handle("/wait", bystander)
	mux.HandleFunc("/{outlive}", func(w http.ResponseWriter, r *http.Request) {
		c, _ := guard.FromContext(r.Context())
		if r.PathValue("outlive") == "out" && !guard.Outlive(r.Context()) {
			t.Error("Outlive: false")
		}
		p := revoke(a, c.Session)
		eventually(t, "the end", func() bool { return p.Status().State == "enforced" })
		if ended := guard.Outlive(r.Context()); ended != (r.PathValue("outlive") == "out") {
			t.Errorf("Outlive afterwards: %v", ended)
		}
		time.Sleep(50 * time.Millisecond) // whoever is to be cut off is
		if _, err := w.Write([]byte("bye")); (err == nil) != (r.PathValue("outlive") == "out") {
			t.Errorf("writing: %v", err)
		}
	})
	url := serve(t, g.Middleware(mux)).URL

	text, _ := a.Issue(guardtest.Token{})
	open(t, url+"/wait", bearer(text))
	within(t, 5*time.Second, "a request", bystander.started)
	if got := get(t, url+"/out", bearer(text)).want(t, 200); got.body != "bye" {
		t.Errorf("body %q", got.body)
	}
	cause, _ := within(t, promised, "the end of the other request", bystander.ended)
	if !errors.Is(cause, curfew.ErrRevoked) {
		t.Errorf("cause %v", cause)
	}
	get(t, url+"/out", bearer(text)).wantError(t, 401, "session_revoked")
	text, _ = a.Issue(guardtest.Token{})
	get(t, url+"/stay", bearer(text)).wantError(t, 401, "session_revoked")
	if n := g.Status().Running; n != 0 {
		t.Errorf("%d requests are still running", n)
	}
	if guard.Outlive(t.Context()) {
		t.Error("Outlive without a guard: true")
	}
}
