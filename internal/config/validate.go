package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew/internal/netaddr"
	"github.com/curfewhq/curfew/internal/seal"
)

// The bounds of password hashing. They are those of internal/password, which a
// test compares; without them a typing error would be an authority that fails
// at the first login or takes the machine with it.
const (
	maxMemoryKiB   = 262144
	maxArgonWork   = 1 << 20
	maxParallelism = 64
)

// Validate returns everything that is wrong with c at once, one line each: the
// key, the value and what is allowed.
func (c Config) Validate() error {
	v := &validator{fields: map[string]field{}}
	for _, f := range fields(&c) {
		v.fields[f.Key] = f
		if len(f.OneOf) > 0 && !slices.Contains(f.OneOf, f.text()) {
			v.fail(f.Key, "must be one of %s", strings.Join(f.OneOf, ", "))
		}
		// No option means anything below zero, and -1 meant as "no limit" must
		// not become whatever the code makes of it.
		if n := f.value; (f.Type == "integer" || f.Type == "duration") && n.Int() < 0 {
			v.fail(f.Key, "must not be negative")
		}
	}
	c.validateServer(v)
	c.validateLives(v)
	c.validatePassword(v)
	v.window("limits.logout_window", c.Limits.LogoutWindow, c.Limits.LogoutCalls)
	v.window("limits.login_window", c.Limits.LoginWindow, max(c.Limits.LoginFailuresAccount, c.Limits.LoginFailuresAddress))
	return errors.Join(v.errs...)
}

type validator struct {
	fields map[string]field
	failed []string
	errs   []error
}

// fail notes a problem of a key, once: the second is mostly a result of the
// first.
func (v *validator) fail(key, format string, args ...any) {
	if slices.Contains(v.failed, key) {
		return
	}
	v.failed = append(v.failed, key)
	f, ok := v.fields[key]
	if !ok {
		panic("config: validating unknown key " + key)
	}
	value := f.shown()
	if f.Type == "string" || f.Type == "list" {
		value = strconv.Quote(value)
	}
	v.errs = append(v.errs, fmt.Errorf("%s is %s: %s", key, value, fmt.Sprintf(format, args...)))
}

func (v *validator) between(key string, d, lo, hi time.Duration) {
	if d < lo || d > hi {
		v.fail(key, "must be %s to %s", formatDuration(lo), formatDuration(hi))
	}
}

func (v *validator) window(key string, d time.Duration, limit int) {
	if limit > 0 && d < time.Second {
		v.fail(key, "must be 1s or more")
	}
	if d > 24*time.Hour {
		v.fail(key, "must be 24h or less")
	}
}

func (c Config) validateServer(v *validator) {
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !validPort(port) {
		v.fail("listen", "must be address:port, such as 127.0.0.1:8080")
	}
	if c.PublicURL != "" {
		validatePublicURL(v, c.PublicURL)
	}
	for _, name := range []struct{ key, value string }{
		{"audience", c.Audience}, {"data", c.Data}, {"default_client", c.DefaultClient},
	} {
		if strings.TrimSpace(name.value) == "" {
			v.fail(name.key, "must not be empty")
		}
	}
	if !validID(c.Audience) {
		v.fail("audience", "must be 1 to 255 printable characters without spaces")
	}
	if c.MasterKey != "" {
		if _, err := seal.Parse(c.MasterKey); err != nil {
			v.fail("master_key", "%v", err)
		}
	}
	for _, proxy := range c.TrustedProxies {
		if _, err := netaddr.New([]string{proxy}); err != nil {
			v.fail("trusted_proxies", "%v", err)
		}
	}
	for _, id := range c.Clients {
		if !validID(id) {
			v.fail("clients", "%q must be 1 to 255 printable characters without spaces", id)
		}
	}
	if !validID(c.DefaultClient) {
		v.fail("default_client", "must be 1 to 255 printable characters without spaces")
	}
	if len(c.Clients) > 0 && !slices.Contains(c.Clients, c.DefaultClient) {
		v.fail("default_client", "must be one of clients, or nobody could log in without naming a client")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		if c.TLS.Cert == "" {
			v.fail("tls.cert", "must be set together with tls.key")
		} else {
			v.fail("tls.key", "must be set together with tls.cert")
		}
	}
	c.validateWeb(v)
	v.between("shutdown_timeout", c.ShutdownTimeout, time.Second, 10*time.Minute)
}

