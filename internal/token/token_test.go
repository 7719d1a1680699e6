package token

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/curfewhq/curfew"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var algs = []Alg{ES256, EdDSA, RS256}

var want = Expect{Issuer: "https://as.example", Audience: "https://api.example"}

// fixture is a key of each algorithm in one set.
type fixture struct {
	signers map[Alg]*Signer
	keys    *KeySet
}

// newFixture makes keys once, because RSA keys take a while.
var newFixture = sync.OnceValue(func() *fixture {
	f := &fixture{signers: make(map[Alg]*Signer)}
	var public []PublicKey
	for _, alg := range algs {
		key, err := GenerateKey(alg)
		if err != nil {
			panic(err)
		}
		kid, err := KeyID(key.Public())
		if err != nil {
			panic(err)
		}
		s, err := NewSigner(kid, alg, key)
		if err != nil {
			panic(err)
		}
		f.signers[alg] = s
		public = append(public, s.Public())
	}
	f.keys = NewKeySet(public...)
	return f
})

func minimal() Claims {
	return Claims{
		Issuer: want.Issuer, Subject: "u_42", Audience: []string{want.Audience},
		Exp: 1795176600, Iat: 1795176000,
		ID: "6f1ed002ab5595859014ebf0951522d9", ClientID: "web", Session: "0af7651916cd43dd8448eb211c80319c",
	}
}

func full() Claims {
	c := minimal()
	c.Audience = append(c.Audience, "https://other.example")
	c.AuthTime = 1795175900
	c.Ver = 7
	c.Scope = "openid orders:read"
	c.Email = `"<ä&ö>"@example.com`
	c.Roles = []string{"admin", "ops"}
	return c
}

func (f *fixture) mustSign(t testing.TB, alg Alg, c Claims) string {
	t.Helper()
	raw, err := f.signers[alg].Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// craft signs any header and payload, sound or not, with the key of alg.
func (f *fixture) craft(t testing.TB, alg Alg, header, payload string) string {
	t.Helper()
	msg := b64(header) + "." + b64(payload)
	sig, err := f.signers[alg].sign([]byte(msg))
	if err != nil {
		t.Fatal(err)
	}
	return msg + "." + b64(string(sig))
}

// header returns the header that the signer of alg writes.
func (f *fixture) header(alg Alg) string {
	return `{"typ":"at+jwt","alg":"` + string(alg) + `","kid":"` + f.signers[alg].KeyID() + `"}`
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func payloadOf(t testing.TB, c Claims) string {
	t.Helper()
	p, err := payload(&c)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// refused fails the test unless err is a refusal and there are no claims.
func refused(t testing.TB, c *Claims, err error) {
	t.Helper()
	if c != nil {
		t.Error("claims were returned")
	}
	if !errors.Is(err, curfew.ErrInvalidToken) {
		t.Errorf("error %v, want one that wraps ErrInvalidToken", err)
	}
}

func TestRoundTrip(t *testing.T) {
	f := newFixture()
	for _, alg := range algs {
		for name, c := range map[string]Claims{"minimal": minimal(), "full": full()} {
			t.Run(string(alg)+"/"+name, func(t *testing.T) {
				raw := f.mustSign(t, alg, c)
				got, err := Parse(raw, f.keys, want)
				if err != nil {
					t.Fatal(err)
				}
				c.KeyID = f.signers[alg].KeyID()
				if diff := cmp.Diff(&c, got); diff != "" {
					t.Errorf("claims differ (-signed +parsed):\n%s", diff)
				}
				kid, ok := f.keys.Issued(raw)
				if kid != c.KeyID || !ok {
					t.Errorf("Issued = %q, %v", kid, ok)
				}
			})
		}
	}
}

func TestGoldenPayload(t *testing.T) {
	for name, c := range map[string]Claims{"minimal": minimal(), "full": full()} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "claims-"+name+".json")
			got := payloadOf(t, c) + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden), got); diff != "" {
				t.Errorf("payload differs (-golden +got):\n%s", diff)
			}
		})
	}
}

// RFC 9068 §2.1 and AT-1: the header is exactly this.
func TestHeader(t *testing.T) {
	f := newFixture()
	for _, alg := range algs {
		segment, _, _ := strings.Cut(f.mustSign(t, alg, minimal()), ".")
		got, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != f.header(alg) {
			t.Errorf("%s: header %s", alg, got)
		}
	}
}

