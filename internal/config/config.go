package config

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Config is the configuration of the authority.
//
// The tags are the source of everything else: key is the name in YAML (dotted
// with the keys of the structs around it), default and doc speak for
// themselves, oneof lists the values of an enumeration, secret keeps the value
// out of everything that is printed.
type Config struct {
	Listen         string   `key:"listen" default:"127.0.0.1:8080" doc:"Address and port to listen on. Without certificate it speaks plain HTTP, so leave it on loopback behind a proxy that does TLS, or set tls.cert."`
	PublicURL      string   `key:"public_url" doc:"The URL under which clients reach the authority, which is also the issuer in every token. Empty means http://<listen> (https with tls.cert)."`
	Audience       string   `key:"audience" default:"curfew" doc:"Audience written into access tokens and asked for by verifiers."`
	Data           string   `key:"data" default:"./curfew-data" doc:"Directory for the database, the master key and the operator key. Created with mode 0700."`
	Store          string   `key:"store" doc:"Where sessions are kept. Empty means the SQLite file curfew.db in the data directory."`
	MasterKey      string   `key:"master_key" secret:"true" doc:"32 bytes in base64 that encrypt the signing keys at rest. Empty means the file master.key in the data directory, made at the first start. There is no flag for it: other users of the machine can read command lines."`
	TrustedProxies []string `key:"trusted_proxies" doc:"Addresses or CIDR prefixes of the proxies whose X-Forwarded-For is believed. Empty means none."`
	Clients        []string `key:"clients" doc:"Client ids that may log in. Empty means any."`
	DefaultClient  string   `key:"default_client" default:"default" doc:"Client id of logins that name none."`

	TLS struct {
		Cert string `key:"cert" doc:"File of the certificate chain in PEM. Set together with tls.key."`
		Key  string `key:"key" doc:"File of the private key in PEM."`
	} `key:"tls" doc:"TLS on the listening port"`

	Tokens struct {
		Algorithm  string        `key:"algorithm" default:"ES256" oneof:"ES256 EdDSA RS256" doc:"Signature of access tokens."`
		Scopes     []string      `key:"scopes" doc:"Scopes that clients may ask for. Empty means none."`
		AccessLife time.Duration `key:"access_life" default:"10m" doc:"How long an access token is good for unless its session ends before."`
	} `key:"tokens" doc:"Access tokens"`

	Keys struct {
		RotateEvery time.Duration `key:"rotate_every" default:"2160h" doc:"Age at which a signing key is replaced. 0 means only by hand."`
		Announce    time.Duration `key:"announce" default:"24h" doc:"How long a new key is published before it signs, so that every verifier knows it by then."`
	} `key:"keys" doc:"Signing keys"`

	Sessions struct {
		Lifetime     time.Duration `key:"lifetime" default:"720h" doc:"A session ends this long after the login, whatever happens."`
		Expiry       string        `key:"expiry" default:"absolute" oneof:"absolute sliding" doc:"Whether sessions.lifetime counts from the login, or from when its person last did something. A sliding session ends sessions.max_lifetime after the login all the same: a stolen one must not live for ever."`
		MaxLifetime  time.Duration `key:"max_lifetime" default:"2160h" doc:"Absolute limit of sliding sessions."`
		IdleTimeout  time.Duration `key:"idle_timeout" default:"0" doc:"A session ends when its person has done nothing for this long. Background refresh is no activity. 0 means never."`
		RefreshGrace time.Duration `key:"refresh_grace" default:"10s" doc:"For this long a spent refresh token still counts as a repeated request and not as theft."`
		Max          int           `key:"max" default:"0" doc:"Sessions a user may have at once. 0 means any number."`
		AtMax        string        `key:"at_max" default:"end_oldest" oneof:"refuse end_oldest" doc:"What a login does when sessions.max is reached: it is refused, or the oldest session ends."`
		Retention    time.Duration `key:"retention" default:"720h" doc:"How long ended sessions stay listed."`
	} `key:"sessions" doc:"Sessions"`

	Cookies struct {
		Name          string   `key:"name" default:"__Host-curfew" doc:"Name of the session cookie. Two authorities on one host need two names. Browsers guard the prefix __Host-: keep it."`
		Remember      string   `key:"remember" default:"off" oneof:"off offer" doc:"Whether the login page offers to stay signed in when the browser is closed."`
		ClearSiteData []string `key:"clear_site_data" default:"storage" doc:"What a browser is told to clear at a sign-out: storage, cache, cookies. cache can stall Chromium for seconds, cookies signs out of sibling sub-domains as well. An empty list clears nothing."`
	} `key:"cookies" doc:"Session cookies"`

	Web struct {
		Pages   string   `key:"pages" default:"on" oneof:"on off" doc:"Whether /login, /signout and /account are served. They need TLS."`
		Origins []string `key:"origins" doc:"Origins of front ends, such as https://app.example.com: they may call from browsers (CORS, with tokens, never with cookies), and a sign-in may return to them."`
	} `key:"web" doc:"Pages and front ends"`

	Feed struct {
		Lease time.Duration `key:"lease" default:"3s" doc:"How long a verifier may answer without having heard from the authority. A longer lease means fewer polls, and a longer wait of a logout for a verifier that died."`
	} `key:"feed" doc:"Verifiers"`

	Password struct {
		MemoryKiB   int           `key:"memory_kib" default:"19456" doc:"Memory of one argon2id hash in KiB."`
		Iterations  int           `key:"iterations" default:"2" doc:"Passes of one argon2id hash."`
		Parallelism int           `key:"parallelism" default:"1" doc:"Lanes of one argon2id hash."`
		Concurrency int           `key:"concurrency" default:"0" doc:"Hashes made at once. 0 leaves one core free for everything that is not a login."`
		MaxWait     time.Duration `key:"max_wait" default:"5s" doc:"How long a login waits for its turn before it is answered 503."`
	} `key:"password" doc:"Password hashing (argon2id)"`

	Limits struct {
		LogoutCalls          int           `key:"logout_calls" default:"20" doc:"Logout calls per user in limits.logout_window. A call that ends a live session is never refused. 0 means no limit."`
		LogoutWindow         time.Duration `key:"logout_window" default:"5m" doc:"Window of limits.logout_calls."`
		LoginFailuresAccount int           `key:"login_failures_account" default:"10" doc:"Failed logins per account in limits.login_window. 0 means no limit."`
		LoginFailuresAddress int           `key:"login_failures_address" default:"100" doc:"Failed logins per client address (IPv6: per /64) in limits.login_window. 0 means no limit."`
		LoginWindow          time.Duration `key:"login_window" default:"15m" doc:"Window of the limits on failed logins."`
	} `key:"limits" doc:"Rate limits"`

	Log struct {
		Level  string `key:"level" default:"info" oneof:"debug info warn error" doc:"Least important messages that are written."`
		Format string `key:"format" default:"text" oneof:"text json" doc:"Form of the messages on standard error."`
	} `key:"log" doc:"Log"`

	ShutdownTimeout time.Duration `key:"shutdown_timeout" default:"15s" doc:"How long running requests may take to finish when the authority is told to stop."`
}