func (c Config) validateWeb(v *validator) {
	if !validCookieName(c.Cookies.Name) {
		v.fail("cookies.name", "must begin with __Host- and go on with letters, digits, - or _")
	}
	for _, what := range c.Cookies.ClearSiteData {
		if what != "storage" && what != "cache" && what != "cookies" {
			v.fail("cookies.clear_site_data", "%q is none of storage, cache, cookies", what)
		}
	}
	for _, origin := range c.Web.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || origin != u.Scheme+"://"+u.Host || origin != strings.ToLower(origin) {
			v.fail("web.origins", "%q must be scheme and host alone, such as https://app.example.com, in lower case and without a slash at the end", origin)
		}
	}
}

// validCookieName insists on the prefix: without it any host of the domain, and
// anybody on the way over plain HTTP, can put a cookie of that name in front.
func validCookieName(name string) bool {
	rest, ok := strings.CutPrefix(name, "__Host-")
	return ok && rest != "" && len(name) <= 100 && strings.IndexFunc(rest, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// validatePublicURL is strict, since tokens carry the URL and verifiers compare
// it byte for byte: of two spellings of one address the other is another issuer.
func validatePublicURL(v *validator, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		v.fail("public_url", "must be a URL such as https://login.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(text, "# "):
		v.fail("public_url", "must have no user, query or fragment")
	case strings.HasSuffix(text, "/"):
		v.fail("public_url", "must not end in a slash; write %s", strings.TrimRight(text, "/"))
	case u.Port() != "" && !validPort(u.Port()):
		v.fail("public_url", "must have a port of 0 to 65535")
	case u.Host != strings.ToLower(u.Host) || !strings.HasPrefix(text, u.Scheme+"://"):
		v.fail("public_url", "must have scheme and host in lower case")
	}
}

func validPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == text
}

// validID is the rule for client ids and audiences: what can stand in a token, a
// header and a log line without quoting.
func validID(id string) bool {
	return id != "" && len(id) <= 255 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func (c Config) validateLives(v *validator) {
	const year = 365 * 24 * time.Hour
	v.between("tokens.access_life", c.Tokens.AccessLife, time.Second, 24*time.Hour)
	v.between("sessions.lifetime", c.Sessions.Lifetime, time.Second, 10*year)
	v.between("sessions.retention", c.Sessions.Retention, 0, 10*year)
	// Within the grace a stolen refresh token can be used unnoticed.
	v.between("sessions.refresh_grace", c.Sessions.RefreshGrace, 0, 5*time.Minute)
	v.between("sessions.max_lifetime", c.Sessions.MaxLifetime, time.Second, 10*year)
	if c.Sessions.Expiry == "sliding" && c.Sessions.MaxLifetime < c.Sessions.Lifetime {
		v.fail("sessions.max_lifetime", "must be at least sessions.lifetime (%s)", formatDuration(c.Sessions.Lifetime))
	}
	if c.Sessions.IdleTimeout > c.Sessions.Lifetime {
		v.fail("sessions.idle_timeout", "must be 0 or at most sessions.lifetime (%s)", formatDuration(c.Sessions.Lifetime))
	}
	if c.Tokens.AccessLife > c.Sessions.Lifetime {
		v.fail("tokens.access_life", "must be at most sessions.lifetime (%s)", formatDuration(c.Sessions.Lifetime))
	}
	v.between("keys.rotate_every", c.Keys.RotateEvery, 0, 10*year)
	if c.Keys.RotateEvery > 0 && c.Keys.Announce >= c.Keys.RotateEvery {
		v.fail("keys.announce", "must be shorter than keys.rotate_every (%s)", formatDuration(c.Keys.RotateEvery))
	}
	v.between("keys.announce", c.Keys.Announce, 0, year)
	// Below that the margin for clocks outweighs the lease; above it a logout
	// would wait longer than clients do.
	v.between("feed.lease", c.Feed.Lease, 100*time.Millisecond, time.Minute)
}

func (c Config) validatePassword(v *validator) {
	p := c.Password
	if p.Parallelism < 1 || p.Parallelism > maxParallelism {
		v.fail("password.parallelism", "must be 1 to %d", maxParallelism)
		return // the bounds below depend on it
	}
	if p.MemoryKiB < 8*p.Parallelism || p.MemoryKiB > maxMemoryKiB {
		v.fail("password.memory_kib", "must be %d (8 per lane) to %d", 8*p.Parallelism, maxMemoryKiB)
		return
	}
	if most := maxArgonWork / p.MemoryKiB; p.Iterations < 1 || p.Iterations > most {
		v.fail("password.iterations", "must be 1 to %d with this memory", most)
	}
	if p.Concurrency > 1024 {
		v.fail("password.concurrency", "must be 0 to 1024")
	}
	v.between("password.max_wait", p.MaxWait, time.Millisecond, time.Minute)
}
