package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/curfewhq/curfew/internal/webui"
	"github.com/google/go-cmp/cmp"
)

// elsewhere are the options that reach something else than the policy and the
// hashing, each with what shows that.
var elsewhere = map[string]string{
	"listen":          "TestServe",
	"public_url":      "TestServe",
	"data":            "TestServe",
	"store":           "TestStorePath",
	"master_key":      "the script masterkey",
	"trusted_proxies": "internal/netaddr",
	"tls.cert":        "TestServe",
	"tls.key":         "TestServe",
	"log.level":       "TestLogLevel",

	"sessions.max_lifetime":   "TestSlidingSessions",
	"cookies.name":            "TestPagesAndCookies",
	"cookies.remember":        "TestPagesAndCookies",
	"cookies.clear_site_data": "TestPagesAndCookies",
	"web.pages":               "TestPagesAndCookies",
	"web.origins":             "TestPagesAndCookies",
	"log.format":              "cmd/curfew",
	"shutdown_timeout":        "cmd/curfew, TestShutdownFinishesRequests",
}

// others are values that differ from the defaults, where the one for the type
// would not be valid.
var others = map[string]string{
	"tokens.algorithm":       "EdDSA",
	"tokens.access_life":     "3m",
	"sessions.refresh_grace": "7s",
	"sessions.at_max":        "refuse",
	"sessions.expiry":        "sliding",
	"feed.lease":             "7s",
	"password.memory_kib":    "64",
	"password.max_wait":      "3s",
	"clients":                "default,web",
	"tokens.scopes":          "orders:read",
}

// TestEveryOptionIsMapped sets each option alone: one that changes nothing would
// be an option that an operator sets and that has no effect.
func TestEveryOptionIsMapped(t *testing.T) {
	for _, o := range config.Options() {
		if elsewhere[o.Key] != "" {
			continue
		}
		value := others[o.Key]
		if value == "" {
			value = map[string]string{"string": "other", "integer": "3", "duration": "37h"}[o.Type]
		}
		if strings.HasPrefix(o.Key, "limits.") && o.Type == "duration" {
			value = "37s"
		}
		c, err := config.Load(config.Sources{Flags: map[string]string{o.Key: value}})
		if err != nil {
			t.Errorf("%s: %v", o.Key, err)
			continue
		}
		d := config.Default()
		if cmp.Equal(policy(c, "i"), policy(d, "i")) && cmp.Equal(hashing(c), hashing(d)) {
			t.Errorf("%s = %s changes nothing", o.Key, value)
		}
	}
}

// TestZeroIsNotTheDefault: in the configuration zero turns things off, in the
// authority it means the default.
func TestZeroIsNotTheDefault(t *testing.T) {
	c := config.Default()
	c.Keys.RotateEvery, c.Keys.Announce = 0, 0
	c.Sessions.RefreshGrace, c.Sessions.Retention = 0, 0
	c.Limits.LogoutCalls, c.Limits.LoginFailuresAccount, c.Limits.LoginFailuresAddress = 0, 0, 0
	p := policy(c, "i")
	if p.RotateEvery < 50*365*24*time.Hour {
		t.Errorf("rotate_every 0 means by hand only, got %v", p.RotateEvery)
	}
	for name, d := range map[string]time.Duration{"announce": p.Announce, "refresh_grace": p.RefreshGrace, "retention": p.Retention} {
		if d <= 0 || d > time.Millisecond {
			t.Errorf("%s 0 became %v", name, d)
		}
	}
	for name, n := range map[string]int{"logout": p.LogoutLimit.Limit, "account": p.LoginFailuresAccount, "address": p.LoginFailuresAddress} {
		if n >= 0 {
			t.Errorf("limit %s 0 became %d, want a negative one (off)", name, n)
		}
	}
}

// A sliding session ends its life-time after the last activity, and at the
// absolute limit all the same.
func TestSlidingSessions(t *testing.T) {
	c := config.Default()
	c.Sessions.Lifetime, c.Sessions.MaxLifetime = time.Hour, 48*time.Hour
	if p := policy(c, "i"); p.Lifetime != time.Hour || p.IdleTimeout != 0 {
		t.Errorf("absolute: %v, idle after %v", p.Lifetime, p.IdleTimeout)
	}
	c.Sessions.Expiry = "sliding"
	if p := policy(c, "i"); p.Lifetime != 48*time.Hour || p.IdleTimeout != time.Hour {
		t.Errorf("sliding: %v, idle after %v", p.Lifetime, p.IdleTimeout)
	}
	c.Sessions.IdleTimeout = 5 * time.Minute
	if p := policy(c, "i"); p.Lifetime != 48*time.Hour || p.IdleTimeout != 5*time.Minute {
		t.Errorf("sliding with an idle time-out: %v, idle after %v", p.Lifetime, p.IdleTimeout)
	}
}

