package guardtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

func mustAccept(t *testing.T, g *guard.Guard, credential string) {
	t.Helper()
	if _, err := g.Verify(t.Context(), credential); err != nil {
		t.Fatalf("refused: %v", err)
	}
}

func mustRefuse(t *testing.T, g *guard.Guard, credential string, want error) {
	t.Helper()
	if _, err := g.Verify(t.Context(), credential); !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Each way to end something ends it for every guard, and nothing else.
func TestRevoke(t *testing.T) {
	for _, tc := range []struct {
		name   string
		revoke func(a *guardtest.Authority, text, session string) guardtest.Receipt
		other  guardtest.Token // of a credential that lives on
		cookie bool            // whether a cookie ends too
	}{
		{"session", func(a *guardtest.Authority, _, s string) guardtest.Receipt { return a.Revoke(s) }, guardtest.Token{}, true},
		{"subject", func(a *guardtest.Authority, _, _ string) guardtest.Receipt { return a.RevokeSubject("carol") }, guardtest.Token{Subject: "dave"}, true},
		{"client", func(a *guardtest.Authority, _, _ string) guardtest.Receipt { return a.RevokeClient("app") }, guardtest.Token{Client: "web"}, true},
		{"token", func(a *guardtest.Authority, text, _ string) guardtest.Receipt { return a.RevokeToken(text) }, guardtest.Token{Session: "s1"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := guardtest.New(t)
			one, two := a.Guard(t, guard.Config{}), a.Guard(t, guard.Config{})
			text, session := a.Issue(guardtest.Token{Subject: "carol", Client: "app", Session: "s1"})
			cookie, _ := a.Cookie(guardtest.Token{Subject: "carol", Client: "app", Session: "s1"})
			other, _ := a.Issue(tc.other)
			for _, g := range []*guard.Guard{one, two} {
				mustAccept(t, g, text)
				mustAccept(t, g, cookie)
			}
			r := tc.revoke(a, text, session)
			if r.State != "enforced" || r.Verifiers != 2 || r.Seq != 1 || len(r.Unacknowledged) != 0 || r.Took <= 0 {
				t.Errorf("receipt %v", r)
			}
			for _, g := range []*guard.Guard{one, two} {
				mustRefuse(t, g, text, curfew.ErrRevoked)
				mustAccept(t, g, other)
				if tc.cookie {
					mustRefuse(t, g, cookie, curfew.ErrRevoked)
				} else {
					mustAccept(t, g, cookie)
				}
			}
			// The login after it.
			again, _ := a.Issue(guardtest.Token{Subject: "carol", Client: "app"})
			mustAccept(t, one, again)
		})
	}
}

func TestRevokeKeyAndEverything(t *testing.T) {
	a := guardtest.New(t)
	g := a.Guard(t, guard.Config{})
	old, _ := a.Issue(guardtest.Token{})
	first := a.KeyID()
	if second := a.RotateKey(); second == first || a.KeyID() != second {
		t.Fatalf("keys %s and %s", first, second)
	}
	young, _ := a.Issue(guardtest.Token{})
	mustAccept(t, g, old)
	mustAccept(t, g, young)
	a.RevokeKey(first)
	mustRefuse(t, g, young+"x", curfew.ErrInvalidToken)
	if _, err := g.Verify(t.Context(), old); err == nil {
		t.Fatal("a token of a revoked key was accepted")
	}
	mustAccept(t, g, young)
	a.RevokeKey(a.KeyID())
	fresh, _ := a.Issue(guardtest.Token{})
	mustAccept(t, g, fresh)
	cookie, _ := a.Cookie(guardtest.Token{})
	mustAccept(t, g, cookie)
	a.RevokeEverything()
	mustRefuse(t, g, fresh, curfew.ErrRevoked)
	mustRefuse(t, g, cookie, curfew.ErrRevoked)
}

// A guard that does not answer is waited out, and named.
func TestSilenceAndDown(t *testing.T) {
	for name, cut := range map[string]func(*guardtest.Authority){
		"silent": (*guardtest.Authority).Silence,
		"down":   (*guardtest.Authority).Down,
	} {
		t.Run(name, func(t *testing.T) {
			a := guardtest.New(t)
			a.SetLease(600 * time.Millisecond)
			g := a.Guard(t, guard.Config{})
			text, session := a.Issue(guardtest.Token{})
			other, _ := a.Issue(guardtest.Token{})
			mustAccept(t, g, text)
			cut(a)
			p := a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: curfew.ReasonUser})
			if s := p.Status(); s.State != "recorded" || len(s.Unacknowledged) != 1 {
				t.Errorf("status %v", s)
			}
			mustAccept(t, g, text) // it cannot know
			r := p.Wait()
			if r.State != "enforced" || !slices.Equal(r.Unacknowledged, []string{g.Status().Instance}) {
				t.Errorf("receipt %v", r)
			}
			mustRefuse(t, g, text, curfew.ErrStale)
			mustRefuse(t, g, other, curfew.ErrStale)
			if a.Verifiers() != 0 {
				t.Errorf("%d verifiers", a.Verifiers())
			}
			a.Resume()
			eventually(t, "a new lease", func() bool { return g.Status().Lease > 0 })
			mustRefuse(t, g, text, curfew.ErrRevoked)
			mustAccept(t, g, other)
		})
	}
}

