package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The four cases of the published Jest example, as they stand there.

func TestLogsOutSuccessfullyWithAValidToken(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	if !strings.Contains(p.str("message"), "successful") {
		t.Errorf("message is %q", p.str("message"))
	}
}

func TestLogoutFailsWithoutAToken(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, opts := range map[string][]opt{
		"nothing":                   nil,
		"content type and no body":  {header("Content-Type", "application/json")},
		"empty object":              {sendJSON(M{})},
		"empty bearer":              {header("Authorization", "Bearer ")},
		"other scheme":              {header("Authorization", "Basic YWxpY2U6eA==")},
		"empty refresh token":       {sendJSON(M{"refresh_token": ""})},
		"refresh token that is nil": {sendJSON(M{"refresh_token": nil})},
	} {
		p := f.call(t, "POST", "/logout", opts...).wantError(401, "no_credential")
		if got := p.header.Get("WWW-Authenticate"); got != `Bearer realm="curfew"` {
			t.Errorf("WWW-Authenticate is %q; without a credential there is no error (RFC 6750 §3.1)", got)
		}
	}
}

func TestLogoutInvalidatesRefreshTokens(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	login := f.call(t, "POST", "/token", sendJSON(M{"grant_type": "password", "email": "alice@example.com", "password": alicePassword})).want(200)
	f.call(t, "POST", "/logout", bearer(login.str("access_token"))).want(200)
	f.call(t, "POST", "/token", sendJSON(M{"grant_type": "refresh_token", "refresh_token": login.str("refresh_token")})).want(400)
}

func TestLogsOutFromAllDevices(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.call(t, "POST", "/logout/all", bearer(k.access)).want(200)
	if !strings.Contains(p.str("message"), "all devices") {
		t.Errorf("message is %q", p.str("message"))
	}
}

// The middleware of the example answers a token that was logged out with this
// code and text.
func TestRefusalHasThePublishedBody(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	p := f.call(t, "GET", "/user", bearer(k.access)).want(401)
	want := `{"code":401,"error_code":"session_revoked","msg":"Token has been invalidated"}` + "\n"
	if diff := cmp.Diff(want, string(p.body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if got, want := p.header.Get("WWW-Authenticate"), `Bearer realm="curfew", error="invalid_token", error_description="Token has been invalidated"`; got != want {
		t.Errorf("WWW-Authenticate is %s, want %s", got, want)
	}
}

// The answers to a logout, member by member.
func TestLogoutAnswersExactly(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, c := range []struct {
		name, path, message, scope string
		body                       M
		ended                      float64
	}{
		{"local", "/logout", "Logout successful", "local", nil, 1},
		{"local by name", "/logout", "Logout successful", "local", M{"scope": "local"}, 1},
		{"others", "/logout", "Logout successful", "others", M{"scope": "others"}, 1},
		{"global", "/logout", "Logged out from all devices", "global", M{"scope": "global"}, 2},
		{"scope in the query", "/logout?scope=global", "Logged out from all devices", "global", nil, 2},
		{"all", "/logout/all", "Logged out from all devices", "global", nil, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"user": "alice"})).want(200)
			k := f.loginAlice(t)
			f.loginAlice(t)
			before := time.Now().Truncate(time.Second)
			opts := []opt{bearer(k.access)}
			if c.body != nil {
				opts = append(opts, sendJSON(c.body))
			}
			p := f.call(t, "POST", c.path, opts...).want(200)
			at, err := time.Parse(time.RFC3339, p.str("timestamp"))
			if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) || len(p.str("timestamp")) != len("2026-11-20T10:30:00Z") {
				t.Errorf("timestamp is %q (%v)", p.str("timestamp"), err)
			}
			st, err := f.State(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, _ := p.get("revocation").(M)
			delete(got, "took_ms")
			want := M{"seq": float64(st.Head.Seq), "state": "enforced", "verifiers": 0.0}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("revocation (-want +got):\n%s", diff)
			}
			if p.str("message") != c.message || p.str("scope") != c.scope || p.get("sessions_ended") != c.ended {
				t.Errorf("answer is %s", p.body)
			}
			for _, name := range []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
				if p.header.Get(name) == "" {
					t.Errorf("no %s", name)
				}
			}
		})
	}
}
