package main

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// The tokens that the dialogues speak of, by name.
var (
	issued = make(map[string]signed)
	usedBy = make(map[string]bool)
)

// signed is a token, and what people should know about it.
type signed struct {
	Note string `json:"note,omitempty"`
	Text string `json:"text"`
}

// issue makes a token of the given name, or finds that it has been made, and
// returns the name.
func issue(name string, c claims) string {
	c = c.withDefaults(name)
	return forge(name, signed{c.note(name), c.sign()})
}

// forge adds a token that was made in some other way.
func forge(name string, s signed) string {
	if old, ok := issued[name]; ok && old != s {
		panic("two tokens are called " + name)
	}
	issued[name] = s
	return name
}

func used(name string) {
	if _, ok := issued[name]; !ok {
		panic("no token is called " + name)
	}
	usedBy[name] = true
}

// tokensText returns the file of all tokens.
func tokensText() string {
	var b strings.Builder
	for _, name := range sortedKeys(issued) {
		if !usedBy[name] {
			panic("nobody uses the token " + name)
		}
		fmt.Fprintf(&b, ",\n  %s: %s", compact(name), compact(issued[name]))
	}
	return "{" + b.String()[1:] + "\n}\n"
}

// claims is what a token says. Times are in seconds after the start.
type claims struct {
	key                        key
	iss, sub, client, sid, jti string
	aud                        any
	ver                        int
	exp                        int64
}

// withDefaults fills in what a vector does not care about. What comes before a
// dash in the name is the subject.
func (c claims) withDefaults(name string) claims {
	or := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	if c.key.kid == "" {
		c.key = es1
	}
	sub, _, _ := strings.Cut(name, "-")
	or(&c.iss, issuer)
	or(&c.sub, sub)
	or(&c.client, "web")
	or(&c.sid, "s-"+name)
	or(&c.jti, "t-"+name)
	if c.aud == nil {
		c.aud = "curfew"
	}
	if c.exp == 0 {
		c.exp = 600
	}
	return c
}

func (c claims) header() object {
	return object{{"typ", "at+jwt"}, {"alg", c.key.alg}, {"kid", c.key.kid}}
}

// payload is in the order in which Curfew writes it.
func (c claims) payload() object {
	return object{
		{"iss", c.iss}, {"sub", c.sub}, {"aud", c.aud}, {"client_id", c.client}, {"exp", start + c.exp},
		{"iat", min(start, start+c.exp-600)}, {"jti", c.jti}, {"sid", c.sid}, {"ver", c.ver},
	}
}

func (c claims) sign() string { return c.seal(c.message()) }

// message returns the first two segments.
func (c claims) message() string {
	return b64([]byte(compact(c.header()))) + "." + b64([]byte(compact(c.payload())))
}

// craft signs a header and a payload that may be anything.
func (c claims) craft(header, payload string) string {
	return c.seal(b64([]byte(header)) + "." + b64([]byte(payload)))
}

// seal signs the first two segments, whatever they are.
func (c claims) seal(msg string) string { return msg + "." + b64(c.key.sign(msg)) }

// note says in what the token differs from one that has just a name.
func (c claims) note(name string) string {
	usual := claims{}.withDefaults(name)
	var notes []string
	add := func(differs bool, format string, value any) {
		if differs {
			notes = append(notes, fmt.Sprintf(format, value))
		}
	}
	add(c.key.kid != usual.key.kid, "kid %s", c.key.kid)
	add(c.key.kid == usual.key.kid && c.key != usual.key, "signed by another key of that name%s", "")
	add(c.iss != usual.iss, "iss %s", c.iss)
	add(c.sub != usual.sub, "sub %q", c.sub)
	add(compact(c.aud) != compact(usual.aud), "aud %s", compact(c.aud))
	add(c.client != usual.client, "client_id %s", c.client)
	add(c.sid != usual.sid, "sid %q", c.sid)
	add(c.jti != usual.jti, "jti %q", c.jti)
	add(c.ver != usual.ver, "ver %d", c.ver)
	add(c.exp != usual.exp, "exp %d", start+c.exp)
	return strings.Join(notes, ", ")
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