// Tokens that we sign verify with go-jose.
func TestInteropGoJoseVerifies(t *testing.T) {
	f := newFixture()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(f.keys.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			raw := f.mustSign(t, alg, full())
			tok, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			keys := set.Key(tok.Headers[0].KeyID)
			if len(keys) != 1 {
				t.Fatalf("%d keys for kid", len(keys))
			}
			var std jwt.Claims
			var own struct {
				Sid   string   `json:"sid"`
				Ver   int64    `json:"ver"`
				Email string   `json:"email"`
				Roles []string `json:"roles"`
			}
			if err := tok.Claims(keys[0], &std, &own); err != nil {
				t.Fatal(err)
			}
			c := full()
			if std.Issuer != c.Issuer || std.Subject != c.Subject || std.ID != c.ID || own.Sid != c.Session ||
				own.Ver != 7 || own.Email != c.Email || std.Expiry.Time().Unix() != c.Exp ||
				!cmp.Equal([]string(std.Audience), c.Audience) || !cmp.Equal(own.Roles, c.Roles) {
				t.Errorf("claims differ: %+v %+v", std, own)
			}
		})
	}
}

// Tokens that go-jose signs with our keys and claims parse here, once s is low.
func TestInteropGoJoseSigns(t *testing.T) {
	f := newFixture()
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			s := f.signers[alg]
			js, err := jose.NewSigner(
				jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: s.key, KeyID: s.KeyID()}},
				(&jose.SignerOptions{}).WithType("AT+JWT"))
			if err != nil {
				t.Fatal(err)
			}
			high, low := 0, 0
			for range 32 {
				jws, err := js.Sign([]byte(payloadOf(t, full())))
				if err != nil {
					t.Fatal(err)
				}
				raw, err := jws.CompactSerialize()
				if err != nil {
					t.Fatal(err)
				}
				c, err := Parse(raw, f.keys, want)
				if alg == ES256 && bytes.Compare(jws.Signatures[0].Signature[32:], p256HalfOrder[:]) > 0 {
					high++
					refused(t, c, err)
					raw = twin(t, raw)
					c, err = Parse(raw, f.keys, want)
				} else {
					low++
				}
				if err != nil {
					t.Fatal(err)
				}
				exp := full()
				exp.KeyID = s.KeyID()
				if diff := cmp.Diff(&exp, c); diff != "" {
					t.Errorf("claims differ:\n%s", diff)
				}
			}
			if alg == ES256 && (high == 0 || low == 0) {
				t.Errorf("%d high and %d low signatures: the test has seen one half only", high, low)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	f := newFixture()
	for name, spoil := range map[string]func(*Claims){
		"no iss":            func(c *Claims) { c.Issuer = "" },
		"no sub":            func(c *Claims) { c.Subject = "" },
		"no aud":            func(c *Claims) { c.Audience = nil },
		"empty aud":         func(c *Claims) { c.Audience = []string{""} },
		"no jti":            func(c *Claims) { c.ID = "" },
		"no client_id":      func(c *Claims) { c.ClientID = "" },
		"no sid":            func(c *Claims) { c.Session = "" },
		"no iat":            func(c *Claims) { c.Iat = 0 },
		"exp at iat":        func(c *Claims) { c.Exp = c.Iat },
		"exp 2^53":          func(c *Claims) { c.Exp = 1 << 53 },
		"negative ver":      func(c *Claims) { c.Ver = -1 },
		"ver 2^53":          func(c *Claims) { c.Ver = 1 << 53 },
		"negative auth":     func(c *Claims) { c.AuthTime = -1 },
		"sub not UTF-8":     func(c *Claims) { c.Subject = "u\xff" },
		"role not UTF-8":    func(c *Claims) { c.Roles = []string{"\xc3("} },
		"longer than 4 KiB": func(c *Claims) { c.Email = strings.Repeat("a", 3000) },
	} {
		t.Run(name, func(t *testing.T) {
			c := minimal()
			spoil(&c)
			if raw, err := f.signers[ES256].Sign(c); err == nil || raw != "" {
				t.Errorf("Sign = %q, %v; want an error", raw, err)
			}
		})
	}
}

// brokenKey is a crypto.Signer, such as a bridge to a device, that returns
// nonsense.
type brokenKey struct {
	crypto.Signer
	sig []byte
}

func (k brokenKey) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sig, nil
}

func TestSignRefusesBrokenSigner(t *testing.T) {
	key := newFixture().signers[ES256].key
	for name, sig := range map[string]string{
		"empty":         "",
		"not DER":       "psychic",
		"zero":          "\x30\x06\x02\x01\x00\x02\x01\x00",
		"negative":      "\x30\x06\x02\x01\x81\x02\x01\x01",
		"trailing data": "\x30\x06\x02\x01\x01\x02\x01\x01\x00",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewSigner("k", ES256, brokenKey{key, []byte(sig)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sign(minimal()); err == nil {
				t.Error("token signed")
			}
		})
	}
}
