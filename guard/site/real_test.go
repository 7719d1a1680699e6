package site_test

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/site"
	"github.com/curfewhq/curfew/internal/app"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/store"
)

// startReal starts a site of the real authority, with the options that are given
// by their keys.
func startReal(t *testing.T, options map[string]string) *fixture {
	t.Helper()
	flags := map[string]string{
		"listen": "127.0.0.1:0", "data": t.TempDir(), "feed.lease": "1s",
		// Cheap hashing keeps the tests about sessions.
		"password.memory_kib": "64", "password.iterations": "1",
	}
	maps.Copy(flags, options)
	c, err := config.Load(config.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	key := ""
	var real *authority.Authority
	seed := func(ctx context.Context, a *authority.Authority) (err error) {
		real = a
		for _, u := range []authority.NewUser{
			{Email: "alice@example.com", Username: "alice", Name: "Alice", Password: alicePassword},
			{Email: "bob@example.com", Name: "Bob", Password: bobPassword},
		} {
			if _, err := a.CreateUser(ctx, u, authority.System, authority.Origin{}); err != nil {
				return err
			}
		}
		key, err = a.CreateAPIKey(ctx, "site", authority.KindVerifier, authority.System, authority.Origin{})
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Serve(ctx, c, app.Options{
			Version: "test", Logger: slog.New(slog.DiscardHandler), Seed: seed, Ready: func(r app.Running) { ready <- r.URL },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f := &fixture{t: t, mux: http.NewServeMux(), logs: &logBuffer{}}
	gc := guard.Config{Logger: slog.New(slog.NewTextHandler(f.logs, nil))}
	select {
	case gc.Authority = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	f.real = real
	gc.Key = key
	if f.Site, err = site.Open(t.Context(), site.Config{Guard: gc}); err != nil {
		t.Fatal(err)
	}
	if f.other, err = guard.Open(t.Context(), guard.Config{Authority: gc.Authority, Key: key}); err != nil {
		t.Fatal(err)
	}
	f.routes()
	f.server = httptest.NewTLSServer(f.mux)
	t.Cleanup(func() {
		f.server.Close()
		for _, close := range []func() error{f.other.Close, f.Close} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
	})
	return f
}

// The same as with guardtest, which only imitates the authority.
func TestRealAuthority(t *testing.T) {
	f := startReal(t, nil)
	b, phone := f.browser(), f.browser()
	b.post("/login", "login=alice&password=wrong").want(http.StatusBadRequest)
	value := b.signIn("alice", "remember", "on")
	other := phone.signIn("alice@example.com")
	b.get("/").wantBody("hello alice@example.com")
	f.wantLive(value, "alice@example.com")

	// A sign-in on the same browser ends what was there.
	bob := b.signIn("bob@example.com")
	eventually(t, "the end elsewhere", func() bool { _, err := f.other.Verify(t.Context(), value); return err != nil })
	f.wantDead(value)

	b.post("/signout", "", header("User-Agent", "a browser")).wantLogin("", "user").wantDeleted(true)
	f.wantDead(bob)
	entries, err := f.real.Audit(t.Context(), store.AuditFilter{Event: audit.SessionLogout, Newest: true, Limit: 1})
	if err != nil || len(entries) != 1 || entries[0].UserAgent != "a browser" || entries[0].Reason != curfew.ReasonUser {
		t.Errorf("the audit trail does not name who signed out: %+v, %v", entries, err)
	}
	b.post("/signout", "", cookie(guard.SessionCookie, bob)).wantLogin("", "user") // again

	value = b.signIn("alice")
	b.post("/signout", "scope=others").want(http.StatusSeeOther)
	f.wantDead(other)
	f.wantLive(value, "alice@example.com")
	other = phone.signIn("alice")
	b.post("/signout", "scope=global").wantLogin("", "user")
	f.wantDead(value)
	f.wantDead(other)

	f.handle("POST /receipt", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		receipt, err := f.SignOut(w, r)
		if err != nil || receipt.Ended != 1 || receipt.State != "enforced" || receipt.Verifiers != 2 || receipt.Seq == 0 {
			t.Errorf("%+v, %v", receipt, err)
		}
	})
	b.signIn("alice")
	b.post("/receipt", "").want(http.StatusOK)
}

// Idle users are signed out by the server, whatever their browser does. A page
// that polls does not keep a session alive; a person does.
func TestIdleUsersAreSignedOut(t *testing.T) {
	const idle = time.Second
	f := startReal(t, map[string]string{"sessions.idle_timeout": idle.String()})
	busy, away := f.browser(), f.browser()
	first := busy.signIn("alice")
	left := away.signIn("alice")
	background := header(guard.BackgroundHeader, "1")
	for end, gone := time.Now().Add(20*time.Second), false; !gone; {
		if time.Now().After(end) {
			t.Fatal("a session that is only polled for is not signed out")
		}
		busy.get("/").wantBody("hello alice@example.com")
		gone = away.get("/members", background).StatusCode == http.StatusSeeOther
		time.Sleep(50 * time.Millisecond)
	}
	f.wantDead(left)
	if away.value() != "" {
		t.Error("the browser has kept the cookie")
	}
	f.wantLive(first, "alice@example.com")
}

// The absolute limit holds whatever the person does.
func TestAbsoluteExpiry(t *testing.T) {
	f := startReal(t, map[string]string{"sessions.lifetime": "3s", "tokens.access_life": "1s"})
	b := f.browser()
	p := b.post("/login", "login=alice&password=correct+horse+battery&remember=on").want(http.StatusSeeOther)
	if age := p.set().MaxAge; age < 1 || age > 3 {
		t.Errorf("the cookie stays for %d s", age)
	}
	value, start := b.value(), time.Now()
	thief := f.browser() // does not care how long a cookie may be kept
	for thief.get("/members", cookie(guard.SessionCookie, value)).StatusCode == http.StatusOK {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the session outlives its limit")
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.wantDead(value)
	if u, err := url.Parse(f.server.URL); err != nil || len(b.jar.Cookies(u)) != 0 {
		t.Errorf("the browser has kept %v", b.jar.Cookies(u))
	}
}
