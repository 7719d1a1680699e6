package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// openFor opens a guard with a deadline and returns how long that took.
func openFor(t *testing.T, d time.Duration, cfg guard.Config) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	g, err := guard.Open(ctx, cfg)
	if err == nil {
		g.Close()
	}
	return time.Since(start), err
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	a := guardtest.New(t)
	a.RequireKey("crv_right")
	for name, tc := range map[string]struct {
		cfg  guard.Config
		want string
	}{
		"no authority":     {guard.Config{}, "Authority is required"},
		"no URL":           {guard.Config{Authority: "id.example.com"}, "is no URL such as https://id.example.com"},
		"secrets in URL":   {guard.Config{Authority: "https://user:hunter2@id.example.com"}, "is no URL"},
		"another scheme":   {guard.Config{Authority: "ftp://id.example.com"}, "is no URL"},
		"plain http":       {guard.Config{Authority: "http://192.0.2.1:8080"}, "over https, unless it is on this machine"},
		"plain http name":  {guard.Config{Authority: "http://localhost.evil.example"}, "over https, unless it is on this machine"},
		"unknown mode":     {guard.Config{Authority: a.URL, Mode: 7}, "there is no Mode(7)"},
		"no key":           {guard.Config{Authority: a.URL}, "make one with 'curfew verifiers add NAME'"},
		"wrong key":        {guard.Config{Authority: a.URL, Key: "crv_wrong"}, "make one with 'curfew verifiers add NAME'"},
		"not an authority": {guard.Config{Authority: a.URL + "/elsewhere"}, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			limit := 10 * time.Second
			if name == "not an authority" {
				limit = time.Second // it might be starting, so it is waited for
			}
			took, err := openFor(t, limit, tc.cfg)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "guard: ") {
				t.Fatalf("error %v, want %q in it", err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "crv_") {
				t.Errorf("the error tells a secret: %v", err)
			}
			if took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if n := a.Verifiers(); n != 0 {
		t.Errorf("%d leases are left of guards that were not opened", n)
	}
}

func TestOpenWaitsAsLongAsItMay(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	l.Close()
	silent := guardtest.New(t)
	silent.Silence()
	for name, tc := range map[string]struct {
		url, want string
	}{
		"refused": {nobody, "connection refused"}, "silent": {silent.URL, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			took, err := openFor(t, 400*time.Millisecond, guard.Config{Authority: tc.url})
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want a deadline and %q", err, tc.want)
			}
			if took < 350*time.Millisecond || took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	// An authority that comes up meanwhile is enough.
	late := guardtest.New(t)
	late.Down()
	time.AfterFunc(300*time.Millisecond, late.Resume)
	if _, err := openFor(t, 10*time.Second, guard.Config{Authority: late.URL}); err != nil {
		t.Errorf("an authority that came up: %v", err)
	}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestStartStale(t *testing.T) {
	a := guardtest.New(t)
	a.Down()
	var log syncBuffer
	start := time.Now()
	g := a.Guard(t, guard.Config{StartStale: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	url := serve(t, g.Middleware(whoami)).URL
	text, _ := a.Issue(guardtest.Token{})
	get(t, url, bearer(text)).wantError(t, 503, "verifier_stale")
	if s := g.Status(); s.Lease > 0 || s.Lag >= 0 {
		t.Errorf("status %+v", s)
	}
	eventually(t, "an error in the status", func() bool { return g.Status().Err != nil })
	a.Resume()
	waitLease(t, g)
	get(t, url, bearer(text)).want(t, 200)
	eventually(t, "a line in the log", func() bool { return strings.Contains(log.String(), "this guard has a lease") })
}

func TestClose(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	h := newWaiting()
	url := serve(t, g.Middleware(h)).URL
	text, session := a.Issue(guardtest.Token{})
	open(t, url, bearer(text))
	within(t, 5*time.Second, "the request", h.started)
	if n := a.Verifiers(); n != 1 {
		t.Fatalf("%d verifiers", n)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if cause, _ := within(t, promised, "the end of what ran", h.ended); !errors.Is(cause, guard.ErrClosed) || !errors.Is(cause, curfew.ErrStale) {
		t.Errorf("cause %v", cause)
	}
	get(t, url, bearer(text)).wantError(t, 503, "verifier_stale")
	if _, err := g.Verify(t.Context(), text); !errors.Is(err, curfew.ErrStale) {
		t.Errorf("error %v", err)
	}
	// Nobody waits for a guard that said goodbye.
	if n := a.Verifiers(); n != 0 {
		t.Errorf("%d verifiers", n)
	}
	if r := a.Revoke(session); r.Verifiers != 0 || r.Took > time.Second {
		t.Errorf("receipt %v", r)
	}
	if err := g.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// Closing with an authority that does not answer takes no longer than it must.
func TestCloseWithoutTheAuthority(t *testing.T) {
	t.Parallel()
	a, g := newGuard(t, guard.Config{})
	a.Silence()
	start := time.Now()
	if err := g.Close(); err == nil {
		t.Error("the lease cannot have been released")
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}
