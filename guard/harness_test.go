package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// promised is how long a running request may outlive its session.
const promised = time.Second

// short is a lease for tests that wait until it is over.
const short = 600 * time.Millisecond

// newGuard returns an authority and a guard that follows it.
func newGuard(t *testing.T, cfg guard.Config) (*guardtest.Authority, *guard.Guard) {
	t.Helper()
	a := guardtest.New(t)
	return a, a.Guard(t, cfg)
}

// newShort is newGuard with a short lease.
func newShort(t *testing.T, cfg guard.Config) (*guardtest.Authority, *guard.Guard) {
	t.Helper()
	a := guardtest.New(t)
	a.SetLease(short)
	return a, a.Guard(t, cfg)
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

// answer is an answer that was read to its end.
type answer struct {
	*http.Response
	body string
	err  error // of reading it
}

type option func(*http.Request)

func bearer(token string) option {
	return func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+token) }
}

func header(name, value string) option { return func(r *http.Request) { r.Header.Add(name, value) } }

func cookie(name, value string) option {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: name, Value: value}) }
}

func request(t *testing.T, method, url string, opts ...option) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		o(r)
	}
	return r
}

func call(t *testing.T, method, url string, opts ...option) answer {
	t.Helper()
	return do(t, http.DefaultClient, request(t, method, url, opts...))
}

func do(t *testing.T, c *http.Client, r *http.Request) answer {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp, string(b), err}
}

func get(t *testing.T, url string, opts ...option) answer {
	t.Helper()
	return call(t, "GET", url, opts...)
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status || a.err != nil {
		t.Fatalf("%s %q, %v; want %d", a.Status, a.body, a.err, status)
	}
	return a
}

// wantError checks the JSON and the headers of a refusal.
func (a answer) wantError(t *testing.T, status int, code string) {
	t.Helper()
	a.want(t, status)
	var body struct {
		Code      int
		ErrorCode string `json:"error_code"`
		Msg       string
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Code != status || body.ErrorCode != code || body.Msg == "" {
		t.Errorf("body %s (%v), want code %d and error_code %s", a.body, err, status, code)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if got, want := a.Header.Get("WWW-Authenticate") != "", status == 401; got != want {
		t.Errorf("WWW-Authenticate %q with %d", a.Header.Get("WWW-Authenticate"), status)
	}
	if got, want := a.Header.Get("Retry-After") == "1", status == 503; got != want {
		t.Errorf("Retry-After %q with %d", a.Header.Get("Retry-After"), status)
	}
}

// whoami says whose request it is.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	c, ok := guard.FromContext(r.Context())
	if !ok {
		fmt.Fprint(w, "nobody")
		return
	}
	fmt.Fprint(w, c.Subject)
})

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func waitStale(t *testing.T, g *guard.Guard) {
	t.Helper()
	eventually(t, "the end of the lease", func() bool { return g.Status().Lease <= 0 })
}

func waitLease(t *testing.T, g *guard.Guard) {
	t.Helper()
	eventually(t, "a lease", func() bool { return g.Status().Lease > 0 })
}

// within fails if ch is not ready in time, and returns how long it took.
func within[T any](t *testing.T, d time.Duration, what string, ch <-chan T) (v T, took time.Duration) {
	t.Helper()
	start := time.Now()
	select {
	case v = <-ch:
	case <-time.After(d):
		t.Fatalf("%s: not within %v", what, d)
	}
	return v, time.Since(start)
}

// recorder is a guard.Metrics.
type recorder struct {
	mu        sync.Mutex
	verdicts  map[guard.Verdict]int
	applied   curfew.Seq
	entries   int
	stale     []bool
	cancelled int
}

func (m *recorder) Checked(v guard.Verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.verdicts == nil {
		m.verdicts = map[guard.Verdict]int{}
	}
	m.verdicts[v]++
}

func (m *recorder) Applied(seq curfew.Seq, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied, m.entries = seq, m.entries+n
}

func (m *recorder) Stale(s bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stale = append(m.stale, s)
}

func (m *recorder) Cancelled(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancelled += n
}

func (m *recorder) read(f func(*recorder)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// revoke ends a session without waiting, as another process would.
func revoke(a *guardtest.Authority, session string) *guardtest.Pending {
	return a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: curfew.ReasonUser})
}

// waiting is a handler that waits for the end of its context and tells why it
// came.
type waiting struct {
	started chan struct{}
	ended   chan error
}

func newWaiting() *waiting {
	return &waiting{make(chan struct{}, 100), make(chan error, 100)}
}

func (h *waiting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	h.started <- struct{}{}
	<-r.Context().Done()
	h.ended <- context.Cause(r.Context())
}

// open starts a request and leaves it running.
func open(t *testing.T, url string, opts ...option) <-chan answer {
	t.Helper()
	out := make(chan answer, 1)
	r := request(t, "GET", url, opts...)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			out <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		out <- answer{resp, string(b), err}
	}()
	return out
}

func mustEnd(t *testing.T, err error, session string, why curfew.Reason) {
	t.Helper()
	var ended *guard.EndedError
	if !errors.As(err, &ended) || !errors.Is(err, curfew.ErrRevoked) || ended.Session != session || ended.Reason != why {
		t.Errorf("cause %v (%+v), want the end of session %s with reason %s", err, ended, session, why)
	}
}
