package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/google/go-cmp/cmp"
)

// good is a call of each operation that makes sense, to be spoilt in one point.
type good struct {
	*operation
	method, path string
	credential   string
	body         M // nil where the operation takes none
}

func (g good) opts(more ...opt) []opt {
	if g.credential != "" {
		more = append(more, bearer(g.credential))
	}
	return more
}

// everyCall returns a good call of every operation that is described. k is a
// session of alice.
func (f *fixture) everyCall(t *testing.T, k tokens) []good {
	t.Helper()
	bodies := map[string]M{
		"POST /token":                     {"grant_type": "password", "email": "alice@example.com", "password": alicePassword},
		"POST /logout":                    {"refresh_token": k.refresh},
		"POST /logout/all":                {"refresh_token": k.refresh},
		"POST /revoke":                    {"token": k.refresh},
		"POST /introspect":                {"token": k.access},
		"POST /feed/poll":                 {"instance": curfew.NewID(), "poll": 1},
		"POST /sessions":                  {"email": "alice@example.com", "password": alicePassword},
		"POST /reauthenticate":            {"password": alicePassword},
		"PUT /user":                       {"name": "Alice"},
		"POST /admin/users":               {"email": "new@example.com", "password": "a long password"},
		"POST /admin/users/{id}/logout":   {},
		"POST /admin/users/{id}/password": {"password": "a long password"},
		"POST /admin/sessions/end":        {"user": "alice"},
		"POST /admin/logout":              {"user": "alice"},
		"POST /admin/verifiers":           {"name": "new"},
		"POST /admin/operators":           {"name": "new"},
	}
	var out []good
	for _, name := range slices.Sorted(maps.Keys(api(t).operations)) {
		o := api(t).operations[name]
		method, path, _ := strings.Cut(name, " ")
		id := f.alice.ID
		if strings.Contains(path, "sessions/") {
			id = k.session
		}
		path = strings.NewReplacer("{id}", id, "{kid}", "some", "{seq}", "1", "{name}", "some").Replace(path)
		g := good{operation: o, method: method, path: path, body: bodies[name]}
		switch {
		case slices.Contains(o.secured, "operatorKey"):
			g.credential = f.operator
		case slices.Contains(o.secured, "accessToken"):
			g.credential = k.access
		case slices.Contains(o.secured, "verifierKey"):
			g.credential = f.verifier
		}
		if (g.body == nil) != (o.body == nil) {
			t.Fatalf("%s: the test has no body for it, or one too many", name)
		}
		out = append(out, g)
	}
	return out
}

func (o *operation) answers(status int) bool { return o.responses[status] != "" }

// spoil makes every call that may answer status with the given change, and
// checks that it does and that nothing has changed.
func spoil(t *testing.T, status int, code string, calls func(g good, bob string) [][]opt) {
	t.Helper()
	f := start(t, options{})
	k, bobs := f.loginAlice(t), f.loginBob(t)
	before := f.heads(t)
	n := 0
	for _, g := range f.everyCall(t, k) {
		if !g.answers(status) {
			continue
		}
		code := code
		if status == 401 && strings.HasPrefix(g.path, "/feed/") {
			code = "invalid_key" // one for all that is wrong with a key: docs/protocol.md
		}
		for i, opts := range calls(g, bobs.access) {
			n++
			p := f.call(t, g.method, g.path, opts...)
			if p.status != status || p.str("error_code") != code {
				t.Errorf("%s (%d): %d %s, want %d %s", g.name, i, p.status, p.body, status, code)
			}
			if after := f.heads(t); after != before {
				t.Errorf("%s (%d): heads moved from %v to %v", g.name, i, before, after)
				before = after
			}
		}
	}
	if n == 0 {
		t.Error("no call was made")
	}
	f.isLive(t, "the session", &k)
}

func TestNoCredentialIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 401, "no_credential", func(g good, bob string) [][]opt {
		empty := M{} // a refresh token in the body would be a credential
		return [][]opt{
			{sendJSON(empty)}, {sendForm()}, {header("Authorization", "Bearer")}, {header("Authorization", "Bearer    ")},
			{header("Authorization", "")}, {header("Authorization", "Basic YWxpY2U6eA==")}, {header("Authorization", g.credential)}, {header("Authorization", "Bearer\t"+g.credential)},
			{header("Cookie", "access_token="+g.credential)}, {header("X-Authorization", "Bearer "+g.credential)},
		}
	})
}

func TestBadCredentialIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 401, "invalid_token", func(g good, bob string) [][]opt {
		out := [][]opt{
			{bearer("garbage")}, {bearer(strings.Repeat(".", 10_000))}, {bearer(strings.Repeat("A", 100_000))}, {bearer("cr_" + strings.Repeat("A", 55))},
			{bearer("cro_" + strings.Repeat("A", 52))}, {bearer("crv_" + strings.Repeat("A", 52))}, {bearer("\xff\xfe")}, {bearer("a, b")},
			{header("Authorization", "Bearer a b")}, {header("Authorization", "Bearer "+g.credential+"\u00a0")},
		}
		return out
	})
}

// Of two Authorization headers, this server and a proxy in front of it might
// read different ones.
func TestTwoAuthorizationHeadersAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 400, "invalid_request", func(g good, bob string) [][]opt {
		if len(g.secured) == 0 {
			return nil
		}
		out := [][]opt{{bearer(g.credential), bearer(g.credential)}, {bearer("garbage"), bearer(g.credential)}}
		if g.body != nil {
			out = append(out, []opt{bearer(g.credential), header("Authorization", "Basic eA=="), sendJSON(g.body)})
		}
		return out
	})
}

func TestUsersAreRefusedAtAdminEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 403, "forbidden", func(g good, bob string) [][]opt {
		if !strings.HasPrefix(g.path, "/admin/") {
			return nil
		}
		out := [][]opt{{bearer(bob)}}
		if g.body != nil {
			out = append(out, []opt{bearer(bob), sendJSON(g.body)}, []opt{bearer(bob), raw("text/plain", "no body is read before")})
		}
		return out
	})
}

func TestBodiesOfAMegabyteAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 413, "body_too_large", func(g good, bob string) [][]opt {
		big := strings.Repeat("x", 1<<20)
		return [][]opt{
			g.opts(sendJSON(M{"password": big})), g.opts(raw("application/x-www-form-urlencoded", "password="+big)),
			g.opts(raw("", strings.Repeat(" ", 1<<20))), g.opts(raw("application/json", strings.Repeat("[", 1<<17))),
		}
	})
}

func TestOtherContentTypesAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 415, "unsupported_media_type", func(g good, bob string) [][]opt {
		var out [][]opt
		for _, kind := range []string{"text/plain", "text/json", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", ";", "application/json, text/plain"} {
			out = append(out, g.opts(raw(kind, `{"scope":"global"}`)))
		}
		return append(out, g.opts(raw("", `{"scope":"global"}`)), g.opts(raw("", `grant_type=password`)))
	})
}

func TestMalformedBodiesAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 400, "invalid_request", func(g good, bob string) [][]opt {
		if g.body == nil {
			return nil
		}
		var out [][]opt
		for _, text := range []string{
			`{`, `}`, `[]`, `[{"token":"x"}]`, `null`, `"x"`, `1`, `{"token"}`, `{"token":}`, `{"token":"x",}`, `{"token":"x"}{}`, `{"token":"x"} x`,
			`{token:"x"}`, `{'token':'x'}`, "{\"token\":\"\xff\"}", "\xef\xbb\xbf{}", "{\"token\":\"a\nb\"}", `{"token":"\x"}`, `{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
			// Of two values for one name, two readers might take different ones.
			`{"token":"a","token":"a"}`, `{"scope":"local","scope":"global"}`, `{"password":"a","pass\u0077ord":"b"}`, `{"grant_type":"password","grant_type":"refresh_token"}`,
		} {
			out = append(out, g.opts(raw("application/json", text)))
		}
		for _, text := range []string{
			"token=a&token=a", "scope=local&scope=global", "token=%zz", "token=a;scope=b", "%zz", "x=%", "token=%ff", "%ff=x", "note=a%00%ff", "password=\xff",
		} {
			out = append(out, g.opts(raw("application/x-www-form-urlencoded", text)))
		}
		return out
	})
}

// Every documented member with every wrong type, alone and beside what makes
// the call good.
func TestWrongTypesAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	spoil(t, 400, "invalid_request", func(g good, bob string) [][]opt {
		var out [][]opt
		for name, schema := range g.members(t) {
			bad := []any{1, true, []string{"x"}, M{}, 1.5}
			switch {
			case schema["type"] == "array":
				bad = []any{1, true, "x", M{}, []int{1}, []any{[]string{"x"}}}
			case schema["type"] == "integer":
				bad = []any{"1", true, []int{1}, M{}, 1.5, -1}
			case schema["type"] == "boolean":
				bad = []any{1, "true", []bool{true}, M{}}
			case schema["type"] == "object":
				bad = []any{1, true, "x", []string{"x"}, M{"x": "y"}}
			case strings.HasSuffix(fmt.Sprint(schema["$ref"]), "/Flag"):
				if g.name == "POST /token" || g.name == "PUT /user" {
					continue // they belong to the other grant, and to a change of password
				}
				bad = []any{2, "yes", "true", []bool{true}, M{}}
			}
			for _, v := range bad {
				body := maps.Clone(g.body)
				body[name] = v
				if name != "note" && name != "token_type_hint" {
					out = append(out, g.opts(sendJSON(body)))
				}
			}
		}
		return out
	})
}

// members are the documented members of the body, with their schemas.
func (g good) members(t *testing.T) map[string]map[string]any {
	t.Helper()
	if g.body == nil {
		return nil
	}
	ref, _ := g.operation.body["application/json"].(map[string]any)["schema"].(map[string]any)["$ref"].(string)
	out := map[string]map[string]any{}
	for name, s := range api(t).at(ref)["properties"].(map[string]any) {
		out[name], _ = s.(map[string]any)
	}
	return out
}

// Whatever stands in a member, nobody gets a 500, nothing that failed has ended
// anything, and the audit trail can still be verified.
func TestHostileTextIsAnsweredWithoutA500(t *testing.T) {
	t.Parallel()
	texts := []string{
		"\x00", "a\x00b", "a\x00@example.com", "\x1b[2J", "a\r\nSet-Cookie: x=y", "\u202e\u2066", "\ufffd", "%00", "%s%n", "${jndi:ldap://x}", "<script>", "'; DROP TABLE sessions; --",
		"\U0001f512", "ß", "İ", "-1", "9223372036854775808", strings.Repeat(".", 10_000), strings.Repeat("a", 5_000), strings.Repeat("é", 300), "../../etc/passwd", " ",
	}
	f := start(t, options{})
	k := f.loginAlice(t)
	before := f.heads(t)[0]
	for _, g := range f.everyCall(t, k) {
		if g.body == nil {
			continue
		}
		g.path = strings.Replace(g.path, f.alice.ID, f.bob.ID, 1)
		for name, schema := range g.members(t) {
			if schema["type"] == "array" || name == "note" {
				continue
			}
			for _, text := range texts {
				for _, o := range []opt{sendJSON(M{name: text}), sendForm(name, text), sendJSON(M{name: text, text: name})} {
					p := f.call(t, g.method, g.path, g.opts(o)...)
					if p.status >= 500 {
						t.Errorf("%s with %s=%q: %d %s", g.name, name, text, p.status, p.body)
					}
				}
			}
			p := f.call(t, g.method, g.path, g.opts(raw("application/json", `{"`+name+`":"\ud800"}`))...)
			if p.status >= 500 {
				t.Errorf("%s with a lone surrogate in %s: %d", g.name, name, p.status)
			}
		}
		// Calls whose other members are all optional have done their work.
		if strings.HasPrefix(g.path, "/admin/users/") || strings.HasSuffix(g.path, "/logout") || strings.HasSuffix(g.path, "/logout/all") || g.path == "/admin/sessions/end" || g.path == "/revoke" {
			f.loginAlice(t)
			before = f.heads(t)[0]
		}
		if after := f.heads(t)[0]; after != before {
			t.Errorf("%s: the log moved from %d to %d", g.name, before, after)
			before = after
		}
	}
	// Free text for the audit trail is kept as it is, and cut.
	for _, note := range append(texts, strings.Repeat("\U0001f512", 1000)) {
		f.call(t, "POST", "/admin/users/bob/logout", bearer(f.operator), sendJSON(M{"note": note})).want(200)
	}
	if p := f.call(t, "GET", "/admin/audit/verify", bearer(f.operator)).want(200); p.get("ok") != true {
		t.Errorf("audit trail: %s", p.body)
	}
}

// Text that is no UTF-8 must not reach the audit trail by way of a query: its
// hash would cover bytes that no export in JSON can show.
func TestQueriesMustBeUTF8(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	before := f.heads(t)
	for _, q := range []string{"note=%ff", "note=a&note=b", "reason=admin&reason=suspicious", "note=%zz"} {
		f.call(t, "DELETE", "/admin/sessions/"+k.session+"?"+q, bearer(f.operator)).wantError(400, "invalid_request")
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
}

// A query is logged by everything that it passes through, so a credential in it
// is not one.
func TestCredentialsInTheQueryAreIgnored(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	before := f.heads(t)
	for _, name := range []string{"access_token", "token", "refresh_token", "authorization", "bearer"} {
		for _, token := range []string{k.access, k.refresh} {
			q := "?" + name + "=" + token
			f.call(t, "GET", "/user"+q).wantError(401, "no_credential")
			f.call(t, "POST", "/logout"+q).wantError(401, "no_credential")
			f.call(t, "POST", "/logout/all"+q, sendJSON(M{})).wantError(401, "no_credential")
			f.call(t, "DELETE", "/sessions/"+k.session+q).wantError(401, "no_credential")
			f.call(t, "POST", "/revoke"+q).wantError(400, "invalid_request")
			f.call(t, "POST", "/token"+q+"&grant_type=refresh_token").wantError(400, "invalid_request")
			f.call(t, "POST", "/introspect"+q, bearer(f.verifier)).wantError(400, "invalid_request")
		}
	}
	f.call(t, "POST", "/token?grant_type=password&email=alice@example.com&password=correct+horse+battery").wantError(400, "invalid_request")
	f.call(t, "GET", "/admin/status?access_token="+f.operator).wantError(401, "no_credential")
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
}

func TestGrantTypesAndScopesThatContradict(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	login := M{"email": "alice@example.com", "password": alicePassword}
	with := func(more M) opt {
		m := maps.Clone(login)
		maps.Copy(m, more)
		return sendJSON(m)
	}
	before := f.heads(t)
	for _, c := range []struct {
		query string
		body  opt
		code  string
	}{
		{"", with(nil), "invalid_request"},
		{"?grant_type=", with(nil), "invalid_request"},
		{"?grant_type=password", with(M{"grant_type": "refresh_token"}), "invalid_request"},
		{"?grant_type=refresh_token", with(M{"grant_type": "password"}), "invalid_request"},
		{"?grant_type=password&grant_type=password", with(nil), "invalid_request"},
		{"?grant_type=client_credentials", with(nil), "unsupported_grant_type"},
		{"", with(M{"grant_type": "PASSWORD"}), "unsupported_grant_type"},
		{"", with(M{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}), "unsupported_grant_type"},
		{"", with(M{"grant_type": "password", "username": "alice"}), "invalid_request"},
		{"", with(M{"grant_type": "password", "refresh_token": k.refresh}), "invalid_request"},
		{"", with(M{"grant_type": "refresh_token"}), "invalid_request"},
		{"", sendJSON(M{"grant_type": "password", "email": "alice@example.com"}), "invalid_request"},
		{"", sendJSON(M{"grant_type": "password", "password": alicePassword}), "invalid_request"},
		{"", sendJSON(M{"grant_type": "refresh_token", "refresh_token": k.refresh, "active": "maybe"}), "invalid_request"},
	} {
		p := f.call(t, "POST", "/token"+c.query, c.body).wantError(400, c.code)
		if p.str("error") != c.code {
			t.Errorf("error is %q", p.str("error"))
		}
	}
	for _, c := range []struct {
		query string
		body  M
	}{
		{"?scope=everything", nil}, {"?scope=GLOBAL", nil}, {"?scope=local&scope=global", nil}, {"?scope=local", M{"scope": "global"}}, {"", M{"scope": "all"}}, {"?scope=", M{"scope": "global"}},
	} {
		f.call(t, "POST", "/logout"+c.query, bearer(k.access), sendJSON(c.body)).wantError(400, "invalid_request")
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
}

func TestParametersOfListsAreChecked(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for _, path := range []string{"/admin/users", "/admin/sessions", "/admin/revocations", "/admin/audit"} {
		for _, limit := range []string{"-1", "0", "1001", "x", "1e3", "99999999999999999999", "1%00"} {
			f.call(t, "GET", path+"?limit="+limit, bearer(f.operator)).wantError(400, "invalid_request")
		}
		f.call(t, "GET", path+"?limit=1000", bearer(f.operator)).want(200)
	}
	for _, path := range []string{"/admin/revocations?after=", "/admin/audit?after=", "/admin/sessions?live=", "/admin/audit?newest=", "/admin/sessions?seen_before=", "/admin/sessions?created_before=", "/admin/audit?since=", "/admin/audit?until="} {
		for _, bad := range []string{"-1", "x", "99999999999999999999"} {
			f.call(t, "GET", path+bad, bearer(f.operator)).wantError(400, "invalid_request")
		}
	}
	f.call(t, "GET", "/admin/users?after=%00", bearer(f.operator)).want(200)
	// The last number there is must not overflow into "compacted".
	f.call(t, "GET", "/admin/revocations?after=9223372036854775807", bearer(f.operator)).want(200)
}

func TestUnknownPathsAndWrongMethods(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	before := f.heads(t)
	for _, path := range []string{"/", "/logout/", "/logout/everything", "/Logout", "/users", "/admin", "/admin/", "/sessions/", "/admin%2Fstatus", "/user%00", "/.well-known/", "/favicon.ico", "/admin/users/"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"} {
			p := f.call(t, method, path, bearer(k.access)).want(404)
			if method != "HEAD" {
				p.wantError(404, "not_found")
			}
		}
	}
	allowed := map[string][]string{}
	for _, g := range f.everyCall(t, k) {
		for _, other := range api(t).operations {
			if method, _, _ := strings.Cut(other.name, " "); other.path.MatchString(g.path) && !slices.Contains(allowed[g.path], method) {
				allowed[g.path] = append(allowed[g.path], method)
			}
		}
	}
	for path, methods := range allowed {
		slices.Sort(methods)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"} {
			if slices.Contains(methods, method) || method == "HEAD" && slices.Contains(methods, "GET") {
				continue
			}
			p := f.call(t, method, path, bearer(k.access)).want(405)
			got := strings.Split(p.header.Get("Allow"), ", ")
			slices.Sort(got)
			if diff := cmp.Diff(methods, got); diff != "" {
				t.Errorf("%s %s: Allow (-want +got):\n%s", method, path, diff)
			}
			if method != "HEAD" {
				p.wantError(405, "method_not_allowed")
			}
		}
	}
	// A logout by a link or an image would be a logout by anybody.
	f.call(t, "GET", "/logout", bearer(k.access)).want(405)
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
}

// A path that is another spelling of a route ends nothing behind the back of
// whoever filters paths in front of the server.
func TestOtherSpellingsOfAPathDoNothing(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	for _, path := range []string{"//logout", "/./logout", "/user/../logout", "/logout/../logout", "/admin/..//logout"} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", f.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path = path
		r.Header.Set("Authorization", "Bearer "+k.access)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 300 || resp.StatusCode > 404 {
			t.Errorf("POST %s: %d", path, resp.StatusCode)
		}
	}
	f.isLive(t, "the session", &k)
}
