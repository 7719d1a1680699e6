package routertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// Run checks the routes of an example: /public, which is open, and / and
// /strict, which are guarded and say who is asking.
func Run(t *testing.T, routes func(*guard.Guard) http.Handler) {
	t.Helper()
	a := guardtest.New(t)
	srv := httptest.NewServer(routes(a.Guard(t, guard.Config{})))
	defer srv.Close()
	token, session := a.Issue(guardtest.Token{Subject: "carol"})
	for _, tc := range []struct {
		path, token string
		status      int
		body        string
	}{
		{"/public", "", 200, "hello"},
		{"/", "", 401, ""},
		{"/", "a.b.c", 401, ""},
		{"/", token, 200, "carol"},
		{"/strict", token, 200, "carol"},
	} {
		status, body := get(t, srv.URL+tc.path, tc.token)
		if status != tc.status || tc.body != "" && body != tc.body {
			t.Errorf("GET %s: %d %q, want %d %q", tc.path, status, body, tc.status, tc.body)
		}
	}
	if n := a.Asked().Confirms; n != 1 {
		t.Errorf("the strict route asked %d times", n)
	}
	a.Revoke(session)
	for _, path := range []string{"/", "/strict"} {
		if status, body := get(t, srv.URL+path, token); status != 401 {
			t.Errorf("GET %s after the logout: %d %q", path, status, body)
		}
	}
}

// Ends checks that a stream of the router ends although its handler ignores the
// context. mount puts the handler behind the guard.
func Ends(t *testing.T, mount func(g *guard.Guard, stream http.HandlerFunc) http.Handler) {
	t.Helper()
	a := guardtest.New(t)
	srv := httptest.NewServer(mount(a.Guard(t, guard.Config{}), func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			fmt.Fprintln(w, "data: tick")
			http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}))
	defer srv.Close()
	token, session := a.Issue(guardtest.Token{})
	resp := open(t, srv.URL, token)
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	a.Revoke(session)
	start := time.Now()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("a stream that was cut off looks whole")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func open(t *testing.T, url, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	resp := open(t, url, token)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
