package config

import (
	"encoding/base64"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/curfewhq/curfew/internal/password"
)

var update = flag.Bool("update", false, "write docs/config.md")

// goodKey is a master key that says where it has leaked to.
var goodKey = base64.StdEncoding.EncodeToString([]byte("this is the master key, 32 bytes"))

func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curfew.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefault(t *testing.T) {
	want := Config{
		Listen: "127.0.0.1:8080", Audience: "curfew", Data: "./curfew-data", DefaultClient: "default",
		ShutdownTimeout: 15 * time.Second,
	}
	want.Tokens.Algorithm, want.Tokens.AccessLife = "ES256", 10*time.Minute
	want.Keys.RotateEvery, want.Keys.Announce = 90*24*time.Hour, 24*time.Hour
	want.Sessions.Lifetime, want.Sessions.Retention = 30*24*time.Hour, 30*24*time.Hour
	want.Sessions.RefreshGrace, want.Sessions.AtMax = 10*time.Second, "end_oldest"
	want.Sessions.Expiry, want.Sessions.MaxLifetime = "absolute", 90*24*time.Hour
	want.Cookies.Name, want.Cookies.Remember, want.Cookies.ClearSiteData = "__Host-curfew", "off", []string{"storage"}
	want.Web.Pages = "on"
	want.Feed.Lease = 3 * time.Second
	want.Password.MemoryKiB, want.Password.Iterations, want.Password.Parallelism = 19456, 2, 1
	want.Password.MaxWait = 5 * time.Second
	want.Limits.LogoutCalls, want.Limits.LogoutWindow = 20, 5*time.Minute
	want.Limits.LoginFailuresAccount, want.Limits.LoginFailuresAddress = 10, 100
	want.Limits.LoginWindow = 15 * time.Minute
	want.Log.Level, want.Log.Format = "info", "text"
	if diff := cmp.Diff(want, Default()); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if err := Default().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	got, err := Load(Sources{})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Load of nothing: %v\n%s", err, diff)
	}
}

// Every option can be given in every way, and each way gives way to the one
// before it.
func TestPrecedence(t *testing.T) {
	for _, o := range Options() {
		t.Run(o.Key, func(t *testing.T) {
			// Three values of the type that are no defaults and valid together
			// with the defaults of all others.
			values := map[string][3]string{"string": {"a", "b", "c"}, "list": {"127.0.0.1", "10.0.0.1,10.0.0.2", "::1"}, "integer": {"3", "4", "2"}, "duration": {"11m", "12m", "13m"}}[o.Type]
			switch o.Key {
			case "listen":
				values = [3]string{":1", ":2", ":3"}
			case "public_url":
				values = [3]string{"http://a", "http://b", "https://c"}
			case "master_key":
				values = [3]string{goodKey, strings.Repeat("AB", 21) + "A=", ""}
			case "clients":
				values = [3]string{"default", "default,a", "default,b"}
			case "tokens.algorithm":
				values = [3]string{"EdDSA", "RS256", "ES256"}
			case "sessions.at_max":
				values = [3]string{"refuse", "end_oldest", "refuse"}
			case "sessions.expiry":
				values = [3]string{"sliding", "absolute", "sliding"}
			case "cookies.name":
				values = [3]string{"__Host-a", "__Host-b", "__Host-c_-9"}
			case "cookies.remember":
				values = [3]string{"offer", "off", "offer"}
			case "cookies.clear_site_data":
				values = [3]string{"cache", "storage,cache", "cookies"}
			case "web.pages":
				values = [3]string{"off", "on", "off"}
			case "web.origins":
				values = [3]string{"https://a", "https://a:1,http://localhost:5173", "https://c.example"}
			case "log.level":
				values = [3]string{"debug", "warn", "error"}
			case "log.format":
				values = [3]string{"json", "text", "json"}
			case "password.memory_kib":
				values = [3]string{"64", "128", "256"}
			case "sessions.refresh_grace":
				values = [3]string{"11s", "1m30s", "2ms"}
			case "feed.lease":
				values = [3]string{"4s", "100ms", "1m"}
			case "keys.rotate_every":
				values = [3]string{"25h", "26h", "1000h"}
			case "shutdown_timeout", "password.max_wait":
				values = [3]string{"11s", "12s", "13s"}
			}
			get := func(c Config) string {
				for _, f := range fields(&c) {
					if f.Key == o.Key {
						return f.text()
					}
				}
				return ""
			}
			src := Sources{Environ: []string{}, Flags: map[string]string{}}
			// A certificate needs a key and a key a certificate.
			switch o.Key {
			case "tls.cert":
				src.Environ = append(src.Environ, "CURFEW_TLS_KEY=x")
			case "tls.key":
				src.Environ = append(src.Environ, "CURFEW_TLS_CERT=x")
			}
			check := func(source, want string) {
				t.Helper()
				c, err := Load(src)
				if err != nil {
					t.Fatalf("from %s: %v", source, err)
				}
				if got := get(c); got != want {
					t.Errorf("from %s: %q, want %q", source, got, want)
				}
			}
			if !strings.HasPrefix(o.Key, "tls.") {
				check("default", o.Default)
			}
			head, name, nested := strings.Cut(o.Key, ".")
			yaml := head + ": "
			if nested {
				yaml += "\n  " + name + ": "
			}
			if o.Type == "integer" || o.Type == "duration" {
				yaml += values[0]
			} else {
				yaml += "'" + values[0] + "'"
			}
			src.File = write(t, yaml)
			check("file", values[0])
			src.Environ = append(src.Environ, o.Env+"="+values[1])
			check("variable", values[1])
			if o.Flag != "" {
				src.Flags[o.Key] = values[2]
				check("flag", values[2])
			}
		})
	}
}