// The settings of pages and cookies reach those who set cookies.
func TestPagesAndCookies(t *testing.T) {
	c := config.Default()
	want := server.Cookies{Name: "__Host-curfew", ClearSiteData: []string{"storage"}}
	if diff := cmp.Diff(want, cookies(c, Options{})); diff != "" {
		t.Error(diff)
	}
	c.Cookies.Name, c.Cookies.Remember, c.Cookies.ClearSiteData = "__Host-x", "offer", nil
	want = server.Cookies{Name: "__Host-x", Remember: true, ClearSiteData: []string{}, InsecureLoopback: true}
	if diff := cmp.Diff(want, cookies(c, Options{Demo: &server.Demo{}})); diff != "" {
		t.Error(diff)
	}
	c.Web.Origins = []string{"https://app.example.com"}
	ui, err := pages(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	if err := ui.Login(rec, 200, webui.Login{}); err != nil {
		t.Fatal(err)
	}
	if csp := rec.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://app.example.com;") {
		t.Errorf("forms may not end at web.origins: %s", csp)
	}
	c.Web.Pages = "off"
	if ui, err := pages(c, Options{}); ui != nil || err != nil {
		t.Errorf("pages are off: %v, %v", ui, err)
	}
}

func TestLogLevel(t *testing.T) {
	c := config.Default()
	for text, want := range map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		c.Log.Level = text
		if got := LogLevel(c); got != want {
			t.Errorf("level %s is %v", text, got)
		}
	}
}

func TestStorePath(t *testing.T) {
	for text, want := range map[string]string{
		"": "data/curfew.db", "x.db": "x.db", "/var/x.db": "/var/x.db", "sqlite:x.db": "x.db", "sqlite:///var/x.db": "/var/x.db",
	} {
		if got, err := storePath(config.Config{Data: "data", Store: text}); err != nil || got != want {
			t.Errorf("store %q is %q, %v; want %q", text, got, err, want)
		}
	}
	if _, err := storePath(config.Config{Store: "postgres://user:secret@host/db"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("another database: got %v, want an error without the password", err)
	}
}

func TestAddressURL(t *testing.T) {
	for _, c := range []struct {
		ip     string
		secure bool
		want   string
	}{
		{"127.0.0.1", false, "http://127.0.0.1:8080"},
		{"::1", true, "https://[::1]:8080"},
		{"0.0.0.0", false, "http://localhost:8080"},
		{"::", false, "http://localhost:8080"},
	} {
		if got := addressURL(&net.TCPAddr{IP: net.ParseIP(c.ip), Port: 8080}, c.secure); got != c.want {
			t.Errorf("%s: got %s, want %s", c.ip, got, c.want)
		}
	}
}

func TestPlaceNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	tmp, path := filepath.Join(dir, "tmp"), filepath.Join(dir, "file")
	for _, name := range []string{tmp, path} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Place(tmp, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if b, _ := os.ReadFile(path); string(b) != path {
		t.Errorf("the file was replaced by %q", b)
	}
}

// TestServe serves with TLS under a public URL, and stops when it is told to.
func TestServe(t *testing.T) {
	cert, key, roots := certificate(t)
	c := config.Default()
	c.Listen, c.Data, c.PublicURL = "127.0.0.1:0", filepath.Join(t.TempDir(), "a", "b"), "https://id.example.com"
	c.TLS.Cert, c.TLS.Key = cert, key
	c.Password.MemoryKiB, c.Password.Iterations = 64, 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan Running, 1), make(chan error, 1)
	go func() {
		done <- Serve(ctx, c, Options{Version: "test", Logger: slog.New(slog.DiscardHandler), Ready: func(r Running) { ready <- r }})
	}()
	var r Running
	select {
	case r = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	if r.Issuer != c.PublicURL || !strings.HasPrefix(r.URL, "https://127.0.0.1:") {
		t.Errorf("got %+v", r)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	resp, err := client.Get(r.URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", resp.Status)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, storeFile: 0o600, keyFile: 0o600, operatorFile: 0o600} {
		info, err := os.Stat(filepath.Join(c.Data, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: got %v, %v; want mode %o", name, info.Mode(), err, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// certificate writes the certificate that the standard library tests with.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pair := s.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return cert, key, roots
}
