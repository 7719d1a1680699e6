package netaddr

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func request(remote string, xff ...string) *http.Request {
	r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	for _, v := range xff {
		r.Header.Add("X-Forwarded-For", v)
	}
	return r
}

func TestClientAddr(t *testing.T) {
	trusted := []string{"10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48", "::1", "fe80::/10"}
	for _, tt := range []struct {
		name   string
		remote string
		xff    []string
		want   string
	}{
		{"direct", "203.0.113.9:1234", nil, "203.0.113.9"},
		{"direct, IPv6", "[2001:db8::1]:1234", nil, "2001:db8::1"},
		{"no port", "203.0.113.9", nil, "203.0.113.9"},
		{"Unix socket", "@", nil, "invalid IP"},
		{"Unix socket with a forged header", "", []string{"1.2.3.4"}, "invalid IP"},

		{"spoofed by a direct client", "203.0.113.9:1234", []string{"127.0.0.1"}, "203.0.113.9"},
		{"spoofed by a direct client as a proxy", "203.0.113.9:1234", []string{"1.2.3.4, 10.0.0.1"}, "203.0.113.9"},
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"one proxy, spoofed on the left", "10.0.0.1:1", []string{"127.0.0.1, 1.2.3.4, 203.0.113.9"}, "203.0.113.9"},
		{"one proxy, spoofed with the proxy's own address", "10.0.0.1:1", []string{"10.0.0.1, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.9, 192.0.2.7"}, "203.0.113.9"},
		{"two proxies, spoofed", "10.0.0.1:1", []string{"1.2.3.4, 203.0.113.9, 10.9.9.9"}, "203.0.113.9"},
		{"a neighbour of a trusted address", "192.0.2.8:1", []string{"1.2.3.4"}, "192.0.2.8"},
		{"the proxy itself", "10.0.0.1:1", nil, "10.0.0.1"},
		{"all of them ours", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},

		{"several headers, forged first", "10.0.0.1:1", []string{"1.2.3.4", "203.0.113.9"}, "203.0.113.9"},
		{"several headers, proxies in the last", "10.0.0.1:1", []string{"1.2.3.4, 203.0.113.9", "10.0.0.3, 10.0.0.2"}, "203.0.113.9"},
		{"several headers, last empty", "10.0.0.1:1", []string{"203.0.113.9", ""}, "10.0.0.1"},

		{"garbage", "10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"garbage behind a good hop", "10.0.0.1:1", []string{"1.2.3.4, garbage, 10.0.0.2"}, "10.0.0.2"},
		{"empty entry", "10.0.0.1:1", []string{"1.2.3.4, , 10.0.0.2"}, "10.0.0.2"},
		{"trailing comma", "10.0.0.1:1", []string{"1.2.3.4,"}, "10.0.0.1"},
		{"obfuscated", "10.0.0.1:1", []string{"_hidden"}, "10.0.0.1"},
		{"octal", "10.0.0.1:1", []string{"0177.0.0.1"}, "10.0.0.1"},
		{"one number", "10.0.0.1:1", []string{"2130706433"}, "10.0.0.1"},
		{"script", "10.0.0.1:1", []string{"<script>alert(1)</script>"}, "10.0.0.1"},
		{"line break", "10.0.0.1:1", []string{"1.2.3.4\r\nX-Evil: 1"}, "10.0.0.1"},
		{"very long", "10.0.0.1:1", []string{strings.Repeat("1", 1<<16)}, "10.0.0.1"},
		{"quoted, as in Forwarded", "10.0.0.1:1", []string{`"[2001:db8::1]"`}, "10.0.0.1"},
		{"brackets around IPv4", "10.0.0.1:1", []string{"[1.2.3.4]"}, "10.0.0.1"},

		{"spaces and tabs", "10.0.0.1:1", []string{" \t203.0.113.9\t ,\t10.0.0.2 "}, "203.0.113.9"},
		{"entry with a port", "10.0.0.1:1", []string{"203.0.113.9:5678"}, "203.0.113.9"},
		{"port out of range", "10.0.0.1:1", []string{"203.0.113.9:99999"}, "10.0.0.1"},
		{"IPv6 entry", "10.0.0.1:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 entry in brackets", "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 entry with a port", "10.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv6 proxy", "[2001:db8:ffff::5]:1", []string{"203.0.113.9"}, "203.0.113.9"},

		{"zone of the peer", "[fe80::1%eth0]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"zone varied for a fresh limit", "10.0.0.1:1", []string{"2001:db8::1%25abc"}, "2001:db8::1"},
		{"IPv4-mapped peer", "[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"IPv4-mapped peer, not trusted", "[::ffff:203.0.113.9]:1", []string{"1.2.3.4"}, "203.0.113.9"},
		{"IPv4-mapped entry", "10.0.0.1:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"IPv4-mapped proxy in the list", "10.0.0.1:1", []string{"203.0.113.9, ::ffff:10.0.0.2"}, "203.0.113.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New(trusted)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.ClientAddr(request(tt.remote, tt.xff...)).String(); got != tt.want {
				t.Errorf("ClientAddr is %s, want %s", got, tt.want)
			}
			none, err := New(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := none.ClientAddr(request(tt.remote, tt.xff...)), none.ClientAddr(request(tt.remote)); got != want {
				t.Errorf("without trusted proxies the header makes %s of %s", got, want)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", " 10.0.0.1 "} {
		if _, err := New([]string{text}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.5/8", "10.0.0.0/8,10.0.0.1", "10.0.0.1:80", "fe80::1%eth0", "fe80::%eth0/10",
		"0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96", "::ffff:10.0.0.0/95", "*",
	} {
		if _, err := New([]string{"127.0.0.1", text}); err == nil {
			t.Errorf("%q is accepted", text)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: error does not name it: %v", text, err)
		}
	}
	r, err := New([]string{"::ffff:10.0.0.0/104"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.ClientAddr(request("10.1.2.3:1", "203.0.113.9")).String(); got != "203.0.113.9" {
		t.Errorf("IPv4-mapped prefix does not match IPv4: %s", got)
	}
}

func TestLimitKey(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.9":               "203.0.113.9",
		"::ffff:203.0.113.9":        "203.0.113.9",
		"2001:db8:1:2:3:4:5:6":      "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::":       "2001:db8:1:2::/64",
		"2001:db8:1:3::":            "2001:db8:1:3::/64",
		"fe80::1%eth0":              "fe80::/64",
		"::1":                       "::/64",
		"2001:db8:1:2:3:4:5:6%zone": "2001:db8:1:2::/64",
	} {
		if got := LimitKey(netip.MustParseAddr(in)); got != want {
			t.Errorf("LimitKey(%s) = %s, want %s", in, got, want)
		}
	}
	if got := LimitKey(netip.Addr{}); got != "unknown" {
		t.Errorf("LimitKey of no address = %s", got)
	}
}

func FuzzClientAddr(f *testing.F) {
	f.Add("10.0.0.1:1", "1.2.3.4, 203.0.113.9", "10.0.0.2")
	f.Add("[::ffff:10.0.0.1]:1", "::1%eth0,,", "[::1]:80")
	f.Add("203.0.113.9:1", "x", "")
	f.Add("@", "\x00", ",")
	r, err := New([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, remote, first, second string) {
		got := r.ClientAddr(request(remote, first, second))
		if got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%s is not in its one form", got)
		}
		peer := r.ClientAddr(request(remote))
		if !r.isTrusted(peer) && got != peer {
			t.Fatalf("a peer that is not trusted, %s, passes for %s", peer, got)
		}
		// What the client sends stands to the left of what the proxy appends,
		// and must never change the answer.
		if peer.IsValid() {
			proxied := r.ClientAddr(request("10.0.0.1:1", first, second, peer.String()))
			if !r.isTrusted(peer) && proxied != peer {
				t.Fatalf("client %s passes for %s with %q, %q", peer, proxied, first, second)
			}
		}
		// Several headers are the same as one.
		if one := r.ClientAddr(request(remote, strings.Join([]string{first, second}, ","))); one != got {
			t.Fatalf("%s with two headers, %s with one", got, one)
		}
		if key := LimitKey(got); slices.Contains([]string{"", "invalid IP", "invalid Prefix"}, key) {
			t.Fatalf("key of %s is %q", got, key)
		}
	})
}

func TestForwardedTLS(t *testing.T) {
	trusted := []string{"10.0.0.0/8", "::1"}
	for _, tt := range []struct {
		name   string
		remote string
		xfp    []string
		secure bool
		told   bool
	}{
		{"no header", "10.0.0.1:1", nil, false, false},
		{"stranger", "203.0.113.9:1", []string{"https"}, false, false},
		{"neighbour of a trusted address", "11.0.0.1:1", []string{"https"}, false, false},
		{"Unix socket", "@", []string{"https"}, false, false},
		{"https", "10.0.0.1:1", []string{"https"}, true, true},
		{"IPv6 proxy", "[::1]:1", []string{"https"}, true, true},
		{"IPv4-mapped proxy", "[::ffff:10.0.0.1]:1", []string{"https"}, true, true},
		{"in capitals, with blanks", "10.0.0.1:1", []string{" \tHTTPS "}, true, true},
		{"http", "10.0.0.1:1", []string{"http"}, false, true},
		{"https all the way", "10.0.0.1:1", []string{"https, https,https"}, true, true},
		{"https all the way, two headers", "10.0.0.1:1", []string{"https", "https"}, true, true},
		// Whichever end a proxy writes to, a client that claims https does not
		// hide that it came in the clear.
		{"claimed by the client on the left", "10.0.0.1:1", []string{"https, http"}, false, true},
		{"claimed by the client on the right", "10.0.0.1:1", []string{"http, https"}, false, true},
		{"claimed in a header of its own", "10.0.0.1:1", []string{"https", "http"}, false, true},
		{"empty", "10.0.0.1:1", []string{""}, false, true},
		{"empty entry", "10.0.0.1:1", []string{"https,,https"}, false, true},
		{"trailing comma", "10.0.0.1:1", []string{"https,"}, false, true},
		{"another scheme", "10.0.0.1:1", []string{"wss"}, false, true},
		{"with a tail", "10.0.0.1:1", []string{"https://"}, false, true},
		{"quoted", "10.0.0.1:1", []string{`"https"`}, false, true},
		{"long", "10.0.0.1:1", []string{strings.Repeat("https,", 10_000) + "http"}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New(trusted)
			if err != nil {
				t.Fatal(err)
			}
			req := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-Proto": tt.xfp}}
			if tt.xfp == nil {
				req.Header = http.Header{}
			}
			if secure, told := r.ForwardedTLS(req); secure != tt.secure || told != tt.told {
				t.Errorf("secure %v, told %v; want %v, %v", secure, told, tt.secure, tt.told)
			}
			none, err := New(nil)
			if err != nil {
				t.Fatal(err)
			}
			if secure, told := none.ForwardedTLS(req); secure || told {
				t.Errorf("without trusted proxies: secure %v, told %v", secure, told)
			}
		})
	}
}