func TestOptions(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Options() {
		// The flag of an option without dots is its key.
		names := []string{o.Key, o.Env, o.Flag}
		for _, name := range names {
			if seen[name] {
				t.Errorf("%q is the name of two options", name)
			}
		}
		for _, name := range names {
			seen[name] = name != ""
		}
		if !strings.HasSuffix(o.Doc, ".") || strings.ContainsAny(o.Doc, "\n`") {
			t.Errorf("%s: doc %q is not plain sentences", o.Key, o.Doc)
		}
		// X_FILE must mean one thing.
		if strings.HasSuffix(o.Env, fileSuffix) {
			t.Errorf("%s looks like the file of a secret", o.Env)
		}
		if o.Secret && o.Flag != "" {
			t.Errorf("%s is a secret with a flag", o.Key)
		}
	}
	var idle Option
	for _, o := range Options() {
		if o.Key == "sessions.idle_timeout" {
			idle = o
		}
	}
	want := Option{
		Key: "sessions.idle_timeout", Env: "CURFEW_SESSIONS_IDLE_TIMEOUT", Flag: "sessions-idle-timeout", Type: "duration",
		Default: "0", Doc: "A session ends when its person has done nothing for this long. Background refresh is no activity. 0 means never.", OneOf: []string{},
	}
	if diff := cmp.Diff(want, idle); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestYAML(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml string
		want func(*Config)
	}{
		"empty":                      {"", func(*Config) {}},
		"only comments":              {"# nothing\n\n# here\n", func(*Config) {}},
		"only a separator":           {"---\n", func(*Config) {}},
		"only braces":                {"{}\n", func(*Config) {}},
		"a section commented out":    {"sessions:\n  # max: 3\nlisten: :1\n", func(c *Config) { c.Listen = ":1" }},
		"one key":                    {"data: /var/lib/curfew", func(c *Config) { c.Data = "/var/lib/curfew" }},
		"Windows line ends":          {"data: /x\r\naudience: a\r\n", func(c *Config) { c.Data, c.Audience = "/x", "a" }},
		"quoted duration":            {"sessions: {lifetime: \"10m\"}", func(c *Config) { c.Sessions.Lifetime = 10 * time.Minute }},
		"zero needs no unit":         {"sessions:\n  idle_timeout: 0", func(*Config) {}},
		"list":                       {"trusted_proxies:\n  - 10.0.0.1\n  - 192.168.0.0/16", func(c *Config) { c.TrustedProxies = []string{"10.0.0.1", "192.168.0.0/16"} }},
		"list in brackets":           {"clients: [default, web]", func(c *Config) { c.Clients = []string{"default", "web"} }},
		"list of one as text":        {"clients: default", func(c *Config) { c.Clients = []string{"default"} }},
		"dotted key":                 {"sessions.max: 3", func(c *Config) { c.Sessions.Max = 3 }},
		"empty list":                 {"clients: []", func(*Config) {}},
		"a number that is an id":     {"default_client: 0123", func(c *Config) { c.DefaultClient = "0123" }},
		"an unquoted port":           {"listen: 127.0.0.1:9090", func(c *Config) { c.Listen = "127.0.0.1:9090" }},
		"master key as literal text": {"master_key: |\n  " + goodKey + "\n", func(c *Config) { c.MasterKey = goodKey }},
	} {
		t.Run(name, func(t *testing.T) {
			want := Default()
			tt.want(&want)
			got, err := Load(Sources{File: write(t, tt.yaml)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestYAMLErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml string
		want []string // all of them, each naming its line
	}{
		"unknown key":            {"listen: :1\nlissten: :2", []string{`:2: unknown key "lissten" (did you mean "listen"?)`}},
		"unknown nested key":     {"sessions:\n  max: 1\n  idle_timout: 1h", []string{`:3: unknown key "sessions.idle_timout" (did you mean "sessions.idle_timeout"?)`}},
		"unknown section":        {"session:\n  max: 1", []string{`:1: unknown key "session" (did you mean "sessions"?)`}},
		"key of another section": {"tokens:\n  lifetime: 1h", []string{`unknown key "tokens.lifetime" (did you mean "sessions.lifetime"?)`}},
		"key without section":    {"idle_timeout: 1h", []string{`unknown key "idle_timeout" (did you mean "sessions.idle_timeout"?)`}},
		"nothing like it":        {"zzzzzzzzzz: 1", []string{`:1: unknown key "zzzzzzzzzz"`}},
		"all at once":            {"a1: 1\nb2: 2\nsessions:\n  c3: 3\n  max: x", []string{`:1: unknown key "a1"`, `:2: unknown key "b2"`, `:4: unknown key "sessions.c3"`, `:5: sessions.max is "x": must be a whole number`}},
		"bare number":            {"tokens:\n  access_life: 600", []string{`:2: tokens.access_life is "600": a duration needs a unit, such as 600s or 10m`}},
		"bare number, quoted":    {"tokens:\n  access_life: '600'", []string{`a duration needs a unit`}},
		"bare fraction":          {"tokens:\n  access_life: 1.5", []string{`a duration needs a unit`}},
		"days":                   {"keys:\n  rotate_every: 90d", []string{`:2: keys.rotate_every is "90d": days are no unit here; write 2160h`}},
		"no duration":            {"keys:\n  rotate_every: soon", []string{`must be a duration, such as`}},
		"no number":              {"sessions:\n  max: 1.5", []string{`must be a whole number`}},
		"number with a unit":     {"sessions:\n  max: 5m", []string{`must be a whole number`}},
		"no value":               {"sessions:\n  max:\n", []string{`:2: sessions.max: has no value; give one or remove the line`}},
		"truth value":            {"log:\n  level: true", []string{`:2: log.level is "true": is a truth value to YAML`}},
		"list for one value":     {"listen: [a, b]", []string{`:1: listen is "[a, b]": takes one value and not a list`}},
		"section for a value":    {"listen:\n  port: 1", []string{`takes a value and has no keys below it`}},
		"value for a section":    {"sessions: 5", []string{`:1: sessions must be keys with values`}},
		"list for a section":     {"sessions:\n  - max: 5", []string{`sessions must be keys with values`}},
		"nested list":            {"clients: [[a]]", []string{`:1: clients`}},
		"list at the top":        {"- listen: :1", []string{`:1: must be keys with values`}},
		"text at the top":        {"listen", []string{`:1: must be keys with values`}},
		"twice":                  {"listen: :1\ndata: x\nlisten: :2", []string{`:3: mapping key "listen" already defined at [1:1]`}},
		"two documents":          {"listen: :1\n---\nlisten: :2", []string{`:3: a second YAML document`}},
		"anchor":                 {"data: &x abc\naudience: *x", []string{`:1: data`, `:2: audience`}},
		"merge":                  {"<<: {listen: :1}", []string{`:1: key "<<" is not plain text`}},
		"tag":                    {"data: !!binary aGVsbG8=", []string{`:1: data`}},
		"dotted key as well":     {"sessions.max: 3\nsessions:\n  max: 4", []string{`:3: sessions.max is there twice`}},
		"not YAML":               {"listen: [", []string{`curfew.yaml:1: `}},
		"tab":                    {"sessions:\n\tmax: 1", []string{`curfew.yaml:2: `}},
		"secret":                 {"master_key: [hunter2]", []string{`:1: master_key: takes one value and not a list`}},
		"validated as well":      {"sessions:\n  max: -1\nlog:\n  level: loud", []string{`sessions.max is -1: must not be negative`, `log.level is "loud": must be one of debug, info, warn, error`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Sources{File: write(t, tt.yaml)})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is\n%v\nwant in it\n%s", err, want)
				}
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(tt.want) {
				t.Errorf("%d problems, want %d:\n%v", lines, len(tt.want), err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error repeats a secret: %v", err)
			}
		})
	}
}

func TestFile(t *testing.T) {
	if _, err := Load(Sources{File: filepath.Join(t.TempDir(), "missing.yaml")}); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(Sources{File: t.TempDir()}); err == nil {
		t.Error("a directory is accepted")
	}
	if _, err := Load(Sources{File: write(t, strings.Repeat("#", maxFile+1))}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("huge file: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	keyFile := write(t, goodKey+"\n")
	for name, tt := range map[string]struct {
		environ []string
		want    string // error; empty means none
	}{
		"others are none of ours":   {[]string{"PATH=/bin", "HOME=/root", "CURFEWX=1", "XCURFEW_LISTEN=1", "junk"}, ""},
		"of the other commands":     {[]string{"CURFEW_AUTHORITY=http://x", "CURFEW_OPERATOR_KEY=k", "CURFEW_OPERATOR_KEY_FILE=f", "CURFEW_CONFIG=c"}, ""},
		"empty is not set":          {[]string{"CURFEW_SESSIONS_MAX=", "CURFEW_LISTEN=", "CURFEW_MASTER_KEY=", "CURFEW_MASTER_KEY_FILE="}, ""},
		"secret from a file":        {[]string{"CURFEW_MASTER_KEY_FILE=" + keyFile}, ""},
		"secret beside an empty":    {[]string{"CURFEW_MASTER_KEY=", "CURFEW_MASTER_KEY_FILE=" + keyFile}, ""},
		"unknown":                   {[]string{"CURFEW_SESSION_MAX=1"}, `environment: unknown variable CURFEW_SESSION_MAX (did you mean "CURFEW_SESSIONS_MAX"?)`},
		"unknown and empty":         {[]string{"CURFEW_SESSION_MAX="}, `unknown variable CURFEW_SESSION_MAX`},
		"unknown of other commands": {[]string{"CURFEW_OPERATORKEY=1"}, `(did you mean "CURFEW_OPERATOR_KEY"?)`},
		"lower case":                {[]string{"CURFEW_listen=1"}, `unknown variable CURFEW_listen`},
		"no secret":                 {[]string{"CURFEW_LISTEN_FILE=x"}, `unknown variable CURFEW_LISTEN_FILE (only secrets are read from files; set CURFEW_LISTEN)`},
		"both":                      {[]string{"CURFEW_MASTER_KEY=" + goodKey, "CURFEW_MASTER_KEY_FILE=" + keyFile}, `CURFEW_MASTER_KEY and CURFEW_MASTER_KEY_FILE are both set; keep one`},
		"file is missing":           {[]string{"CURFEW_MASTER_KEY_FILE=/nonexistent"}, `CURFEW_MASTER_KEY_FILE: open /nonexistent`},
		"file is empty":             {[]string{"CURFEW_MASTER_KEY_FILE=" + write(t, "\n")}, `is empty`},
		"bad secret":                {[]string{"CURFEW_MASTER_KEY=hunter2"}, `master_key is "(set)": master key is not base64`},
		"bad secret of many lines":  {[]string{"CURFEW_MASTER_KEY=hunter2\nhunter2"}, `environment: CURFEW_MASTER_KEY: must be a single line of text`},
		"bad duration":              {[]string{"CURFEW_TOKENS_ACCESS_LIFE=600"}, `environment: CURFEW_TOKENS_ACCESS_LIFE is "600": a duration needs a unit`},
		"bad number":                {[]string{"CURFEW_SESSIONS_MAX=many"}, `CURFEW_SESSIONS_MAX is "many": must be a whole number`},
		"bad list":                  {[]string{"CURFEW_CLIENTS=a,,b"}, `CURFEW_CLIENTS is "a,,b": has an empty`},
		"password in a URL":         {[]string{"CURFEW_PUBLIC_URL=https://u:hunter2@x"}, `public_url is "https://u:xxxxx@x": must have no user`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(Sources{Environ: tt.environ})
			if tt.want == "" {
				want := Default()
				if strings.Contains(name, "secret") {
					want.MasterKey = goodKey
				}
				if diff := cmp.Diff(want, c); err != nil || diff != "" {
					t.Errorf("%v\n%s", err, diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is\n%v\nwant in it\n%s", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one problem:\n%v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error repeats a secret: %v", err)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	c, err := Load(Sources{Flags: map[string]string{"listen": ":9", "clients": "", "sessions.lifetime": "1h"}, Environ: []string{"CURFEW_CLIENTS=default"}})
	if err != nil || c.Listen != ":9" || c.Clients != nil || c.Sessions.Lifetime != time.Hour {
		t.Errorf("%v\n%s", err, c)
	}
	for key, want := range map[string]string{
		"lisen":        `flags: unknown option "lisen" (did you mean "listen"?)`,
		"master_key":   `flags: master_key is a secret and has no flag; set CURFEW_MASTER_KEY or CURFEW_MASTER_KEY_FILE`,
		"sessions.max": `--sessions-max is "hunter2": must be a whole number`,
	} {
		if _, err := Load(Sources{Flags: map[string]string{key: "hunter2"}}); err == nil || err.Error() != want {
			t.Errorf("%s: error is\n%v\nwant\n%s", key, err, want)
		}
	}
}

// A source that is broken does not hide the problems of the next.
func TestAllSourcesAtOnce(t *testing.T) {
	_, err := Load(Sources{File: write(t, "lisen: x"), Environ: []string{"CURFEW_LISEN=x"}, Flags: map[string]string{"lisen": "x"}})
	if err == nil || strings.Count(err.Error(), "did you mean") != 3 {
		t.Errorf("want three problems, got\n%v", err)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`listen is "8080": must be address:port`:                                           func(c *Config) { c.Listen = "8080" },
		`listen is "127.0.0.1:70000": must be address:port`:                                func(c *Config) { c.Listen = "127.0.0.1:70000" },
		`public_url is "login.example.com": must be a URL`:                                 func(c *Config) { c.PublicURL = "login.example.com" },
		`public_url is "javascript:alert(1)": must be a URL`:                               func(c *Config) { c.PublicURL = "javascript:alert(1)" },
		`public_url is "ftp://x": must be a URL`:                                           func(c *Config) { c.PublicURL = "ftp://x" },
		`public_url is "https://:443": must be a URL`:                                      func(c *Config) { c.PublicURL = "https://:443" },
		`public_url is "https://x/": must not end in a slash; write https://x`:             func(c *Config) { c.PublicURL = "https://x/" },
		`public_url is "https://x?a": must have no user, query or fragment`:                func(c *Config) { c.PublicURL = "https://x?a" },
		`public_url is "https://x#": must have no user, query or fragment`:                 func(c *Config) { c.PublicURL = "https://x#" },
		`public_url is "https://X": must have scheme and host in lower case`:               func(c *Config) { c.PublicURL = "https://X" },
		`public_url is "HTTPS://x": must have scheme and host in lower case`:               func(c *Config) { c.PublicURL = "HTTPS://x" },
		`audience is "": must not be empty`:                                                func(c *Config) { c.Audience = "" },
		`audience is "a b": must be 1 to 255`:                                              func(c *Config) { c.Audience = "a b" },
		`data is " ": must not be empty`:                                                   func(c *Config) { c.Data = " " },
		`master_key is "(set)": master key has 3 bytes`:                                    func(c *Config) { c.MasterKey = "AAAA" },
		`trusted_proxies is "10.0.0.1,0.0.0.0/0": trusted proxy "0.0.0.0/0": trusts every`: func(c *Config) { c.TrustedProxies = []string{"10.0.0.1", "0.0.0.0/0"} },
		`clients is "default,a b": "a b" must be`:                                          func(c *Config) { c.Clients = []string{"default", "a b"} },
		`default_client is "default": must be one of clients`:                              func(c *Config) { c.Clients = []string{"web"} },
		`default_client is "": must not be empty`:                                          func(c *Config) { c.DefaultClient = "" },
		`tls.key is "": must be set together with tls.cert`:                                func(c *Config) { c.TLS.Cert = "x" },
		`tls.cert is "": must be set together with tls.key`:                                func(c *Config) { c.TLS.Key = "x" },
		`tokens.algorithm is "none": must be one of ES256, EdDSA, RS256`:                   func(c *Config) { c.Tokens.Algorithm = "none" },
		`tokens.algorithm is "HS256": must be one of`:                                      func(c *Config) { c.Tokens.Algorithm = "HS256" },
		`tokens.access_life is 0: must be 1s to 24h`:                                       func(c *Config) { c.Tokens.AccessLife = 0 },
		`tokens.access_life is 10m: must be at most sessions.lifetime (5m)`:                func(c *Config) { c.Sessions.Lifetime = 5 * time.Minute },
		`tokens.access_life is -1s: must not be negative`:                                  func(c *Config) { c.Tokens.AccessLife = -time.Second },
		`keys.announce is 24h: must be shorter than keys.rotate_every (24h)`:               func(c *Config) { c.Keys.RotateEvery = 24 * time.Hour },
		`keys.rotate_every is -1s: must not be negative`:                                   func(c *Config) { c.Keys.RotateEvery = -time.Second },
		`sessions.idle_timeout is 721h: must be 0 or at most sessions.lifetime (720h)`:     func(c *Config) { c.Sessions.IdleTimeout = 721 * time.Hour },
		`sessions.refresh_grace is 1h: must be 0 to 5m`:                                    func(c *Config) { c.Sessions.RefreshGrace = time.Hour },
		`sessions.max is -1: must not be negative`:                                         func(c *Config) { c.Sessions.Max = -1 },
		`sessions.at_max is "": must be one of refuse, end_oldest`:                         func(c *Config) { c.Sessions.AtMax = "" },
		`sessions.expiry is "never": must be one of absolute, sliding`:                     func(c *Config) { c.Sessions.Expiry = "never" },
		`sessions.max_lifetime is 719h: must be at least sessions.lifetime (720h)`: func(c *Config) {
			c.Sessions.Expiry, c.Sessions.MaxLifetime = "sliding", 719*time.Hour
		},
		`cookies.name is "curfew": must begin with __Host-`:                         func(c *Config) { c.Cookies.Name = "curfew" },
		`cookies.name is "__Host-a;b": must begin with __Host-`:                     func(c *Config) { c.Cookies.Name = "__Host-a;b" },
		`cookies.clear_site_data is "*": "*" is none of storage, cache, cookies`:    func(c *Config) { c.Cookies.ClearSiteData = []string{"*"} },
		`web.origins is "https://a/": "https://a/" must be scheme and host alone`:   func(c *Config) { c.Web.Origins = []string{"https://a/"} },
		`web.origins is "*": "*" must be scheme and host alone`:                     func(c *Config) { c.Web.Origins = []string{"*"} },
		`web.origins is "https://A": "https://A" must be scheme and host alone`:     func(c *Config) { c.Web.Origins = []string{"https://A"} },
		`web.origins is "https://u@a": "https://u@a" must be scheme and host alone`: func(c *Config) { c.Web.Origins = []string{"https://u@a"} },
		`sessions.retention is -1h: must not be negative`:                           func(c *Config) { c.Sessions.Retention = -time.Hour },
		`password.memory_kib is 7: must be 8 (8 per lane) to 262144`:                func(c *Config) { c.Password.MemoryKiB = 7 },
		`password.iterations is 1000: must be 1 to 53 with this memory`:             func(c *Config) { c.Password.Iterations = 1000 },
		`password.parallelism is 0: must be 1 to 64`:                                func(c *Config) { c.Password.Parallelism = 0 },
		`password.concurrency is -1: must not be negative`:                          func(c *Config) { c.Password.Concurrency = -1 },
		`password.max_wait is 0: must be 1ms to 1m`:                                 func(c *Config) { c.Password.MaxWait = 0 },
		`limits.logout_calls is -1: must not be negative`:                           func(c *Config) { c.Limits.LogoutCalls = -1 },
		`limits.login_window is 0: must be 1s or more`:                              func(c *Config) { c.Limits.LoginWindow = 0 },
		`limits.logout_window is 25h: must be 24h or less`:                          func(c *Config) { c.Limits.LogoutWindow = 25 * time.Hour },
		`log.format is "xml": must be one of text, json`:                            func(c *Config) { c.Log.Format = "xml" },
		`feed.lease is 0: must be 100ms to 1m`:                                      func(c *Config) { c.Feed.Lease = 0 },
		`feed.lease is 99ms: must be 100ms to 1m`:                                   func(c *Config) { c.Feed.Lease = 99 * time.Millisecond },
		`feed.lease is 1m1s: must be 100ms to 1m`:                                   func(c *Config) { c.Feed.Lease = 61 * time.Second },
		`shutdown_timeout is 0: must be 1s to 10m`:                                  func(c *Config) { c.ShutdownTimeout = 0 },
	} {
		c := Default()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is\n%v\nwant in it\n%s", err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one problem:\n%v", err)
		}
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.PublicURL = "https://login.example.com/auth" },
		func(c *Config) { c.PublicURL = "http://[::1]:8080" },
		func(c *Config) { c.Listen = ":0" },
		func(c *Config) { c.Listen = "[::1]:8080" },
		func(c *Config) { c.Limits.LogoutCalls, c.Limits.LogoutWindow = 0, 0 },
		func(c *Config) { c.Keys.RotateEvery = 0 },
		func(c *Config) { c.TLS.Cert, c.TLS.Key = "a", "b" },
		func(c *Config) { c.Clients = []string{"default", "https://app.example.com"} },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	var zero Config
	if err := zero.Validate(); err == nil || strings.Count(err.Error(), "\n") < 10 {
		t.Errorf("the zero Config has fewer problems than expected:\n%v", err)
	}
}

// What is valid here must be what the hasher takes, at both ends.
func TestPasswordBounds(t *testing.T) {
	for _, n := range []struct {
		memory, iterations, parallelism int
	}{
		{8, 1, 1}, {7, 1, 1}, {512, 1, 64}, {511, 1, 64}, {520, 1, 65}, {maxMemoryKiB, 4, 1}, {maxMemoryKiB + 1, 1, 1}, {maxMemoryKiB, 5, 1},
		{8, maxArgonWork / 8, 1}, {8, maxArgonWork/8 + 1, 1}, {1000, 1048, 1}, {1000, 1049, 1},
	} {
		c := Default()
		c.Password.MemoryKiB, c.Password.Iterations, c.Password.Parallelism = n.memory, n.iterations, n.parallelism
		_, err := password.New(password.Config{MemoryKiB: n.memory, Iterations: n.iterations, Parallelism: n.parallelism})
		if verr := c.Validate(); (verr == nil) != (err == nil) {
			t.Errorf("%+v: configuration says %v, hasher says %v", n, verr, err)
		}
	}
}

func TestIssuer(t *testing.T) {
	for _, tt := range []struct{ public, listen, cert, want string }{
		{"https://x", ":8080", "", "https://x"},
		{"", "127.0.0.1:8080", "", "http://127.0.0.1:8080"},
		{"", "127.0.0.1:8443", "cert.pem", "https://127.0.0.1:8443"},
		{"", ":8080", "", "http://localhost:8080"},
		{"", "0.0.0.0:8080", "", "http://localhost:8080"},
		{"", "[::]:8080", "", "http://localhost:8080"},
		{"", "[::1]:8080", "", "http://[::1]:8080"},
	} {
		c := Config{PublicURL: tt.public, Listen: tt.listen}
		c.TLS.Cert = tt.cert
		if got := c.Issuer(); got != tt.want {
			t.Errorf("Issuer of %+v is %s", tt, got)
		}
	}
}

func TestPrint(t *testing.T) {
	c := Default()
	c.MasterKey, c.Store = goodKey, "postgres://curfew:hunter2@db/curfew"
	c.Clients = []string{"default", `we"b`}
	var out strings.Builder
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`master_key: "(set)"`, `store: "postgres://curfew:xxxxx@db/curfew"`, `clients: ["default", "we\"b"]`,
		"sessions:\n  lifetime: 720h\n  expiry: \"absolute\"\n", `trusted_proxies: []`, "\nshutdown_timeout: 15s\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	// However it is printed.
	fmt.Fprintf(&out, "%v %+v %#v %s %v", c, c, c, c, &c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c)
	if strings.Contains(out.String(), goodKey) || strings.Contains(out.String(), "hunter2") {
		t.Error("a secret is printed")
	}

	// What is printed can be read.
	c.MasterKey, c.Store = "", "file:x.db?y=1#z: {[\\\"'"
	c.TrustedProxies, c.Sessions.IdleTimeout, c.Tokens.AccessLife = []string{"10.0.0.0/8"}, 90*time.Second, 1500*time.Millisecond
	c.Clients = []string{"default", "a:b", "{}", "#", "null", "0123"}
	got, err := Load(Sources{File: write(t, c.String())})
	if diff := cmp.Diff(c, got); err != nil || diff != "" {
		t.Errorf("%v (-printed +read):\n%s", err, diff)
	}
}

func TestDocs(t *testing.T) {
	const path = "../../docs/config.md"
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Markdown(), string(got)); diff != "" {
		t.Errorf("docs/config.md is not up to date; run go test ./internal/config -update (-want +got):\n%s", diff)
	}
	for _, o := range Options() {
		if !strings.Contains(string(got), "`"+o.Key+"`") || !strings.Contains(string(got), "`"+o.Env+"`") {
			t.Errorf("%s is not documented", o.Key)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"listen", "lisen", 1}, {"listen", "lisetn", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want || editDistance(tt.b, tt.a) != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	if s := suggest(strings.Repeat("x", 1<<20), []string{"listen"}); s != "" {
		t.Errorf("suggestion %s", s)
	}
}

// Whatever the file holds: an error or a valid configuration, and the same from
// what is printed of it.
func FuzzYAML(f *testing.F) {
	f.Add(Default().String())
	for _, s := range []string{"", "a: b", "sessions:\n  max: 1", "clients: [a, b]", "x: &a [*a]", "? a\n: b", "<<: *x", "- a", "{", "data: |\n  x", "data: !!str x", "--- a\n---\nb", "%YAML 1.2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		c := Default()
		if errs := applyYAML(fields(&c), "fuzz.yaml", []byte(content)); len(errs) > 0 || c.Validate() != nil || c.MasterKey != "" || strings.Contains(c.String(), "xxxxx") {
			return
		}
		again := Default()
		printed := c.String()
		if errs := applyYAML(fields(&again), "printed.yaml", []byte(printed)); len(errs) > 0 {
			t.Fatalf("%v\n%s", errs, printed)
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("(-given +printed and read):\n%s", cmp.Diff(c, again))
		}
	})
}
