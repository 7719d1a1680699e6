package server_test

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store/sqlite"
)

func TestAdminAccounts(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	op := bearer(f.operator)
	create := func(body M) reply { return f.call(t, "POST", "/admin/users", op, sendJSON(body)) }
	p := create(M{"email": "Carol@example.com", "username": "carol", "password": "carols password", "roles": []string{"editor", "admin"}}).want(201)
	id := p.str("id")
	if got := fmt.Sprint(p.get("roles")); p.str("status") != "active" || got != "[admin editor]" {
		t.Errorf("account: %s", p.body)
	}
	create(M{"email": "carol@EXAMPLE.com", "password": "carols password"}).wantError(409, "exists")
	create(M{"email": "dave@example.com", "username": "CAROL", "password": "daves password"}).wantError(409, "exists")
	create(M{"email": "dave", "password": "daves password"}).wantError(422, "invalid_user")
	create(M{"email": "dave@example.com", "password": "short"}).wantError(422, "weak_password")
	create(M{"email": "dave@example.com"}).wantError(422, "weak_password")
	create(M{"email": "dave@example.com", "password": strings.Repeat("x", 1025)}).wantError(422, "weak_password")
	create(M{"email": "dave@example.com", "password": "daves\x00password"}).wantError(422, "weak_password")
	create(M{"email": "dave@example.com", "password": "daves password", "password_hash": "$2y$"}).wantError(422, "invalid_user")
	create(M{"email": "dave@example.com", "password_hash": "plain"}).wantError(422, "invalid_user")
	f.call(t, "POST", "/admin/users", op, sendForm("email", "erin@example.com", "password", "erins password", "roles", "a,b c", "must_change_password", "true")).want(201)

	for _, name := range []string{id, "carol", "CAROL@example.com"} {
		if p := f.call(t, "GET", "/admin/users/"+url.PathEscape(name), op).want(200); p.str("id") != id {
			t.Errorf("%s is %s", name, p.body)
		}
	}
	f.call(t, "GET", "/admin/users/nobody", op).wantError(404, "not_found")

	var all []string
	for after := ""; ; {
		p := f.call(t, "GET", "/admin/users?limit=2&after="+after, op).want(200)
		for _, u := range p.list("users") {
			all = append(all, u["id"].(string))
		}
		if after = p.str("next"); after == "" {
			break
		}
	}
	if len(all) != 5 || !slices.IsSorted(all) {
		t.Errorf("accounts in pages of two: %v", all)
	}

	f.call(t, "POST", "/admin/users/carol/disable", op).want(200)
	f.tryLogin(t, "carol", "carols password").want(400)
	if p := f.call(t, "POST", "/admin/users/carol/enable", op).want(200); p.str("status") != "active" {
		t.Errorf("account: %s", p.body)
	}
	f.tryLogin(t, "carol", "carols password").want(200)
	set := func(body M) reply { return f.call(t, "POST", "/admin/users/carol/password", op, sendJSON(body)) }
	set(M{}).wantError(400, "invalid_request")
	set(M{"password": "short"}).wantError(422, "weak_password")
	set(M{"password": "carols second password", "must_change_password": true}).want(200)
	f.tryLogin(t, "carol", "carols second password").wantError(400, "password_change_required")
	f.call(t, "DELETE", "/admin/users/carol", op).want(200)
	for _, c := range [][2]string{
		{"GET", ""}, {"DELETE", ""}, {"POST", "/logout"}, {"POST", "/disable"}, {"POST", "/enable"},
	} {
		for _, name := range []string{"carol", "nobody"} {
			f.call(t, c[0], "/admin/users/"+name+c[1], op).wantError(404, "not_found")
		}
	}
	f.call(t, "POST", "/admin/users/nobody/password", op, sendJSON(M{"password": "a long password"})).wantError(404, "not_found")
	// The name is free again.
	create(M{"email": "carol@example.com", "password": "carols password"}).want(201)
}

// Whatever was done to a deleted account by its id does nothing.
func TestDeletedAccountStaysDeleted(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	op := bearer(f.operator)
	f.call(t, "DELETE", "/admin/users/"+f.alice.ID, op).want(200)
	before := f.heads(t)
	// It is still to be found by the id that the audit trail names.
	if p := f.call(t, "GET", "/admin/users/"+f.alice.ID, op).want(200); p.str("status") != "deleted" || p.str("email") != "" || p.str("name") != "" {
		t.Errorf("account: %s", p.body)
	}
	f.call(t, "POST", "/admin/users/"+f.alice.ID+"/enable", op).wantError(404, "not_found")
	f.call(t, "POST", "/admin/users/"+f.alice.ID+"/password", op, sendJSON(M{"password": "a long password"})).wantError(404, "not_found")
	f.call(t, "POST", "/admin/users/"+f.alice.ID+"/logout", op).wantError(404, "not_found")
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
}

