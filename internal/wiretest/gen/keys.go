package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/curfewhq/curfew/internal/token"
)

// The keys that sign the tokens. Each follows from its name, so anybody has
// them; nothing but vectors may ever trust them.
var (
	es1 = newKey("es1", token.ES256)
	es2 = newKey("es2", token.ES256)
	ed1 = newKey("ed1", token.EdDSA)
	rs1 = newKey("rs1", token.RS256)
)

type key struct {
	kid    string
	alg    token.Alg
	signer crypto.Signer
}

func newKey(kid string, alg token.Alg) key {
	k := key{kid: kid, alg: alg}
	switch alg {
	case token.ES256:
		k.signer = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), stream(kid, 32)))
	case token.EdDSA:
		k.signer = ed25519.NewKeyFromSeed(stream(kid, ed25519.SeedSize))
	case token.RS256:
		k.signer = rsaKey(kid)
	}
	return k
}

// stream returns n bytes that follow from name.
func stream(name string, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "curfew wiretest %s %d", name, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// rsaKey makes a key by hand, because the standard library's keys are random.
func rsaKey(name string) *rsa.PrivateKey {
	const e = 65537
	one := big.NewInt(1)
	p, q := prime(name+" p"), prime(name+" q")
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: e},
		D:         new(big.Int).ModInverse(big.NewInt(e), phi),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		panic(err)
	}
	return key
}

// prime returns a prime of 1024 bits that follows from name. The two highest
// bits are set, so that the product of two has 2048.
func prime(name string) *big.Int {
	n := new(big.Int).SetBytes(stream(name, 128))
	n.SetBit(n, 1023, 1).SetBit(n, 1022, 1).SetBit(n, 0, 1)
	for two := big.NewInt(2); !n.ProbablyPrime(20); {
		n.Add(n, two)
	}
	return n
}

// jwk returns the public key as a JSON Web Key.
func (k key) jwk() json.RawMessage {
	return must(token.PublicKey{ID: k.kid, Alg: k.alg, Key: k.signer.Public()}.MarshalJWK())
}

// sign returns the signature of msg as a token has it. A nil reader asks the
// standard library for deterministic ECDSA (RFC 6979).
func (k key) sign(msg string) []byte {
	if k.alg == token.EdDSA {
		return must(k.signer.Sign(nil, []byte(msg), crypto.Hash(0)))
	}
	digest := sha256.Sum256([]byte(msg))
	sig := must(k.signer.Sign(nil, digest[:], crypto.SHA256))
	if k.alg == token.RS256 {
		return sig
	}
	var der struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sig, &der); err != nil {
		panic(err)
	}
	if order := elliptic.P256().Params().N; new(big.Int).Lsh(der.S, 1).Cmp(order) > 0 {
		der.S.Sub(order, der.S)
	}
	out := make([]byte, 64)
	der.R.FillBytes(out[:32])
	der.S.FillBytes(out[32:])
	return out
}

// highTwin returns the other signature of the same message.
func highTwin(sig []byte) []byte {
	out := append([]byte(nil), sig...)
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(out[32:])
	return out
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The key sets that the heads refer to, by name, which is their version too.
var sets = make(map[string]object)

// keySet makes a set of keys, or finds that it has been made, and returns the
// name.
func keySet(name string, keys ...any) string {
	set := object{{"version", name}, {"issuer", issuer}, {"set", object{{"keys", keys}}}}
	if old, ok := sets[name]; ok && compact(old) != compact(set) {
		panic("two key sets are called " + name)
	}
	sets[name] = set
	return name
}

// keysText returns the file of all key sets.
func keysText() string {
	var b strings.Builder
	for _, name := range sortedKeys(sets) {
		fmt.Fprintf(&b, ",\n  %s: %s", compact(name), compact(sets[name]))
	}
	return "{" + b.String()[1:] + "\n}\n"
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