// Default returns the configuration of an installation that configures nothing.
func Default() Config {
	var c Config
	for _, f := range fields(&c) {
		if f.Default == "" {
			continue
		}
		if err := f.set(f.Default); err != nil {
			panic("config: default of " + f.Key + ": " + err.Error()) // a mistake in the tags above
		}
	}
	return c
}

// Issuer returns the URL under which the authority is reached: PublicURL, or
// what Listen amounts to on this machine.
func (c Config) Issuer() string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	scheme := "http"
	if c.TLS.Cert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if a, aerr := netip.ParseAddr(host); err == nil && (host == "" || aerr == nil && a.IsUnspecified()) {
		// "All addresses" is none that a client could connect to.
		return scheme + "://" + net.JoinHostPort("localhost", port)
	}
	return scheme + "://" + c.Listen
}

// Print writes the configuration as YAML that Load reads again, save that
// secrets appear as "(set)" and passwords in URLs as xxxxx.
func (c Config) Print(w io.Writer) error {
	var b strings.Builder
	section := ""
	for _, f := range fields(&c) {
		indent := ""
		if head, _, nested := strings.Cut(f.Key, "."); nested {
			if head != section {
				b.WriteString(head + ":\n")
			}
			section, indent = head, "  "
		} else {
			section = ""
		}
		name := f.Key[strings.LastIndexByte(f.Key, '.')+1:]
		b.WriteString(indent + name + ": " + f.yaml() + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String returns what Print writes. Formatting a Config with %v would otherwise
// put the master key into a log.
func (c Config) String() string {
	var b strings.Builder
	_ = c.Print(&b) // a strings.Builder does not fail
	return b.String()
}

// GoString returns what Print writes, for %#v.
func (c Config) GoString() string { return c.String() }

// LogValue returns the configuration with its secrets redacted.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, f := range fields(&c) {
		attrs = append(attrs, slog.String(f.Key, f.shown()))
	}
	return slog.GroupValue(attrs...)
}