func TestAdminSessions(t *testing.T) {
	t.Parallel()
	f := start(t, options{trusted: proxied})
	op := bearer(f.operator)
	one := f.login(t, "alice", alicePassword, from("192.0.2.1"))
	two := f.login(t, "alice", alicePassword, from("192.0.2.2"))
	bobs := f.login(t, "bob", bobPassword, from("192.0.2.2"))
	f.call(t, "POST", "/logout", bearer(one.access)).want(200)
	future := url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))
	for query, want := range map[string][]string{
		"":                                  {one.session, two.session, bobs.session},
		"?live=true":                        {two.session, bobs.session},
		"?user=alice":                       {one.session, two.session},
		"?user=alice&live=1":                {two.session},
		"?ip=192.0.2.2":                     {two.session, bobs.session},
		"?client_id=default&live=0":         {one.session, two.session, bobs.session},
		"?client_id=other":                  nil,
		"?created_before=" + future:         {one.session, two.session, bobs.session},
		"?seen_before=2020-01-01T00:00:00Z": nil,
	} {
		var got []string
		for _, s := range f.call(t, "GET", "/admin/sessions"+query, op).want(200).list("sessions") {
			got = append(got, s["id"].(string))
			if s["subject"] == nil || s["current"] != false {
				t.Errorf("%s: %v", query, s)
			}
			if s["id"] == one.session && (s["end_reason"] != "user" || s["ended_seq"] == nil || s["ended_at"] == nil) {
				t.Errorf("ended session: %v", s)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	f.call(t, "GET", "/admin/sessions?user=nobody", op).wantError(404, "not_found")
	p := f.call(t, "GET", "/admin/sessions?limit=1", op).want(200)
	if p.str("next") == "" || f.call(t, "GET", "/admin/sessions?limit=1&after="+p.str("next"), op).str("next") == p.str("next") {
		t.Errorf("pages: %s", p.body)
	}
	f.call(t, "DELETE", "/admin/sessions/"+strings.Repeat("0", 32), op).wantError(404, "not_found")
	f.call(t, "DELETE", "/admin/sessions/"+two.session+"?reason=user", op).wantError(400, "invalid_request")
	f.isLive(t, "after a reason that is not the operator's to give", &two)
	p = f.call(t, "POST", "/admin/sessions/end", op, sendJSON(M{"ip": "192.0.2.2", "user": "alice", "dry_run": true})).want(200)
	if p.num("would_end") != 1 {
		t.Errorf("dry run: %s", p.body)
	}
	p = f.call(t, "POST", "/admin/sessions/end", op, sendForm("ip", "192.0.2.2", "created_before", time.Now().Add(time.Hour).Format(time.RFC3339), "seen_before", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))).want(200)
	if p.num("sessions_ended") != 2 {
		t.Errorf("answer is %s", p.body)
	}
	f.isDead(t, "alice", two)
	f.isDead(t, "bob", bobs)
}

// A request whose filter was lost on the way must not end everything.
func TestBulkEndNeedsAFilter(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	op := bearer(f.operator)
	k := f.loginAlice(t)
	before := f.heads(t)
	for _, body := range []M{{}, {"user": ""}, {"user": nil}, {"dry_run": true}, {"reason": "admin"}, {"filter": M{"user": "alice"}}, {"limit": 1}, {"created_before": ""}} {
		f.call(t, "POST", "/admin/sessions/end", op, sendJSON(body)).wantError(400, "invalid_request")
	}
	for _, body := range []M{{}, {"everybody": false}, {"user": "alice", "everybody": true}, {"user": "alice", "client": "default"}, {"session": "", "client": nil}, {"everyone": true}} {
		f.call(t, "POST", "/admin/logout", op, sendJSON(body)).wantError(400, "invalid_request")
	}
	f.call(t, "POST", "/admin/logout", op, sendJSON(M{"user": "nobody"})).wantError(404, "not_found")
	f.call(t, "POST", "/admin/logout", op, sendJSON(M{"session": "nothing"})).wantError(404, "not_found")
	f.call(t, "POST", "/admin/logout", op, sendJSON(M{"session": "nothing", "dry_run": true})).wantError(404, "not_found")
	f.call(t, "POST", "/admin/logout", op, sendJSON(M{"client": "no such\nclient"})).wantError(400, "unknown_client")
	f.call(t, "POST", "/admin/sessions/end", op, sendJSON(M{"user": "nobody"})).wantError(404, "not_found")
	for _, reason := range []string{"user", "password_changed", "ADMIN", "because", "admin "} {
		f.call(t, "POST", "/admin/logout", op, sendJSON(M{"user": "alice", "reason": reason})).wantError(400, "invalid_request")
		f.call(t, "POST", "/admin/users/alice/logout", op, sendJSON(M{"reason": reason})).wantError(400, "invalid_request")
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "the session", &k)
	p := f.call(t, "POST", "/admin/logout", op, sendJSON(M{"session": k.session, "dry_run": true})).want(200)
	if p.num("would_end") != 1 {
		t.Errorf("dry run: %s", p.body)
	}
}

func TestAdminRevocationsAndKeys(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: shortLived})
	op := bearer(f.operator)
	if p := f.call(t, "GET", "/admin/revocations", op).want(200); len(p.list("revocations")) != 0 {
		t.Errorf("a new log: %s", p.body)
	}
	f.call(t, "GET", "/admin/revocations/1", op).wantError(404, "not_found")
	k := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	f.call(t, "POST", "/admin/users/bob/logout", op, sendJSON(M{"reason": "suspicious"})).want(200)
	rows := f.call(t, "GET", "/admin/revocations", op).want(200).list("revocations")
	if len(rows) != 2 || rows[0]["kind"] != "session" || rows[0]["target"] != k.session || rows[1]["kind"] != "subject" ||
		rows[1]["reason"] != "suspicious" || rows[1]["actor"] != "operator:test-operator" {
		t.Errorf("log: %v", rows)
	}
	if rows := f.call(t, "GET", "/admin/revocations?after=1&limit=1", op).want(200).list("revocations"); len(rows) != 1 || rows[0]["seq"] != 2.0 {
		t.Errorf("behind 1: %v", rows)
	}
	if p := f.call(t, "GET", "/admin/revocations/2", op).want(200); p.str("state") != "enforced" || p.num("revocation.seq") != 2 {
		t.Errorf("revocation 2: %s", p.body)
	}
	for _, seq := range []string{"0", "-1", "x", "99999999999999999999", "1.5"} {
		f.call(t, "GET", "/admin/revocations/"+seq, op).wantError(400, "invalid_request")
	}
	// With tokens of such a short life the end of a session may be forgotten soon,
	// the other entry a minute later.
	eventually(t, "compaction", func() bool {
		if err := f.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		st, err := f.State(t.Context())
		return err == nil && st.Compacted == 1
	})
	f.call(t, "GET", "/admin/revocations", op).wantError(410, "compacted")
	f.call(t, "GET", "/admin/revocations/1", op).wantError(410, "compacted")
	f.call(t, "GET", "/admin/revocations?after=1", op).want(200)

	keys := f.call(t, "POST", "/admin/keys/rotate", op).want(200).list("keys")
	if len(keys) != 2 {
		t.Fatalf("keys: %v", keys)
	}
	active := 0
	for _, key := range keys {
		if key["status"] == "active" {
			active++
		}
	}
	if active != 1 {
		t.Errorf("%d active keys", active)
	}
	f.call(t, "POST", "/admin/keys/nothing/revoke", op).wantError(404, "not_found")
	// The secret behind the refresh tokens is no signing key.
	f.call(t, "POST", "/admin/keys/refresh/revoke", op).wantError(404, "not_found")
}

