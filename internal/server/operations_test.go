package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/google/go-cmp/cmp"
)

// Without a key introspection would tell a thief which of his tokens are good.
func TestIntrospectionIsNoOracle(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	for name, opts := range map[string][]opt{
		"nothing":              {sendForm("token", k.access)},
		"the token itself":     {bearer(k.access), sendForm("token", k.access)},
		"a refresh token":      {bearer(k.refresh), sendForm("token", k.refresh)},
		"an unknown key":       {bearer("crv_" + strings.Repeat("A", 52)), sendForm("token", k.access)},
		"a key cut short":      {bearer(f.verifier[:len(f.verifier)-1]), sendForm("token", k.access)},
		"a key in another way": {header("Authorization", "Basic "+f.verifier), sendForm("token", k.access)},
		"a key in the body":    {sendForm("token", k.access, "key", f.verifier, "client_secret", f.verifier)},
	} {
		live := f.call(t, "POST", "/introspect", opts...).want(401)
		if live.str("error") != "invalid_client" {
			t.Errorf("%s: error is %q", name, live.str("error"))
		}
		// And the answer is the same whatever the token is.
		dead := f.call(t, "POST", "/introspect", append(opts, sendForm("token", "garbage"))...)
		if diff := cmp.Diff(visible(live), visible(dead)); diff != "" {
			t.Errorf("%s: live and dead differ:\n%s", name, diff)
		}
	}
	f.call(t, "POST", "/introspect", bearer(f.verifier), sendForm("token", "")).wantError(400, "invalid_request")
	f.isLive(t, "the session", &k)
}

func TestIntrospectionSaysWhatTheTokenSays(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Audience: "orders"}})
	admin := f.login(t, "admin@example.com", adminPassword)
	for _, o := range []opt{sendForm("token", admin.access, "token_type_hint", "refresh_token"), sendJSON(M{"token": admin.access})} {
		p := f.call(t, "POST", "/introspect", bearer(f.operator), o).want(200)
		c, err := token.Parse(admin.access, keySet(t, f.call(t, "GET", "/.well-known/jwks.json").want(200)), token.Expect{Issuer: f.URL, Audience: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		var got M
		if err := json.Unmarshal(p.body, &got); err != nil {
			t.Fatal(err)
		}
		want := M{
			"active": true, "token_type": "Bearer", "iss": f.URL, "sub": f.admin.ID, "aud": []any{"orders"}, "client_id": "default",
			"username": "admin@example.com", "exp": float64(c.Exp), "iat": float64(c.Iat), "auth_time": float64(c.AuthTime),
			"jti": c.ID, "sid": admin.session, "roles": []any{"admin"}, "email": "admin@example.com",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("introspection (-want +got):\n%s", diff)
		}
	}
	p := f.introspect(t, admin.refresh)
	if p.str("token_type") != "refresh_token" || p.str("sid") != admin.session || p.get("jti") != nil {
		t.Errorf("refresh token: %s", p.body)
	}
	// A spent refresh token is not active, though it may be repeated for a moment.
	next := f.tokensOf(f.tryRefresh(t, admin.refresh).want(200), "")
	if got := strings.TrimSpace(string(f.introspect(t, admin.refresh).body)); got != `{"active":false}` {
		t.Errorf("spent refresh token: %s", got)
	}
	f.isLive(t, "the session", &next)
}

// keySet reads a published key set as a verifier would.
func keySet(t *testing.T, p reply) *token.KeySet {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(p.body, &set); err != nil {
		t.Fatal(err)
	}
	var keys []token.PublicKey
	for _, raw := range set.Keys {
		k, err := token.ParseJWK(raw)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return token.NewKeySet(keys...)
}

func TestMetadataListsOnlyWhatExists(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Scopes: []string{"read"}}})
	p := f.call(t, "GET", "/.well-known/oauth-authorization-server").want(200)
	if p.str("issuer") != f.URL {
		t.Errorf("issuer is %q, want %q (RFC 8414 §3.3)", p.str("issuer"), f.URL)
	}
	var doc M
	if err := json.Unmarshal(p.body, &doc); err != nil {
		t.Fatal(err)
	}
	n := 0
	for name, v := range doc {
		u, ok := v.(string)
		if !ok || name == "issuer" {
			continue
		}
		path, ours := strings.CutPrefix(u, f.URL)
		if !ours {
			t.Errorf("%s is %s", name, u)
			continue
		}
		n++
		method := "POST"
		if name == "jwks_uri" {
			method = "GET"
		}
		if p := f.call(t, method, path); p.status == 404 || p.status == 405 {
			t.Errorf("%s: %s answers %d", name, u, p.status)
		}
	}
	if n != 4 {
		t.Errorf("%d URLs, want 4", n)
	}
	for _, grant := range doc["grant_types_supported"].([]any) {
		p := f.call(t, "POST", "/token", sendForm("grant_type", grant.(string)))
		if p.str("error") == "unsupported_grant_type" {
			t.Errorf("grant type %s is listed and not supported", grant)
		}
	}
}