// A guard that missed more than is kept as lines, and one that is new, start
// from a snapshot.
func TestCompact(t *testing.T) {
	a := guardtest.New(t)
	a.SetLease(600 * time.Millisecond)
	g := a.Guard(t, guard.Config{})
	text, session := a.Issue(guardtest.Token{})
	other, _ := a.Issue(guardtest.Token{})
	a.Down()
	a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: curfew.ReasonUser})
	a.Compact()
	if n := a.Asked().Snapshots; n != 0 {
		t.Fatalf("%d snapshots before", n)
	}
	a.Resume()
	late := a.Guard(t, guard.Config{})
	eventually(t, "a new lease", func() bool { return g.Status().Lease > 0 })
	for _, g := range []*guard.Guard{g, late} {
		mustRefuse(t, g, text, curfew.ErrRevoked)
		mustAccept(t, g, other)
		if got := g.Status().Seq; got != a.Head() {
			t.Errorf("watermark %d, head %d", got, a.Head())
		}
	}
	if n := a.Asked().Snapshots; n != 2 {
		t.Errorf("%d snapshots, want 2", n)
	}
}

// After Rewind the log is shorter than what the guards have seen, and what was
// issued before is dead nevertheless, whatever position it carries.
func TestRewind(t *testing.T) {
	a := guardtest.New(t)
	a.SetLease(600 * time.Millisecond)
	g := a.Guard(t, guard.Config{})
	for range 20 {
		_, session := a.Issue(guardtest.Token{})
		a.Revoke(session)
	}
	text, _ := a.Issue(guardtest.Token{})
	cookie, _ := a.Cookie(guardtest.Token{})
	mustAccept(t, g, text)
	mustAccept(t, g, cookie)
	pending := a.Head()
	r := a.Rewind()
	if r.State != "enforced" || r.Seq >= pending {
		t.Errorf("receipt %v", r)
	}
	if _, err := g.Verify(t.Context(), text); err == nil || errors.Is(err, curfew.ErrStale) {
		t.Errorf("a token from before the restore: %v", err)
	}
	if _, err := g.Verify(t.Context(), cookie); err == nil || errors.Is(err, curfew.ErrStale) {
		t.Errorf("a cookie from before the restore: %v", err)
	}
	again, session := a.Issue(guardtest.Token{})
	mustAccept(t, g, again)
	a.Revoke(session)
	mustRefuse(t, g, again, curfew.ErrRevoked)
}