func TestAdminAPIKeys(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	op := bearer(f.operator)
	for kind, prefix := range map[string]string{"operators": "cro_", "verifiers": "crv_"} {
		path := "/admin/" + kind
		p := f.call(t, "POST", path, op, sendJSON(M{"name": "second-" + kind})).want(201)
		secret := p.str("key")
		f.isSecret(secret)
		if !strings.HasPrefix(secret, prefix) {
			t.Errorf("key is %s", p.body)
		}
		f.call(t, "POST", path, op, sendJSON(M{"name": "second-" + kind})).wantError(409, "exists")
		for _, name := range []string{"", "a b", "x\x00", strings.Repeat("x", 65), "é"} {
			f.call(t, "POST", path, op, sendJSON(M{"name": name})).wantError(422, "invalid_name")
		}
		p = f.call(t, "GET", path, op).want(200)
		if len(p.list(kind)) != 2 || strings.Contains(string(p.body), secret) {
			t.Errorf("list: %s", p.body)
		}
		f.call(t, "POST", "/introspect", bearer(secret), sendForm("token", "x")).want(200)
		f.call(t, "DELETE", path+"/nothing", op).wantError(404, "not_found")
		other := map[string]string{"operators": "test-verifier", "verifiers": "test-operator"}[kind]
		f.call(t, "DELETE", path+"/"+other, op).wantError(404, "not_found")
		f.call(t, "DELETE", path+"/second-"+kind, op).want(204)
		f.call(t, "POST", "/introspect", bearer(secret), sendForm("token", "x")).want(401)
		f.call(t, "GET", "/admin/status", bearer(secret)).want(401)
	}
	f.call(t, "DELETE", "/admin/verifiers/test-verifier", op).want(204)
	if p := f.call(t, "GET", "/admin/verifiers", op).want(200); len(p.list("verifiers")) != 0 {
		t.Errorf("list: %s", p.body)
	}
	admin := f.login(t, "admin@example.com", adminPassword)
	f.call(t, "DELETE", "/admin/operators/test-operator", bearer(admin.access)).want(204)
	for _, kind := range []string{"operators", "verifiers"} {
		if p := f.call(t, "GET", "/admin/"+kind, bearer(admin.access)).want(200); len(p.list(kind)) != 0 {
			t.Errorf("list: %s", p.body)
		}
	}
}