func TestKeySetIsPublic(t *testing.T) {
	t.Parallel()
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			f := start(t, options{Config: authority.Config{Algorithm: alg}})
			k := f.loginAlice(t)
			// The description knows public members only: a private one fails there.
			p := f.call(t, "GET", "/.well-known/jwks.json").want(200)
			if keys := p.list("keys"); len(keys) != 1 || keys[0]["alg"] != string(alg) || keys[0]["d"] != nil {
				t.Errorf("keys: %s", p.body)
			}
			if _, err := token.Parse(k.access, keySet(t, p), token.Expect{Issuer: f.URL, Audience: "curfew"}); err != nil {
				t.Errorf("a token does not verify with the published key: %v", err)
			}
		})
	}
}

// A key is published as long as a token of it may be good, and not when it is
// revoked.
func TestRevokedKeyLeavesTheKeySet(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	kids := func() []string {
		var out []string
		for _, k := range f.call(t, "GET", "/.well-known/jwks.json").want(200).list("keys") {
			out = append(out, k["kid"].(string))
		}
		return out
	}
	first := kids()[0]
	f.call(t, "POST", "/admin/keys/rotate", bearer(f.operator)).want(200)
	if len(kids()) != 2 {
		t.Errorf("keys after a rotation: %v", kids())
	}
	p := f.call(t, "POST", "/admin/keys/"+first+"/revoke", bearer(f.operator)).want(200)
	if left := kids(); len(left) != 1 || left[0] == first {
		t.Errorf("keys after the revocation: %v", left)
	}
	again := f.call(t, "POST", "/admin/keys/"+first+"/revoke", bearer(f.operator)).want(200)
	if p.str("message") != "Key revoked" || again.str("message") != "Key revoked" {
		t.Errorf("first %s, again %s", p.body, again.body)
	}
}