func TestActivity(t *testing.T) {
	a := guardtest.New(t)
	a.SetLease(600 * time.Millisecond)
	g := a.Guard(t, guard.Config{})
	token, session := a.Issue(guardtest.Token{})
	_, quiet := a.Issue(guardtest.Token{})
	before := time.Now().Add(-time.Second)
	eventually(t, "a report", func() bool {
		get(g.Middleware(hello), token)
		_, ok := a.LastSeen(session)
		return ok
	})
	if at, _ := a.LastSeen(session); at.Before(before) || at.After(time.Now()) {
		t.Errorf("seen at %v", at)
	}
	if _, ok := a.LastSeen(quiet); ok {
		t.Error("a session was seen that nobody used")
	}
}

// fatal is what a test that misuses the package is told.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Helper() {}
func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

// What cannot be done ends the test, and says why.
func TestMisuse(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(a *guardtest.Authority, f *fatal)
		want string
	}{
		"unknown session":  {func(a *guardtest.Authority, _ *fatal) { a.Revoke("nobody") }, `no session "nobody" here`},
		"text for session": {func(a *guardtest.Authority, _ *fatal) { text, _ := a.Issue(guardtest.Token{}); a.Revoke(text) }, "Issue returns the session beside it"},
		"unknown subject":  {func(a *guardtest.Authority, _ *fatal) { a.RevokeSubject("alicia") }, `no subject "alicia" here`},
		"unknown client":   {func(a *guardtest.Authority, _ *fatal) { a.RevokeClient("") }, `no client "" here`},
		"unknown key":      {func(a *guardtest.Authority, _ *fatal) { a.RevokeKey("k1") }, `no key "k1" here`},
		"unknown token":    {func(a *guardtest.Authority, _ *fatal) { a.RevokeToken("a.b.c") }, "not the text of a token"},
		"cookie as token":  {func(a *guardtest.Authority, _ *fatal) { v, _ := a.Cookie(guardtest.Token{}); a.RevokeToken(v) }, "not the text of a token"},
		"no kind":          {func(a *guardtest.Authority, _ *fatal) { a.Record(curfew.Revocation{}) }, "needs a Kind"},
		"no target":        {func(a *guardtest.Authority, _ *fatal) { a.Record(curfew.Revocation{Kind: curfew.KindKey}) }, "a revocation of a key needs a Target"},
		"bad claims":       {func(a *guardtest.Authority, _ *fatal) { a.Issue(guardtest.Token{Ver: -1}) }, "ver is out of range"},
		"tiny lease":       {func(a *guardtest.Authority, _ *fatal) { a.SetLease(time.Microsecond) }, "not 1µs"},
		"late lease": {func(a *guardtest.Authority, f *fatal) {
			a.Guard(f, guard.Config{})
			a.SetLease(time.Second)
		}, "before the first guard is opened"},
		"bad config":   {func(a *guardtest.Authority, f *fatal) { a.Guard(f, guard.Config{Mode: 9}) }, "guardtest: Guard: guard: "},
		"rewound away": {func(a *guardtest.Authority, f *fatal) { rewoundAway(a, f) }, "is of the time before Rewind"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fatal{TB: t}
			a := guardtest.New(f)
			defer func() {
				if got := recover(); got != any(f) {
					t.Fatalf("ended with %v, want Fatalf", got)
				}
				if !strings.Contains(f.text, tc.want) || !strings.HasPrefix(f.text, "guardtest: ") {
					t.Errorf("text %q, want %q in it", f.text, tc.want)
				}
			}()
			tc.do(a, f)
		})
	}
}

func rewoundAway(a *guardtest.Authority, f *fatal) {
	a.SetLease(500 * time.Millisecond)
	a.Guard(f, guard.Config{})
	_, session := a.Issue(guardtest.Token{})
	a.Down()
	p := a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session})
	a.Resume()
	a.Rewind()
	p.Wait()
}

// Guards of the user's own making follow it like any authority.
func TestOpenByHand(t *testing.T) {
	a := guardtest.New(t)
	a.RequireKey("crv_secret")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := guard.Open(ctx, guard.Config{Authority: a.URL, Key: "crv_other"}); err == nil || ctx.Err() != nil {
		t.Fatalf("a wrong key: %v", err)
	}
	g, err := guard.Open(ctx, guard.Config{Authority: a.URL, Key: "crv_secret"})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := a.Issue(guardtest.Token{})
	mustAccept(t, g, text)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if a.Verifiers() != 0 {
		t.Error("a guard that was closed holds a lease")
	}
	mustAccept(t, a.Guard(t, guard.Config{}), text)
}

