package netaddr

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// A Resolver knows which peers are our own proxies.
type Resolver struct {
	trusted []netip.Prefix
}

// New returns a resolver that believes the proxies at the given addresses or
// CIDR prefixes. With none, the peer of the connection is always the client.
func New(trusted []string) (*Resolver, error) {
	r := &Resolver{}
	for _, text := range trusted {
		p, err := parsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q: %w", text, err)
		}
		r.trusted = append(r.trusted, p)
	}
	return r, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("neither an IP address nor a CIDR prefix")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("neither an IP address nor a CIDR prefix")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("write IPv4 prefixes as 10.0.0.0/8")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	// Whoever believes everybody lets every client choose its own address, and
	// with it a fresh limit for every guess (GHSA-rjr7-jggh-pgcp).
	if p.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("trusts every address, so that any client could claim any other")
	}
	// 10.1.2.3/8 is either one machine or sixteen million: better to ask.
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits set beyond the prefix; write %s or %s", p.Masked(), p.Addr())
	}
	return p, nil
}

// ClientAddr returns the address of the client of r, without zone and with
// IPv4-mapped IPv6 addresses as IPv4. It is the zero Addr if the peer has no IP
// address, as on a Unix socket.
//
// X-Forwarded-For is a list to which every proxy appends what it has seen; its
// left part is whatever the client sent. So the list is read from the right and
// only as long as the word of the one who wrote the entry counts: starting with
// the peer, while the address at hand is a trusted proxy, the entry it has
// appended comes next. An entry that is not an address ends the walk at the
// last good one. Reading from the left is the classic way around a limit by
// address (GHSA-9g5q-2w5x-hmxf, CVE-2026-29794).
func (r *Resolver) ClientAddr(req *http.Request) netip.Addr {
	addr, ok := parseHop(req.RemoteAddr)
	if !ok {
		return netip.Addr{}
	}
	// Several headers are one list, in order. Taking only the first header is
	// the bug of proxies that append a header of their own to a forged one.
	headers := req.Header["X-Forwarded-For"]
	for i := len(headers) - 1; i >= 0; i-- {
		rest, more := headers[i], true
		for more {
			if !r.isTrusted(addr) {
				return addr
			}
			hop := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				more = false
			}
			next, ok := parseHop(strings.Trim(hop, " \t"))
			if !ok {
				return addr
			}
			addr = next
		}
	}
	return addr
}

// ForwardedTLS reports whether the client came over TLS, by the word of a trusted
// proxy in X-Forwarded-Proto; told is false if no trusted proxy has said anything.
// With several proxies, every part of the way must have been over TLS.
func (r *Resolver) ForwardedTLS(req *http.Request) (secure, told bool) {
	peer, ok := parseHop(req.RemoteAddr)
	headers := req.Header["X-Forwarded-Proto"]
	if !ok || len(headers) == 0 || !r.isTrusted(peer) {
		return false, false
	}
	for _, h := range headers {
		for hop := range strings.SplitSeq(h, ",") {
			if !strings.EqualFold(strings.Trim(hop, " \t"), "https") {
				return false, true
			}
		}
	}
	return true, true
}

func (r *Resolver) isTrusted(a netip.Addr) bool {
	for _, p := range r.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseHop reads an address with or without a port, as some proxies add one.
// The zone of a link-local address is dropped: it is free text, and with it one
// machine could pass for many.
func parseHop(text string) (netip.Addr, bool) {
	if len(text) > 128 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		if ap, perr := netip.ParseAddrPort(text); perr == nil {
			a, err = ap.Addr(), nil
		} else if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
			a, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			if err == nil && a.Is4() {
				return netip.Addr{}, false
			}
		}
	}
	if err != nil {
		return netip.Addr{}, false
	}
	return a.WithZone("").Unmap(), true
}

// LimitKey returns the form of an address under which its requests are counted.
// An IPv6 customer is given a /64 at least, so every one of his 2^64 addresses
// counts as the same; IPv4-mapped addresses count as the IPv4 address they are.
// Requests without an address share one key.
func LimitKey(a netip.Addr) string {
	a = a.WithZone("").Unmap()
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is4():
		return a.String()
	}
	p, _ := a.Prefix(64) // 64 bits fit every IPv6 address
	return p.String()
}
