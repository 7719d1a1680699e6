package server

import (
	"net/url"
	"strings"
	"testing"
)

// A link to the login page may say where to go then. If it could say anywhere,
// it would be a link to anywhere that begins with our name (open redirect).
func TestReturnAddressesThatAreTaken(t *testing.T) {
	t.Parallel()
	s := &Server{origins: []string{"https://app.example.com", "https://shop.example.com:8443", "http://intranet"}}
	dev := &Server{loopback: true}
	for _, tt := range []struct {
		s      *Server
		target string
	}{
		{s, "/"}, {s, "/account"}, {s, "/account?x=//evil.example"}, {s, "/a/b/../c"}, {s, "/a//b"}, {s, "/#x"}, {s, "/%2F%2Fevil.example"}, {s, "/@evil.example"}, {s, "/:80"},
		{s, "/./"}, {s, "/..//evil.example"}, // a path here, whatever it looks like
		{s, "https://app.example.com"}, {s, "https://app.example.com/"}, {s, "https://app.example.com/x?y=z#w"}, {s, "https://app.example.com?x"}, {s, "https://app.example.com#x"},
		{s, "https://app.example.com/@evil.example"}, {s, "https://app.example.com?https://evil.example"}, {s, "https://shop.example.com:8443/cart"}, {s, "http://intranet/"},
		{dev, "http://localhost:5173/"}, {dev, "http://localhost"}, {dev, "http://127.0.0.1:3000/app"}, {dev, "http://[::1]:3000/"}, {dev, "/account"},
	} {
		if got := tt.s.returnTo(tt.target, "DEFAULT"); got != tt.target {
			t.Errorf("%q leads to %q", tt.target, got)
		}
	}
}

