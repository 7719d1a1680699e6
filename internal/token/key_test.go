package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func TestPrivateRoundTrip(t *testing.T) {
	f := newFixture()
	for _, alg := range algs {
		der, err := MarshalPrivate(f.signers[alg].key)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParsePrivate(der)
		if err != nil {
			t.Fatal(err)
		}
		if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(f.signers[alg].key.Public()) {
			t.Errorf("%s: another key came back", alg)
		}
	}
	for name, der := range map[string][]byte{"empty": nil, "garbage": []byte("canary")} {
		if key, err := ParsePrivate(der); err == nil || key != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := MarshalPrivate(wide)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePrivate(der); err == nil {
		t.Error("P-384 key accepted")
	}
	if _, err := MarshalPrivate(nil); err == nil {
		t.Error("nil key marshalled")
	}
	if _, err := GenerateKey("HS256"); err == nil {
		t.Error("symmetric key generated")
	}
}

func TestJWKRoundTrip(t *testing.T) {
	f := newFixture()
	for _, alg := range algs {
		k := f.signers[alg].Public()
		data, err := k.MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseJWK(data)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(k) {
			t.Errorf("%s: another key came back: %s", alg, data)
		}
		if id, err := KeyID(got.Key); err != nil || id != k.ID || len(id) != 16 {
			t.Errorf("%s: KeyID = %q, %v; want %q", alg, id, err, k.ID)
		}
	}
}

// RFC 7638 §3.1 has one thumbprint worked out.
func TestKeyIDVector(t *testing.T) {
	n, err := base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	if err != nil {
		t.Fatal(err)
	}
	id, err := KeyID(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if err != nil || id != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"[:16] {
		t.Errorf("KeyID = %q, %v", id, err)
	}
}

func TestJWKRefuses(t *testing.T) {
	f := newFixture()
	public := func(alg Alg) map[string]any {
		data, err := f.signers[alg].Public().MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	with := func(alg Alg, name string, value any) string {
		m := public(alg)
		if m[name] = value; value == nil {
			delete(m, name)
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	private, err := json.Marshal(jose.JSONWebKey{Key: f.signers[ES256].key, KeyID: "k", Algorithm: "ES256", Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	identity := make([]byte, 32)
	identity[0] = 1
	for name, data := range map[string]string{
		"private":                        string(private),
		"symmetric":                      `{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","alg":"HS256","use":"sig","kid":"k"}`,
		"symmetric, empty key":           `{"kty":"oct","k":"","alg":"HS256","use":"sig","kid":"k"}`,
		"RSA without alg CVE-2026-44699": with(RS256, "alg", nil),
		"EC without alg":                 with(ES256, "alg", nil),
		"alg none":                       with(ES256, "alg", "none"),
		"alg of another family":          with(RS256, "alg", "ES256"),
		"alg of the same family":         with(RS256, "alg", "PS256"),
		"alg HS256 over RSA":             with(RS256, "alg", "HS256"),
		"alg in lower case":              with(ES256, "alg", "es256"),
		"no use":                         with(ES256, "use", nil),
		"use enc":                        with(ES256, "use", "enc"),
		"no kid":                         with(ES256, "kid", nil),
		"kid of 129 bytes":               with(ES256, "kid", strings.Repeat("k", 129)),
		"kid with a quote":               with(ES256, "kid", `k"`),
		"kid with NUL":                   with(ES256, "kid", "k\x00"),
		"other curve":                    with(ES256, "crv", "P-384"),
		"point off the curve":            with(ES256, "x", b64(strings.Repeat("\x01", 32))),
		"no y":                           with(ES256, "y", nil),
		"short Ed25519":                  with(EdDSA, "x", b64(strings.Repeat("\x01", 31))),
		"identity of Ed25519":            with(EdDSA, "x", b64(string(identity))),
		"weak RSA":                       with(RS256, "n", b64("\x80"+strings.Repeat("\x01", 127))),
		"huge RSA":                       with(RS256, "n", b64("\x80"+strings.Repeat("\x01", 1023))),
		"RSA with e=1":                   with(RS256, "e", "AQ"),
		"RSA with even e":                with(RS256, "e", "BA"),
		"empty":                          "",
		"array":                          "[]",
		"trailing data":                  with(ES256, "x", public(ES256)["x"]) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			if k, err := ParseJWK([]byte(data)); err == nil || k.Key != nil {
				t.Errorf("ParseJWK = %v, %v; want an error", k, err)
			}
		})
	}
}

// JK-1: public members only.
func TestJWKS(t *testing.T) {
	f := newFixture()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(f.keys.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != len(algs) || f.keys.Len() != len(algs) {
		t.Fatalf("%d keys, want %d", len(set.Keys), len(algs))
	}
	for i, k := range set.Keys {
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if k[name] != nil {
				t.Errorf("key %d has %s", i, name)
			}
		}
		if k["use"] != "sig" || k["alg"] != string(algs[i]) || k["kid"] != f.signers[algs[i]].KeyID() {
			t.Errorf("key %d: use %v, alg %v, kid %v", i, k["use"], k["alg"], k["kid"])
		}
	}
	if diff := cmp.Diff(`{"keys":[]}`, string(NewKeySet().JWKS())); diff != "" {
		t.Error(diff)
	}
	// Nobody can change the set through what it returned.
	clear(f.keys.JWKS())
	if f.keys.JWKS()[0] != '{' {
		t.Error("JWKS shares memory")
	}
}

func TestKeySetLeavesOut(t *testing.T) {
	f := newFixture()
	good := f.signers[ES256].Public()
	other, err := GenerateKey(ES256)
	if err != nil {
		t.Fatal(err)
	}
	s := NewKeySet(
		good,
		PublicKey{ID: good.ID, Alg: ES256, Key: other.Public()}, // takes over a name
		PublicKey{ID: "private", Alg: ES256, Key: other},
		PublicKey{ID: "confused", Alg: RS256, Key: other.Public()},
		PublicKey{ID: "secret", Alg: "HS256", Key: []byte("secret")},
		PublicKey{ID: "", Alg: ES256, Key: other.Public()},
		PublicKey{ID: "nil", Alg: ES256},
		PublicKey{ID: "typed nil", Alg: ES256, Key: (*ecdsa.PublicKey)(nil)},
		PublicKey{ID: "zero", Alg: EdDSA, Key: ed25519.PublicKey(make([]byte, 32))},
	)
	if s.Len() != 1 {
		t.Errorf("%d keys, want 1", s.Len())
	}
	if k, ok := s.Lookup(good.ID); !ok || !k.Equal(good) {
		t.Error("the first key of a name does not count")
	}
	if _, ok := s.Lookup("confused"); ok {
		t.Error("RS256 with an EC key")
	}
	if _, err := NewSigner("k", RS256, f.signers[ES256].key); err == nil {
		t.Error("NewSigner took an EC key for RS256")
	}
	if _, err := NewSigner("", ES256, f.signers[ES256].key); err == nil {
		t.Error("NewSigner took an empty kid")
	}
	if _, err := NewSigner("k", ES256, nil); err == nil {
		t.Error("NewSigner took no key")
	}
}
