package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/netaddr"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/curfewhq/curfew/internal/webui"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	alicePassword = "correct horse battery"
	bobPassword   = "staple correct horse"
	adminPassword = "battery staple correct"
)

// M is a JSON object.
type M = map[string]any

// options say how the server of a test differs from the usual.
type options struct {
	authority.Config
	trusted []string                      // proxies
	open    bool                          // verifiers need no key
	wrap    func(store.Store) store.Store // around the store

	tls       bool   // the socket speaks TLS
	publicURL string // of the issuer; the address of the socket without
	pages     bool   // for people; what is below is of no use without
	cookies   server.Cookies
	origins   []string
	demo      *server.Demo
	dev       bool // what `curfew dev` does for browsers on this machine
}

// fixture is a whole authority behind a socket, on a store of its own, with the
// users alice, bob and admin.
type fixture struct {
	*authority.Authority
	URL                string
	client             *http.Client
	database           string // its file
	server             *server.Server
	store              store.Store
	operator, verifier string // keys
	alice, bob, admin  store.User
	logs               *logBuffer
	closed             bool // the test has closed the store: there is nothing to check afterwards

	mu      sync.Mutex
	secrets map[string]bool // everything that no log may show
}

// logBuffer gathers what is logged, at every level.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, o options) *fixture {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "curfew.db")
	if err := sqlite.Create(t.Context(), path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{store: db, database: path, logs: &logBuffer{}, secrets: map[string]bool{}}
	if o.wrap != nil {
		f.store = o.wrap(db)
	}
	// Cheap hashing keeps the tests about sessions.
	hasher, err := password.New(password.Config{MemoryKiB: 64, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	// The listener comes first: the issuer is its address, so that the
	// documents name URLs that exist.
	ts := httptest.NewUnstartedServer(nil)
	f.URL = "http://" + ts.Listener.Addr().String()
	if o.tls {
		f.URL = "https://" + ts.Listener.Addr().String()
	}
	if o.Issuer = f.URL; o.publicURL != "" {
		o.Issuer = o.publicURL
	}
	if o.LoginFailuresAccount == 0 {
		o.LoginFailuresAccount, o.LoginFailuresAddress = 1000, 10_000 // tests of the limits set their own
	}
	logger := slog.New(slog.NewJSONHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	metrics := server.NewMetrics(prometheus.NewRegistry())
	if f.Authority, err = authority.Open(t.Context(), o.Config, authority.Deps{
		Store: f.store, Hasher: hasher, Sealer: seal.New(), Logger: logger, Observer: metrics,
	}); err != nil {
		t.Fatal(err)
	}
	addresses, err := netaddr.New(o.trusted)
	if err != nil {
		t.Fatal(err)
	}
	c := server.Config{
		Authority: f.Authority, Addresses: addresses, Metrics: metrics, Logger: logger, Version: "test",
		InsecureOpenFeed: o.open || o.dev, Cookies: o.cookies, Origins: o.origins, Demo: o.demo, InsecureLoopbackOrigins: o.dev,
	}
	if o.dev {
		c.Cookies.InsecureLoopback = true
	}
	if o.pages {
		if c.Pages, err = webui.New(webui.Config{}); err != nil {
			t.Fatal(err)
		}
	}
	if f.server, err = server.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	ts.Config.Handler = f.server
	ts.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	f.client = client
	if o.tls {
		ts.EnableHTTP2 = true
		ts.StartTLS()
		f.client = &http.Client{Transport: ts.Client().Transport, CheckRedirect: client.CheckRedirect}
	} else {
		ts.Start()
	}
	t.Cleanup(func() {
		f.server.Drain()
		ts.Close()
		stop()
		<-done
		if !f.closed {
			if err := db.Check(context.Background()); err != nil {
				t.Errorf("store after the test: %v", err)
			}
			if _, err := f.VerifyAudit(context.Background(), audit.Head{}); err != nil {
				t.Errorf("audit trail after the test: %v", err)
			}
		}
		db.Close()
		if strings.Contains(f.logs.String(), `"msg":"panic"`) {
			t.Errorf("a handler has panicked:\n%s", f.logs)
		}
		for secret := range f.secrets {
			if len(secret) > 20 && strings.Contains(f.logs.String(), secret) {
				t.Errorf("the log has %q", secret)
			}
		}
	})
	f.alice = f.createUser(t, authority.NewUser{Email: "alice@example.com", Username: "alice", Name: "Alice", Password: alicePassword})
	f.bob = f.createUser(t, authority.NewUser{Email: "bob@example.com", Username: "bob", Password: bobPassword})
	f.admin = f.createUser(t, authority.NewUser{Email: "admin@example.com", Password: adminPassword, Roles: []string{"admin"}})
	for kind, key := range map[string]*string{authority.KindOperator: &f.operator, authority.KindVerifier: &f.verifier} {
		if *key, err = f.CreateAPIKey(t.Context(), "test-"+kind, kind, authority.System, authority.Origin{}); err != nil {
			t.Fatal(err)
		}
		f.isSecret(*key)
	}
	return f
}

func (f *fixture) createUser(t *testing.T, u authority.NewUser) store.User {
	t.Helper()
	f.isSecret(u.Password)
	made, err := f.CreateUser(t.Context(), u, authority.System, authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (f *fixture) isSecret(texts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range texts {
		f.secrets[s] = true
	}
}

// An opt is a part of a request.
type opt func(*http.Request)

func bearer(token string) opt {
	return func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+token) }
}

func header(name, value string) opt {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func raw(contentType, body string) opt {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
	}
}

func sendJSON(v any) opt {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw("application/json", string(b))
}

func sendForm(pairs ...string) opt {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return raw("application/x-www-form-urlencoded", v.Encode())
}

// reply is an answer, read to its end.
type reply struct {
	t      *testing.T
	call   string
	status int
	header http.Header
	body   []byte
}

// call makes a request and holds the answer against the API description.
func (f *fixture) call(t *testing.T, method, path string, opts ...opt) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		o(r)
	}
	return f.send(t, r)
}

// client follows no redirect and keeps no connection beyond the test.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (f *fixture) send(t *testing.T, r *http.Request) reply {
	t.Helper()
	return f.sendBy(t, f.client, r)
}