func TestReturnAddressesThatAreNotTaken(t *testing.T) {
	t.Parallel()
	listed := &Server{origins: []string{"https://app.example.com", "https://shop.example.com:8443"}}
	dev := &Server{loopback: true}
	none := &Server{}
	hostile := []string{
		"", " ", "evil.example", "account", "./account", "../account", "?x", "#x", "*",
		// Another host with our scheme, as browsers read it.
		"//evil.example", "///evil.example", "////evil.example", "//evil.example/..", "//app.example.com", "//", "//@evil.example",
		`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `/a\b`, `https:\\evil.example`, `https:/\evil.example`,
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "/\x00/evil.example", "/\x0b/evil.example",
		"/\x7f", "/\u00a0", "/\u2028/evil.example", "/\u200b/evil.example", "/\uff0f/evil.example", "\uff0f\uff0fevil.example", "/\u3002", "/\xff", "/é",
		"/account\r\nSet-Cookie: x=y", "/account\nLocation: https://evil.example",
		// Other schemes.
		"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", "javascript://app.example.com/%0aalert(1)", "data:text/html,x", "vbscript:x", "blob:https://app.example.com/x",
		"file:///etc/passwd", "about:blank", "view-source:https://app.example.com", "ftp://app.example.com/", "ws://app.example.com", "mailto:x@example.com", "app.example.com://x",
		// Schemes without an authority, which browsers repair.
		"https:evil.example", "https:/evil.example", "https:///evil.example", "https:app.example.com", "https:/app.example.com", "https:///app.example.com", "http:evil.example", "://app.example.com", "https://",
		// Prefixes and suffixes.
		"https://app.example.com.evil.example", "https://app.example.com.", "https://app.example.com./", "https://app.example.comevil.example", "https://evil.example/https://app.example.com", "https://evilapp.example.com",
		"https://x.app.example.com", "https://example.com", "https://evil.example?https://app.example.com/", "https://evil.example#https://app.example.com/", "https://app.example.com-evil.example/",
		// User names.
		"https://app.example.com@evil.example", "https://app.example.com:443@evil.example/", "https://app.example.com%40evil.example", "https://user@app.example.com/", "https://user:pw@app.example.com/", "https://@app.example.com/",
		"https://evil.example@app.example.com/",
		// Ports and other spellings of the host.
		"https://app.example.com:443/", "https://app.example.com:8443/", "https://app.example.com:/", "https://shop.example.com/", "https://shop.example.com:84430/", "https://shop.example.com:8443@evil.example", "http://app.example.com/",
		"HTTPS://app.example.com/", "https://APP.example.com/", "https://app.example.com%2f@evil.example", "https://app%2eexample.com/", "https://app.example.com;@evil.example/", "https://app.example.com,evil.example/", "https://app.example.com&evil/",
		"https://аpp.example.com/", "https://app.example。com/", "https://xn--pp-7kc.example.com/", "https://[app.example.com]/", "https://0x7f.1/", "https://*.example.com/", "null",
		"/" + strings.Repeat("a", 2000), "https://app.example.com/" + strings.Repeat("a", 2000),
	}
	loopback := []string{
		"http://localhost.evil.example/", "http://localhost:80.evil.example/", "http://localhost@evil.example", "http://localhost:80@evil.example", "http://127.0.0.1.evil.example", "http://127.0.0.1:@evil.example/",
		"https://localhost/", "http://LOCALHOST/", "http://localhost:/", "http://localhost:x/", "http://localhost:123456/", "http://0.0.0.0/", "http://127.1/", "http://127.0.0.2/", "http://2130706433/", "http://[::]/", "http://[::1", "http://::1/",
		"http://localhost\n/", "http://localhost%00/", "http://localhost:80%2f@evil.example",
	}
	for name, s := range map[string]*Server{"listed": listed, "dev": dev, "none": none} {
		for _, target := range append(hostile, loopback...) {
			if got := s.returnTo(target, "DEFAULT"); got != "DEFAULT" {
				t.Errorf("%s: %q leads to %q", name, target, got)
			}
		}
	}
	for _, target := range []string{"http://localhost:5173/", "http://127.0.0.1/", "http://[::1]/"} {
		if got := listed.returnTo(target, "DEFAULT"); got != "DEFAULT" {
			t.Errorf("without dev %q leads to %q", target, got)
		}
	}
}

// Whatever comes in, what comes out is a path of this host or an address of a
// listed origin, for our comparison and for a parser that knows nothing of it.
func FuzzReturnTo(f *testing.F) {
	for _, s := range []string{
		"/account", "//evil.example", `/\evil.example`, "https://app.example.com/x", "https://app.example.com.evil.example", "https://app.example.com@evil.example", "http://localhost:5173/#x",
		"javascript:alert(1)", "https://app.example.com?", "/a b", "http://[::1]:80", "https://app.example.com:443", "/\x00", "https:/app.example.com", "/%2f",
	} {
		f.Add(s)
	}
	servers := []*Server{{}, {origins: []string{"https://app.example.com", "http://intranet:8080"}}, {loopback: true}}
	f.Fuzz(func(t *testing.T, target string) {
		for _, s := range servers {
			got := s.returnTo(target, "/default")
			if got != target && got != "/default" {
				t.Fatalf("%q became %q", target, got)
			}
			if strings.ContainsAny(got, "\\\t\r\n \x00\x7f") {
				t.Fatalf("%q leads to %q", target, got)
			}
			u, err := url.Parse(got)
			if err != nil && got[0] != '/' {
				t.Fatalf("%q leads to %q: %v", target, got, err)
			}
			if got[0] == '/' {
				if strings.HasPrefix(got, "//") || err == nil && (u.Host != "" || u.Scheme != "" || u.User != nil) {
					t.Fatalf("%q leads to another host: %q", target, got)
				}
				continue
			}
			origin := u.Scheme + "://" + u.Host
			rest := strings.TrimPrefix(got, origin)
			if !s.allowedOrigin(origin) || u.User != nil || u.Opaque != "" || rest == got || rest != "" && !strings.ContainsRune("/?#", rune(rest[0])) {
				t.Fatalf("%q leads to %q at %q", target, got, origin)
			}
		}
	})
}