func TestMetricsCount(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	f.tryLogin(t, "alice", "wrong").want(400)
	k = f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	text := string(f.call(t, "GET", "/metrics").want(200).body)
	for _, line := range []string{
		`curfew_logins_total{result="success"} 1`, `curfew_logins_total{result="failure"} 1`, `curfew_refreshes_total{result="success"} 1`,
		`curfew_sessions_ended_total{reason="user"} 1`, `curfew_revocation_seconds_count 1`, `curfew_denylist_entries 1`, `curfew_log_head 1`,
		`curfew_http_request_seconds_count{route="POST /token",status="200"} 2`, `curfew_http_request_seconds_count{route="POST /token",status="400"} 1`,
		`curfew_http_request_seconds_count{route="POST /logout",status="200"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	// Paths that anybody can invent must not become labels without end.
	for i := range 3 {
		f.call(t, "GET", fmt.Sprintf("/nothing/%d", i)).want(404)
	}
	text = string(f.call(t, "GET", "/metrics").want(200).body)
	if strings.Contains(text, "nothing") || !strings.Contains(text, `{route="unknown",status="404"} 3`) {
		t.Error("unknown paths are labels of their own, or not counted")
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	if p := f.call(t, "GET", "/livez").want(200); p.str("version") != "test" {
		t.Errorf("livez: %s", p.body)
	}
	f.call(t, "GET", "/readyz").want(200)
	f.call(t, "HEAD", "/readyz").want(200)
	f.closed = true
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	f.call(t, "GET", "/readyz").wantError(503, "not_ready")
	f.call(t, "GET", "/livez").want(200)
}

// With the store gone nothing is promised: no 200 for anything that would have
// had to be written, and no 401 or 404 that would log somebody out.
func TestClosedStoreIs503Everywhere(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	calls := f.everyCall(t, k)
	f.closed = true
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, g := range calls {
		if !g.answers(503) || g.path == "/readyz" {
			continue
		}
		opts := g.opts()
		if g.body != nil {
			opts = g.opts(sendJSON(g.body))
		}
		if g.path == "/admin/keys/some/revoke" {
			g.path = strings.Replace(g.path, "some", "any", 1)
		}
		f.call(t, g.method, g.path, opts...).wantError(503, "store_unavailable")
	}
	for _, o := range []opt{bearer(k.access), bearer(k.refresh)} {
		for _, path := range []string{"/logout", "/logout?scope=others", "/logout/all"} {
			f.call(t, "POST", path, o).wantError(503, "store_unavailable")
		}
	}
	for _, token := range []string{k.access, k.refresh} {
		f.call(t, "POST", "/revoke", sendForm("token", token)).wantError(503, "store_unavailable")
		f.call(t, "POST", "/introspect", bearer(f.verifier), sendForm("token", token)).wantError(503, "store_unavailable")
	}
	f.tryLogin(t, "alice", "wrong").wantError(503, "store_unavailable")
	f.tryLogin(t, "nobody", "wrong").wantError(503, "store_unavailable")
}

// lost is a store whose commits of revocations have an unknown outcome.
type lost struct {
	store.Store
	fail *bool
}

func (l lost) Commit(ctx context.Context, c store.Change) (store.Committed, error) {
	if *l.fail && len(c.Revocations) > 0 {
		return store.Committed{}, fmt.Errorf("fsync: %w", store.ErrUnknownOutcome)
	}
	return l.Store.Commit(ctx, c)
}

// The 200 comes after the durable commit and not before (CVE-2020-15223).
func TestUnknownOutcomeIsNoLogout(t *testing.T) {
	t.Parallel()
	fail := true
	f := start(t, options{wrap: func(s store.Store) store.Store { return lost{s, &fail} }})
	k := f.loginAlice(t)
	for _, p := range []reply{
		f.call(t, "POST", "/logout", bearer(k.access)), f.call(t, "POST", "/logout/all", bearer(k.access)),
		f.call(t, "POST", "/revoke", sendForm("token", k.refresh)), f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"everybody": true})),
	} {
		p.wantError(503, "outcome_unknown")
	}
	fail = false
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	f.isDead(t, "the session, after the repetition", k)
}

// torn is a store whose backups break off.
type torn struct{ store.Store }

func (s torn) Backup(_ context.Context, w io.Writer) error {
	w.Write(make([]byte, 100_000))
	return errors.New("disk on fire")
}

// A copy that broke off must not look like a whole one.
func TestHalfABackupIsNoBackup(t *testing.T) {
	t.Parallel()
	f := start(t, options{wrap: func(s store.Store) store.Store { return torn{s} }})
	r, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/admin/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.operator)
	resp, err := client.Do(r)
	if err != nil {
		return // cut before the headers arrived: as good
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("status %d and a body that ends as if it were whole", resp.StatusCode)
	}
}

// No line of the log has a credential, or enough of one to be of use to whoever
// reads it.
func TestLogsShowNoCredential(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{RefreshGrace: 1}})
	k, bobs := f.loginAlice(t), f.loginBob(t)
	f.tryLogin(t, "alice", "a password that is wrong").want(400)
	next := f.tokensOf(f.tryRefresh(t, k.refresh).want(200), "")
	f.tryRefresh(t, k.refresh).want(400) // reuse is logged
	for _, path := range []string{"/logout", "/logout/all", "/revoke", "/introspect", "/token", "/user", "/nothing"} {
		for _, secret := range []string{next.access, next.refresh, bobs.access[:40], f.operator} {
			f.call(t, "POST", path, bearer(secret), sendJSON(M{"token": secret, "refresh_token": secret, "grant_type": "refresh_token"}))
			f.call(t, "POST", path, bearer("garbage"), raw("application/json", `{"token":"`+secret))
		}
	}
	f.call(t, "PUT", "/user", bearer(bobs.access), sendJSON(M{"password": "the next password of bob", "current_password": bobPassword})).want(200)
	f.isSecret("the next password of bob")
	made := f.call(t, "POST", "/admin/operators", bearer(f.operator), sendJSON(M{"name": "second"})).want(201)
	f.isSecret(made.str("key"))
	f.call(t, "POST", "/admin/users/alice/password", bearer(f.operator), sendJSON(M{"password": "the next password of alice"})).want(200)
	f.isSecret("the next password of alice")
	f.closed = true
	if err := f.store.Close(); err != nil { // from here on every call is logged
		t.Fatal(err)
	}
	for _, g := range f.everyCall(t, next) {
		opts := g.opts()
		if g.body != nil {
			opts = g.opts(sendJSON(g.body))
		}
		f.call(t, g.method, g.path, opts...)
	}
	logs := f.logs.String()
	if !strings.Contains(logs, "spent refresh token") || !strings.Contains(logs, "call failed") {
		t.Fatalf("the tour has logged too little to say anything:\n%s", logs)
	}
	const piece = 12
	headers := regexp.MustCompile(`^eyJ[A-Za-z0-9_-]+\.`) // the same in all tokens, and no secret
	for secret := range f.secrets {
		secret = headers.ReplaceAllString(secret, "")
		for i := 0; i+piece <= len(secret); i++ {
			if strings.Contains(logs, secret[i:i+piece]) {
				t.Errorf("the log has %q of %q", secret[i:i+piece], secret)
				break
			}
		}
	}
}