func (f *fixture) sendBy(t *testing.T, by *http.Client, r *http.Request) reply {
	t.Helper()
	resp, err := by.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", r.Method, r.URL.Path, err)
	}
	p := reply{t: t, call: r.Method + " " + r.URL.Path, status: resp.StatusCode, header: resp.Header, body: body}
	f.check(t, r, p)
	return p
}

// check holds an answer against the description, and looks after the values of
// session cookies: no log may show one, and no body but that of POST /sessions.
func (f *fixture) check(t *testing.T, r *http.Request, p reply) {
	t.Helper()
	api(t).check(t, r, p)
	for _, text := range p.header["Set-Cookie"] {
		c, err := http.ParseSetCookie(text)
		if err != nil {
			t.Errorf("%s: Set-Cookie: %s: %v", p.call, text, err)
			continue
		}
		// One attribute that differs, and the cookie cannot be deleted.
		if c.Path != "/" || c.Domain != "" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure == strings.HasPrefix(c.Name, "curfew-dev") {
			t.Errorf("%s: Set-Cookie: %s", p.call, text)
		}
		if strings.HasPrefix(c.Value, "cs_") {
			f.isSecret(c.Value)
		}
	}
	if p.call == "POST /sessions" && p.status == 201 {
		f.isSecret(p.str("session_cookie"))
	} else if found := cookieValue.Find(p.body); found != nil {
		t.Errorf("%s: the body has a cookie's value: %s", p.call, found)
	}
}

// cookieValue stands by itself: random text in a token may look like one.
var cookieValue = regexp.MustCompile(`["'=>\s]cs_[A-Za-z0-9_-]{66}["'<&\s]`)

// callFrom is call for a connection from another address, without a socket.
func (f *fixture) callFrom(t *testing.T, peer, method, path string, opts ...opt) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, f.URL+path, nil)
	r.TLS, r.RemoteAddr = nil, peer
	for _, o := range opts {
		o(r)
	}
	rec := httptest.NewRecorder()
	f.server.ServeHTTP(rec, r)
	p := reply{t: t, call: method + " " + r.URL.Path, status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	f.check(t, r, p)
	return p
}

// want fails the test at once if the status is another.
func (p reply) want(status int) reply {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s: status %d, want %d: %s", p.call, p.status, status, p.body)
	}
	return p
}

// wantError is want for an error with its error_code.
func (p reply) wantError(status int, code string) reply {
	p.t.Helper()
	p.want(status)
	if got := p.str("error_code"); got != code {
		p.t.Errorf("%s: error_code %q, want %q", p.call, got, code)
	}
	return p
}