func TestAdminAudit(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	op := bearer(f.operator)
	k := f.loginAlice(t)
	f.loginBob(t)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	total := len(f.call(t, "GET", "/admin/audit?limit=1000", op).want(200).list("entries"))
	for query, want := range map[string]int{
		"?user=alice":                 3, // created, logged in, logged out
		"?session=" + k.session:       2,
		"?event=authn_login_success":  2,
		"?event=nothing":              0,
		"?limit=1&newest=true":        1,
		"?since=2020-01-01T00:00:00Z": total,
		"?until=2020-01-01T00:00:00Z": 0,
		"?after=" + fmt.Sprint(total): 0,
	} {
		if rows := f.call(t, "GET", "/admin/audit"+query, op).want(200).list("entries"); len(rows) != want {
			t.Errorf("%s: %d entries, want %d", query, len(rows), want)
		}
	}
	f.call(t, "GET", "/admin/audit?user=nobody", op).wantError(404, "not_found")

	p := f.call(t, "GET", "/admin/audit/verify", op).want(200)
	if p.get("ok") != true || p.num("head.seq") != total {
		t.Errorf("verification: %s", p.body)
	}
	anchor := fmt.Sprintf("%d:%s", p.num("head.seq"), p.str("head.hash"))
	if p := f.call(t, "GET", "/admin/audit/verify?anchor="+anchor, op).want(200); p.get("ok") != true {
		t.Errorf("verification: %s", p.body)
	}
	// A trail that was recomputed, or cut off, is not the one of the anchor.
	for _, wrong := range []string{
		fmt.Sprintf("%d:%s", total, strings.Repeat("0", 64)),
		fmt.Sprintf("%d:%s", total+1, p.str("head.hash")),
	} {
		if p := f.call(t, "GET", "/admin/audit/verify?anchor="+wrong, op).want(200); p.get("ok") != false || p.str("problem") == "" {
			t.Errorf("anchor %s: %s", wrong, p.body)
		}
	}
	for _, bad := range []string{"x", "1", "1:", "0:" + strings.Repeat("0", 64), "-1:" + strings.Repeat("0", 64), "1:zz"} {
		f.call(t, "GET", "/admin/audit/verify?anchor="+bad, op).wantError(400, "invalid_request")
	}
}

func TestAdminStatus(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	f.loginBob(t)
	p := f.call(t, "GET", "/admin/status", bearer(f.operator)).want(200)
	heads := f.heads(t)
	if p.num("head.seq") != int(heads[0]) || p.num("enforced") != int(heads[0]) || p.num("audit_head.seq") != int(heads[1]) ||
		p.num("live_sessions") != 1 || p.num("remembered_revocations") != 1 || p.str("issuer") != f.URL || p.str("version") != "test" {
		t.Errorf("status: %s", p.body)
	}
}

func TestBackupIsAStoreThatOpens(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.call(t, "GET", "/admin/backup", bearer(f.operator)).want(200)
	for _, secret := range []string{k.refresh, k.access, f.operator, alicePassword} {
		if bytes.Contains(p.body, []byte(secret)) {
			t.Error("the backup has a credential in the clear")
		}
	}
	path := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(path, p.body, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := db.Session(t.Context(), k.session); err != nil || s.Ended() {
		t.Errorf("session in the backup: %+v, %v", s, err)
	}
	if rows := f.audited(t, audit.BackupTaken); len(rows) != 1 || rows[0].Actor != string(authority.OperatorActor("test-operator")) {
		t.Errorf("audit: %+v", rows)
	}
}
