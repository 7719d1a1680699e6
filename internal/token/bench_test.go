package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

// BenchmarkParse is what a token costs that was never seen before. Compare with
// BenchmarkBareVerify.
func BenchmarkParse(b *testing.B) {
	f := newFixture()
	for _, alg := range algs {
		raw := f.mustSign(b, alg, full())
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw, f.keys, want); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	raw := f.craft(b, ES256, `{"alg":"ES256", "kid":"`+f.signers[ES256].KeyID()+`", "typ":"at+jwt"}`, payloadOf(b, full()))
	b.Run("ES256/other-header", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(raw, f.keys, want); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParseRefuses is what a stranger can make a verifier do.
func BenchmarkParseRefuses(b *testing.B) {
	f := newFixture()
	var members []string
	for i := range maxMembers {
		members = append(members, `"`+strings.Repeat("a", i)+`":1`)
	}
	for name, raw := range map[string]string{
		"dots":    strings.Repeat(".", MaxSize),
		"long":    strings.Repeat("a", 1<<20),
		"members": b64("{"+strings.Join(members, ",")+"}") + ".e30.AA",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw, f.keys, want); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkBareVerify(b *testing.B) {
	f := newFixture()
	for _, alg := range algs {
		raw := f.mustSign(b, alg, full())
		dot := strings.LastIndexByte(raw, '.')
		msg := []byte(raw[:dot])
		sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			switch pub := f.signers[alg].Public().Key.(type) {
			case *ecdsa.PublicKey:
				der := asn1Signature(nil, sig)
				for b.Loop() {
					digest := sha256.Sum256(msg)
					if !ecdsa.VerifyASN1(pub, digest[:], der) {
						b.Fatal("bad")
					}
				}
			case ed25519.PublicKey:
				for b.Loop() {
					if !ed25519.Verify(pub, msg, sig) {
						b.Fatal("bad")
					}
				}
			case *rsa.PublicKey:
				for b.Loop() {
					digest := sha256.Sum256(msg)
					if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	f := newFixture()
	for _, alg := range algs {
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.mustSign(b, alg, full())
			}
		})
	}
}