// get returns a member of the body by its path, such as revocation.state.
func (p reply) get(path string) any {
	p.t.Helper()
	var v any
	if err := json.Unmarshal(p.body, &v); err != nil {
		p.t.Fatalf("%s: body is not JSON: %v: %s", p.call, err, p.body)
	}
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (p reply) str(path string) string {
	p.t.Helper()
	s, _ := p.get(path).(string)
	return s
}

func (p reply) num(path string) int {
	p.t.Helper()
	n, ok := p.get(path).(float64)
	if !ok {
		p.t.Fatalf("%s: %s is no number: %s", p.call, path, p.body)
	}
	return int(n)
}

func (p reply) list(path string) []map[string]any {
	p.t.Helper()
	rows, _ := p.get(path).([]any)
	out := make([]map[string]any, len(rows))
	for i, r := range rows {
		out[i], _ = r.(map[string]any)
	}
	return out
}

// tokens are what a client holds of a session.
type tokens struct{ access, refresh, session, logout string }

func (f *fixture) tokensOf(p reply, prefix string) tokens {
	p.t.Helper()
	k := tokens{p.str(prefix + "access_token"), p.str(prefix + "refresh_token"), p.str(prefix + "session_id"), p.str(prefix + "logout_token")}
	if k.access == "" || k.refresh == "" || k.session == "" || k.logout == "" {
		p.t.Fatalf("%s: no tokens: %s", p.call, p.body)
	}
	f.isSecret(k.access, k.refresh, k.logout)
	return k
}

// login logs in with an e-mail address or user name.
func (f *fixture) login(t *testing.T, name, pw string, opts ...opt) tokens {
	t.Helper()
	return f.tokensOf(f.tryLogin(t, name, pw, opts...).want(200), "")
}

func (f *fixture) loginAlice(t *testing.T) tokens {
	t.Helper()
	return f.login(t, "alice@example.com", alicePassword)
}

func (f *fixture) loginBob(t *testing.T) tokens {
	t.Helper()
	return f.login(t, "bob@example.com", bobPassword)
}

func (f *fixture) tryLogin(t *testing.T, name, pw string, opts ...opt) reply {
	t.Helper()
	member := "email"
	if !strings.Contains(name, "@") {
		member = "username"
	}
	f.isSecret(pw)
	return f.call(t, "POST", "/token", append([]opt{sendJSON(M{"grant_type": "password", member: name, "password": pw})}, opts...)...)
}

func (f *fixture) tryRefresh(t *testing.T, refresh string) reply {
	t.Helper()
	return f.call(t, "POST", "/token", sendJSON(M{"grant_type": "refresh_token", "refresh_token": refresh}))
}

func (f *fixture) introspect(t *testing.T, token string) reply {
	t.Helper()
	return f.call(t, "POST", "/introspect", bearer(f.verifier), sendForm("token", token)).want(200)
}

// accessIsDead asks everybody who could still accept an access token.
func (f *fixture) accessIsDead(t *testing.T, who string, k tokens) {
	t.Helper()
	for _, path := range []string{"/user", "/sessions"} {
		p := f.call(t, "GET", path, bearer(k.access))
		if p.status != 401 || !strings.Contains(p.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: GET %s with the access token: %d %s", who, path, p.status, p.body)
		}
	}
	if got := strings.TrimSpace(string(f.introspect(t, k.access).body)); got != `{"active":false}` {
		t.Errorf("%s: introspection of the access token: %s", who, got)
	}
}

// isDead is accessIsDead for everything of a session.
func (f *fixture) isDead(t *testing.T, who string, k tokens) {
	t.Helper()
	f.accessIsDead(t, who, k)
	if got := strings.TrimSpace(string(f.introspect(t, k.refresh).body)); got != `{"active":false}` {
		t.Errorf("%s: introspection of the refresh token: %s", who, got)
	}
	if p := f.tryRefresh(t, k.refresh); p.status != 400 || p.str("error") != "invalid_grant" {
		t.Errorf("%s: refresh: %d %s", who, p.status, p.body)
	}
}

// isLive asks the same, and refreshes: k then holds the new tokens.
func (f *fixture) isLive(t *testing.T, who string, k *tokens) {
	t.Helper()
	for _, path := range []string{"/user", "/sessions"} {
		if p := f.call(t, "GET", path, bearer(k.access)); p.status != 200 {
			t.Errorf("%s: GET %s with the access token: %d %s", who, path, p.status, p.body)
		}
	}
	if p := f.introspect(t, k.access); p.get("active") != true {
		t.Errorf("%s: introspection of the access token: %s", who, p.body)
	}
	f.refreshIsLive(t, who, k)
}

func (f *fixture) refreshIsLive(t *testing.T, who string, k *tokens) {
	t.Helper()
	if p := f.introspect(t, k.refresh); p.get("active") != true {
		t.Errorf("%s: introspection of the refresh token: %s", who, p.body)
	}
	p := f.tryRefresh(t, k.refresh)
	if p.status != 200 {
		t.Errorf("%s: refresh: %d %s", who, p.status, p.body)
		return
	}
	*k = f.tokensOf(p, "")
}

// heads says how long log and audit trail are: nothing changes without moving
// one of them.
func (f *fixture) heads(t *testing.T) [2]int64 {
	t.Helper()
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return [2]int64{int64(st.Head.Seq), st.AuditHead.Seq}
}

// audited returns the audit entries of an event, oldest first.
func (f *fixture) audited(t *testing.T, e audit.Event) []audit.Entry {
	t.Helper()
	rows, err := f.Audit(t.Context(), store.AuditFilter{Event: e})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// eventually polls until ok holds; 10 seconds mean never.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 seconds", what)
		}
	}
}
