package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/curfewhq/curfew"
)

// scan reads text with our scanner and returns its members as strings, or nil
// for values of other types.
func scan(text string) (map[string]*string, error) {
	out := make(map[string]*string)
	s := scanner{src: text}
	err := s.document(func(name string) error {
		out[name] = nil
		if s.peek() != '"' {
			return s.skip()
		}
		v, err := s.str()
		out[name] = &v
		return err
	})
	return out, err
}

// reference decides with encoding/json whether our rules hold for text.
func reference(text []byte) bool {
	if !utf8.Valid(text) || !json.Valid(text) || loneSurrogate(text) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	tok, err := d.Token()
	if err != nil || tok != json.Delim('{') {
		return false
	}
	if !referenceValue(d, tok, 1) {
		return false
	}
	_, err = d.Token()
	return errors.Is(err, io.EOF)
}

func referenceValue(d *json.Decoder, tok json.Token, depth int) bool {
	open, ok := tok.(json.Delim)
	if !ok {
		return true
	}
	if depth > maxDepth {
		return false
	}
	names := make(map[string]bool)
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		if open == '{' {
			name := tok.(string)
			if names[name] || len(names) == maxMembers {
				return false
			}
			names[name] = true
			if tok, err = d.Token(); err != nil {
				return false
			}
		}
		if !referenceValue(d, tok, depth+1) {
			return false
		}
	}
	_, err := d.Token()
	return err == nil
}

// loneSurrogate reports whether valid JSON escapes half a surrogate pair. The
// library replaces those, and it replaces nothing else in valid UTF-8.
func loneSurrogate(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		// A replacement character may also have been meant.
		if s, ok := tok.(string); ok && strings.ContainsRune(s, utf8.RuneError) {
			if !bytes.ContainsRune(text, utf8.RuneError) && !bytes.Contains(bytes.ToLower(text), []byte(`\ufffd`)) {
				return true
			}
		}
	}
}

// FuzzJSON compares the scanner with encoding/json.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":[1,2,{"c":null}]}}`, `[]`, `"x"`, ` {"a" : -0.5e+10 } `,
		`{"\u0061":1,"a":2}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, `{"a":"\ud83d\ud83d"}`, `{"a":01}`, `{"a":1.}`,
		`{"a":tru}`, `{"a":1}x`, `{"a":"` + "\x01" + `"}`, `{"a":"\x"}`, `{,}`, `{"a":1,}`, `{"a" 1}`, `{"a":[1,]}`,
		`{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`, `{"a":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}`,
		"{\"a\":\"\xff\"}", `{"a":"\/\b\f\n\r\t\"\\"}`, `{"":""}`, `{"a":-}`, `{"a":1e}`, `{"` + "\ufffd" + `":1}`,
		`{"x":1` + manyMembers(63) + `}`, `{"x":1` + manyMembers(64) + `}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := scan(string(text))
		if err != nil && !errors.Is(err, curfew.ErrInvalidToken) {
			t.Errorf("error %v", err)
		}
		if reference(text) != (err == nil) {
			// What the reference cannot tell is whether a replacement
			// character was spelled out next to an unpaired surrogate.
			if err != nil && bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) {
				return
			}
			t.Fatalf("scanner says %v, encoding/json %v: %q", err, reference(text), text)
		}
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			// Numbers such as 1e400 are JSON and no float64.
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%d members, encoding/json has %d: %q", len(got), len(want), text)
		}
		for name, v := range want {
			g, ok := got[name]
			s, isString := v.(string)
			if !ok || (g != nil) != isString || isString && *g != s {
				t.Fatalf("member %q differs: %q", name, text)
			}
		}
	})
}

// FuzzParse checks that Parse never panics, returns claims or an error, and
// that what it accepts is the one spelling of what it decodes to.
func FuzzParse(f *testing.F) {
	fix := newFixture()
	for _, alg := range algs {
		raw := fix.mustSign(f, alg, full())
		f.Add(raw)
		for _, other := range spellings(f, fix, alg, raw) {
			f.Add(other)
		}
	}
	f.Add(fix.craft(f, ES256, `{"alg":"ES256","typ":"AT+JWT","kid":"`+fix.signers[ES256].KeyID()+`"}`, payloadOf(f, minimal())))
	f.Fuzz(func(t *testing.T, raw string) {
		checkParse(t, fix, raw)
		// Most of what a fuzzer invents fails at the signature. Take its
		// first two segments as a payload and a header that were signed.
		if p := strings.Split(raw, "."); len(p) == 3 && len(raw) < MaxSize {
			header, err1 := base64.RawURLEncoding.DecodeString(p[0])
			payload, err2 := base64.RawURLEncoding.DecodeString(p[1])
			if err1 == nil && err2 == nil {
				checkParse(t, fix, fix.craft(t, EdDSA, string(header), string(payload)))
				checkParse(t, fix, fix.craft(t, EdDSA, fix.header(EdDSA), string(payload)))
			}
		}
	})
}

func checkParse(t *testing.T, fix *fixture, raw string) {
	t.Helper()
	c, err := Parse(raw, fix.keys, want)
	if (c == nil) == (err == nil) {
		t.Fatalf("claims %v and error %v", c, err)
	}
	if err != nil {
		if !errors.Is(err, curfew.ErrInvalidToken) {
			t.Fatalf("error %v", err)
		}
		return
	}
	for i, segment := range strings.Split(raw, ".") {
		data, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil || i > 2 || b64(string(data)) != segment {
			t.Fatalf("accepted in another spelling: %q", raw)
		}
	}
	if c.Issuer != want.Issuer || c.Session == "" || c.ID == "" || c.Exp <= c.Iat {
		t.Fatalf("accepted with claims %+v", c)
	}
	// Signed again, the claims say the same.
	again, err := fix.signers[EdDSA].Sign(*c)
	if err != nil {
		t.Fatal(err)
	}
	if c2, err := Parse(again, fix.keys, want); err != nil || c2.Session != c.Session || c2.Subject != c.Subject {
		t.Fatalf("signed again: %+v, %v", c2, err)
	}
}
