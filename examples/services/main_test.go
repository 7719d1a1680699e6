package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/curfewhq/curfew/guard/guardtest"
)

// start runs the service and returns its URL.
func start(t *testing.T, a *guardtest.Authority, name string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r, w := io.Pipe()
	go func() {
		done <- run(ctx, []string{"-authority", a.URL, "-listen", "127.0.0.1:0", "-name", name}, "crv_test", w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, r)
			return m[1]
		}
	}
	t.Fatal("the service did not say where it listens")
	return ""
}

func get(t *testing.T, url, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// A logout ends everything that two services do for a session: requests, an
// event stream and a WebSocket, within a second.
func TestLogoutEndsEverything(t *testing.T) {
	a := guardtest.New(t)
	a.RequireKey("crv_test")
	orders, shop := start(t, a, "orders"), start(t, a, "shop")
	token, session := a.Issue(guardtest.Token{Subject: "carol", Roles: []string{"buyer"}})

	var who struct {
		Service, Subject, Session string
		Roles                     []string
	}
	resp := get(t, shop, token)
	if err := json.NewDecoder(resp.Body).Decode(&who); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	if who.Service != "shop" || who.Subject != "carol" || who.Session != session || len(who.Roles) != 1 {
		t.Errorf("%+v", who)
	}
	events := get(t, orders+"/events", token)
	stream := bufio.NewReader(events.Body)
	if line, err := stream.ReadString('\n'); err != nil || line != "event: tick\n" {
		t.Fatalf("%q, %v", line, err)
	}
	ws, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(shop, "http")+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := ws.Read(t.Context()); err != nil || string(msg) != "hello" {
		t.Fatalf("%q, %v", msg, err)
	}

	if r := a.Revoke(session); r.State != "enforced" || r.Verifiers != 2 {
		t.Errorf("receipt %v", r)
	}
	start := time.Now()
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	_, _, err = ws.Read(t.Context())
	if code := websocket.CloseStatus(err); code != sessionEnded || !strings.Contains(err.Error(), "the session has ended: user") {
		t.Errorf("the socket ended with %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	for _, url := range []string{orders, orders + "/events", shop, shop + "/ws"} {
		if resp := get(t, url, token); resp.StatusCode != 401 {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
}

// A service that stops is not waited for.
func TestStop(t *testing.T) {
	a := guardtest.New(t)
	t.Run("running", func(t *testing.T) {
		start(t, a, "orders")
		if n := a.Verifiers(); n != 1 {
			t.Errorf("%d verifiers", n)
		}
	})
	if n := a.Verifiers(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
}

func TestWrongKey(t *testing.T) {
	a := guardtest.New(t)
	a.RequireKey("crv_test")
	err := run(t.Context(), []string{"-authority", a.URL}, "", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "curfew verifiers add") {
		t.Errorf("error %v", err)
	}
}
