package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/feed"
)

// clusterConfig says what a cluster is made of.
type clusterConfig struct {
	Lease    time.Duration
	Users    int
	Services int
	Python   bool
	Fault    bool     // binaries with the tag curfew_fault
	Env      []string // of the authority and the services, such as a seeded bug
}

// cluster is an authority and its verifiers, each behind a link of its own.
type cluster struct {
	cfg       clusterConfig
	dir       string
	addr      string
	operator  string
	authority *process
	verifiers []*verifier
	http      *http.Client
	// bound is how long a logout may take whatever its verifiers do: D_A.
	bound time.Duration
	// introspector is the key with which the authority is asked.
	introspector string
}

// verifier is a process that accepts and refuses.
type verifier struct {
	*process
	addr string
	link *link
}

func (v *verifier) url() string { return "http://" + v.addr + "/" }

const password = "correct-horse"

func email(user int) string { return fmt.Sprintf("user%d@example.com", user) }

// startCluster starts everything and waits until all verifiers have a lease.
// The directory with its logs is kept if the test fails.
func startCluster(t testing.TB, cfg clusterConfig) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "curfew-e2e-cluster-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		cfg: cfg, dir: dir, addr: freeAddress(t), bound: feed.Wait(cfg.Lease),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 20 * time.Second}},
	}
	t.Cleanup(func() {
		for _, v := range c.verifiers {
			v.kill()
		}
		c.authority.kill()
		c.http.CloseIdleConnections()
		for _, p := range append([]*process{c.authority}, processes(c.verifiers)...) {
			if crash := p.crashed(); crash != "" {
				t.Error(crash)
			}
		}
		if t.Failed() {
			t.Logf("logs of the processes: %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	bin := authorityBinary
	if cfg.Fault {
		bin = authorityFaultBinary
	}
	c.authority = &process{name: "authority", log: filepath.Join(dir, "authority.log"), env: cfg.Env, args: []string{
		bin.build(t), "serve", "--listen", c.addr, "--data", filepath.Join(dir, "data"), "--feed-lease", cfg.Lease.String(),
		"--password-memory-kib", "64", "--password-iterations", "1", "--limits-logout-calls", "0",
	}}
	if err := c.startAuthority(); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "data", "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.operator = strings.TrimSpace(string(key))
	if c.introspector, err = c.verifierKey("introspector"); err != nil {
		t.Fatal(err)
	}
	c.addUsers(t)
	for i := range cfg.Services {
		c.addService(t, fmt.Sprintf("service%d", i+1))
	}
	if cfg.Python {
		c.addPython(t)
	}
	if err := c.awaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// startAuthority starts the authority and waits until it serves.
func (c *cluster) startAuthority() error {
	if err := c.authority.start(); err != nil {
		return err
	}
	ready := func() bool {
		if !c.authority.running() {
			return true
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		status, _, err := c.call(ctx, "GET", c.url("/readyz"), "", nil)
		return err == nil && status == http.StatusOK
	}
	if !eventually(30*time.Second, ready) || !c.authority.running() {
		return fmt.Errorf("the authority does not serve\n%s", c.authority.tail())
	}
	return nil
}

func (c *cluster) url(path string) string { return "http://" + c.addr + path }

func (c *cluster) addUsers(t testing.TB) {
	t.Helper()
	var clients sync.WaitGroup
	for first := range 4 {
		clients.Go(func() {
			for i := first; i < c.cfg.Users; i += 4 {
				status, body, err := c.call(t.Context(), "POST", c.url("/admin/users"), c.operator, url.Values{"email": {email(i)}, "password": {password}})
				if err != nil || status != http.StatusCreated {
					t.Errorf("adding a user: %d %s %v", status, body, err)
					return
				}
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (c *cluster) verifierKey(name string) (string, error) {
	status, body, err := c.call(context.Background(), "POST", c.url("/admin/verifiers"), c.operator, url.Values{"name": {name}})
	if err != nil || status != http.StatusCreated {
		return "", fmt.Errorf("making a verifier's key: %d %s %w", status, body, err)
	}
	var k struct{ Key string }
	return k.Key, json.Unmarshal(body, &k)
}

func (c *cluster) addVerifier(t testing.TB, name string, args []string, env func(addr string) []string) {
	t.Helper()
	key, err := c.verifierKey(name)
	if err != nil {
		t.Fatal(err)
	}
	v := &verifier{
		process: &process{name: name, args: args, log: filepath.Join(c.dir, name+".log")},
		addr:    freeAddress(t), link: newLink(t, c.addr),
	}
	v.env = append(env(v.addr), "CURFEW_AUTHORITY="+v.link.url(), "CURFEW_VERIFIER_KEY="+key)
	v.env = append(v.env, c.cfg.Env...)
	if err := v.start(); err != nil {
		t.Fatal(err)
	}
	c.verifiers = append(c.verifiers, v)
}

func (c *cluster) addService(t testing.TB, name string) {
	t.Helper()
	bin := serviceBinary
	if c.cfg.Fault {
		bin = serviceFaultBinary
	}
	c.addVerifier(t, name, []string{bin.build(t)}, func(addr string) []string { return []string{"LISTEN=" + addr} })
}

func (c *cluster) addPython(t testing.TB) {
	t.Helper()
	python, err := findPython()
	if err != nil {
		t.Fatal(err) // whoever asks for it has looked
	}
	script, err := filepath.Abs("../examples/verifier-python/server.py")
	if err != nil {
		t.Fatal(err)
	}
	c.addVerifier(t, "python", []string{python, script}, func(addr string) []string {
		return []string{"PORT=" + addr[strings.LastIndexByte(addr, ':')+1:], "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"}
	})
}

var findPython = sync.OnceValues(func() (string, error) {
	var all []error
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		// The name may be that of a launcher; what is stopped must be the interpreter.
		out, err := exec.Command(name, "-c", "import sys, cryptography; print(sys.executable)").CombinedOutput()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
		all = append(all, fmt.Errorf("%s: %w: %s", name, err, out))
	}
	return "", errors.Join(all...)
})

// awaitAll waits until every verifier accepts a session.
func (c *cluster) awaitAll(ctx context.Context) error {
	session, err := c.login(ctx, 0)
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	for _, v := range c.verifiers {
		if err := c.awaitAccept(ctx, v, session); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) awaitAccept(ctx context.Context, v *verifier, session tokens) error {
	var said verdict
	var body string
	if eventually(30*time.Second, func() bool {
		said, body = c.ask(ctx, v.url(), session.Access)
		return said == accepted
	}) {
		return nil
	}
	return fmt.Errorf("%s does not accept a session that lives, it says %s: %s\n%s\n%s", v.name, said, body, v.tail(), c.authority.tail())
}

// awaitLeases waits until the authority has given every verifier a lease: after
// a restart of it they may still live on what they got from the one before.
func (c *cluster) awaitLeases(t testing.TB) {
	t.Helper()
	var body []byte
	ok := eventually(30*time.Second, func() bool {
		var err error
		if _, body, err = c.call(t.Context(), "GET", c.url("/admin/verifiers"), c.operator, nil); err != nil {
			return false
		}
		var in struct {
			Instances []struct{ Verifier, State string }
		}
		if json.Unmarshal(body, &in) != nil {
			return false
		}
		live := map[string]bool{}
		for _, i := range in.Instances {
			if i.State == "live" {
				live[i.Verifier] = true
			}
		}
		return len(live) == len(c.verifiers)
	})
	if !ok {
		t.Fatalf("not every verifier gets a lease: %s\n%s", body, c.authority.tail())
	}
}

// call returns status and body, or an error if there was no whole answer.
func (c *cluster) call(ctx context.Context, method, to, bearer string, form url.Values) (int, []byte, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return 0, nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Session string `json:"session_id"`
}

func (c *cluster) login(ctx context.Context, user int) (tokens, error) {
	var t tokens
	status, body, err := c.call(ctx, "POST", c.url("/token"), "", url.Values{
		"grant_type": {"password"}, "email": {email(user)}, "password": {password},
	})
	if err == nil && status != http.StatusOK {
		err = &statusError{status, body}
	}
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(body, &t)
}

// statusError is an answer other than the one that was asked for.
type statusError struct {
	Status int
	Body   []byte
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %.300s", e.Status, e.Body) }

// errNoRefresh is a refresh that was refused.
var errNoRefresh = errors.New("refused")

// refresh returns new tokens, errNoRefresh, or an error that leaves it open
// whether it was carried out.
func (c *cluster) refresh(ctx context.Context, token string) (tokens, error) {
	var t tokens
	status, body, err := c.call(ctx, "POST", c.url("/token"), "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	switch {
	case err != nil:
		return t, err
	case status == http.StatusBadRequest && strings.Contains(string(body), `"invalid_grant"`):
		return t, errNoRefresh
	case status != http.StatusOK:
		return t, &statusError{status, body}
	}
	return t, json.Unmarshal(body, &t)
}

// ended is the answer to a logout.
type ended struct {
	Scope      string `json:"scope"`
	Sessions   int    `json:"sessions_ended"`
	Revocation struct {
		Seq            int64  `json:"seq"`
		State          string `json:"state"`
		Verifiers      int    `json:"verifiers"`
		TookMS         int64  `json:"took_ms"`
		Unacknowledged []any  `json:"unacknowledged"`
	} `json:"revocation"`
}

// errRecorded is an answer to a logout that promises less than was asked for.
var errRecorded = errors.New("a logout was answered 200 without being enforced")

// logout ends a session or everything of its user. An error leaves it open
// whether it was carried out.
func (c *cluster) logout(ctx context.Context, path, bearer, refresh string) (ended, error) {
	var e ended
	var form url.Values
	if refresh != "" {
		form = url.Values{"refresh_token": {refresh}}
	}
	status, body, err := c.call(ctx, "POST", c.url(path), bearer, form)
	if err == nil && status != http.StatusOK {
		err = &statusError{status, body}
	}
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return e, err
	}
	if e.Revocation.State != feed.Enforced {
		return e, fmt.Errorf("%w: %s", errRecorded, body)
	}
	return e, nil
}

// verdict is what an observer says of a token.
type verdict string

const (
	accepted verdict = "accept"
	refused  verdict = "refuse"
	stale    verdict = "stale"  // 503: it cannot know
	failed   verdict = "failed" // no answer
)

// verdict asks whatever answers 200, 401 or 503.
func (c *cluster) verdict(ctx context.Context, to, token string) verdict {
	v, _ := c.ask(ctx, to, token)
	return v
}

// ask is verdict with what was answered.
func (c *cluster) ask(ctx context.Context, to, token string) (verdict, string) {
	status, body, err := c.call(ctx, "GET", to, token, nil)
	switch {
	case err != nil:
		return failed, err.Error()
	case status == http.StatusOK:
		return accepted, string(body)
	case status == http.StatusUnauthorized:
		return refused, string(body)
	case status == http.StatusServiceUnavailable:
		return stale, string(body)
	}
	return verdict(fmt.Sprintf("status %d", status)), string(body)
}

// introspect asks the authority by RFC 7662.
func (c *cluster) introspect(ctx context.Context, token string) (verdict, string) {
	status, body, err := c.call(ctx, "POST", c.url("/introspect"), c.introspector, url.Values{"token": {token}})
	var in struct{ Active *bool }
	switch {
	case err != nil:
		return failed, err.Error()
	case status == http.StatusServiceUnavailable:
		return stale, string(body)
	case status != http.StatusOK || json.Unmarshal(body, &in) != nil || in.Active == nil:
		return verdict(fmt.Sprintf("status %d", status)), string(body)
	case *in.Active:
		return accepted, string(body)
	}
	return refused, string(body)
}