// post sends JSON to the authority, as the server of a site does.
func post(t *testing.T, url, key, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// Sites sign people in and out.
func TestSignInAndOut(t *testing.T) {
	a := guardtest.New(t)
	a.RequireKey("crv_site")
	a.AddUser(guardtest.User{Username: "carol", Email: "carol@example.com", Name: "Carol", Password: "a secret", Roles: []string{"buyer"}})
	g := a.Guard(t, guard.Config{})
	in := func() (value string) {
		status, out := post(t, a.URL+"/sessions", "crv_site", `{"email":"carol@example.com","password":"a secret"}`)
		if user, _ := out["user"].(map[string]any); status != 201 || user["name"] != "Carol" || out["session_id"] == "" {
			t.Fatalf("%d %v", status, out)
		}
		value, _ = out["session_cookie"].(string)
		c, err := g.Verify(t.Context(), value)
		if err != nil || c.Subject != "carol" || c.Session != out["session_id"] || !slices.Equal(c.Roles, []string{"buyer"}) {
			t.Fatalf("%+v, %v", c, err)
		}
		return value
	}
	out := func(value, scope string, wantStatus int, wantEnded float64) {
		t.Helper()
		status, got := post(t, a.URL+"/logout", "", fmt.Sprintf(`{"session_cookie":%q,"scope":%q}`, value, scope))
		if status != wantStatus || status == 200 && (got["sessions_ended"] != wantEnded || got["revocation"].(map[string]any)["state"] != "enforced") {
			t.Fatalf("%d %v", status, got)
		}
	}
	one, two, three := in(), in(), in()
	out(one, "local", 200, 1)
	mustRefuse(t, g, one, curfew.ErrRevoked)
	mustAccept(t, g, two)
	out(one, "global", 200, 0) // it is dead, and ends nothing more
	mustAccept(t, g, two)
	out(two, "others", 200, 1)
	mustAccept(t, g, two)
	mustRefuse(t, g, three, curfew.ErrRevoked)
	four := in()
	out(four, "global", 200, 2)
	mustRefuse(t, g, two, curfew.ErrRevoked)
	mustRefuse(t, g, four, curfew.ErrRevoked)
	mustAccept(t, g, in())
	out("cs_nobody", "", 401, 0)
	if n := a.Asked(); n.Sessions != 5 || n.Logouts != 5 {
		t.Errorf("asked %+v", n)
	}
}

func TestSignInRefused(t *testing.T) {
	a := guardtest.New(t)
	a.AddUser(guardtest.User{Username: "dave", Password: "a secret", MustChange: true})
	for _, tc := range []struct {
		body, code string
		status     int
	}{
		{`{"username":"nobody","password":"a secret"}`, "invalid_credentials", 400},
		{`{"username":"dave","password":"another"}`, "invalid_credentials", 400},
		{`{"username":"dave","password":"a secret"}`, "password_change_required", 400},
		{`{"username":"dave","password":"a secret","new_password":"a secret"}`, "same_password", 422},
		{`{"username":"dave","password":"a secret","new_password":"short"}`, "weak_password", 422},
		{`[]`, "invalid_request", 400},
		{`{"username":"dave","password":"a secret","new_password":"long enough"}`, "", 201},
		{`{"username":"dave","password":"long enough"}`, "", 201},
	} {
		if status, out := post(t, a.URL+"/sessions", "", tc.body); status != tc.status || tc.code != "" && out["error_code"] != tc.code {
			t.Errorf("%s: %d %v, want %d %s", tc.body, status, out, tc.status, tc.code)
		}
	}
	a.RequireKey("crv_site")
	if status, out := post(t, a.URL+"/sessions", "crv_other", `{}`); status != 401 {
		t.Errorf("without the key: %d %v", status, out)
	}
}
