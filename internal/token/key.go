package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Alg names a signature algorithm as RFC 7518 and RFC 8037 do. A key has
// exactly one, fixed when it is loaded, so that no token can talk a verifier
// into another one (CVE-2016-5431, CVE-2022-29217).
type Alg string

// The algorithms. There is no symmetric one and no "none".
const (
	ES256 Alg = "ES256" // ECDSA over P-256 with SHA-256, the default
	EdDSA Alg = "EdDSA" // Ed25519
	RS256 Alg = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 4096 bits
)

const (
	// minRSABits is what RFC 7518 §3.3 demands.
	minRSABits = 2048
	// maxRSABits bounds what one signature check can cost, and keeps
	// signatures well below MaxSize.
	maxRSABits = 4096
	// maxKeyID bounds key ids in bytes.
	maxKeyID = 128
	// keyIDLen is how many characters of a thumbprint make a key id: 96 bits.
	keyIDLen = 16
)

// GenerateKey returns a new private key for alg.
func GenerateKey(alg Alg) (crypto.Signer, error) {
	switch alg {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RS256:
		return rsa.GenerateKey(rand.Reader, minRSABits)
	}
	return nil, fmt.Errorf("unknown algorithm %q", alg)
}

// KeyID returns the first 16 characters of the RFC 7638 thumbprint of pub, in
// base64url: the kid under which Curfew publishes the key.
func KeyID(pub crypto.PublicKey) (string, error) {
	if err := checkKind(pub); err != nil {
		return "", err
	}
	jwk := jose.JSONWebKey{Key: pub}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)[:keyIDLen], nil
}

// MarshalPrivate returns key as PKCS#8 DER.
func MarshalPrivate(key crypto.Signer) ([]byte, error) {
	if key == nil {
		return nil, errors.New("no key")
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// ParsePrivate is the inverse of [MarshalPrivate]. It refuses keys that none of
// the algorithms can use, and weak RSA keys.
func ParsePrivate(der []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The parser's text can quote what it was given, which is a secret.
		return nil, errors.New("private key is not PKCS#8 DER")
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of type %T cannot sign", parsed)
	}
	if err := checkKind(key.Public()); err != nil {
		return nil, err
	}
	return key, nil
}

// PublicKey is a key that tokens are verified with. Key is an
// *ecdsa.PublicKey, an ed25519.PublicKey or an *rsa.PublicKey, as Alg demands.
type PublicKey struct {
	ID  string // the kid, 1 to 128 bytes, an opaque name
	Alg Alg
	Key crypto.PublicKey
}

// MarshalJWK returns k as a JSON Web Key (RFC 7517) with alg, use and kid set.
func (k PublicKey) MarshalJWK() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: k.Key, KeyID: k.ID, Algorithm: string(k.Alg), Use: "sig"}
	return jwk.MarshalJSON()
}

// ParseJWK reads one public JSON Web Key. It refuses private and symmetric
// keys, keys without kid, alg or use "sig", keys that do not suit their alg, and
// weak ones. A key without alg would leave the choice to the token
// (CVE-2026-44699).
func ParseJWK(data []byte) (PublicKey, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(data); err != nil {
		// No detail: a private key that failed to parse must not be quoted.
		return PublicKey{}, errors.New("not a JSON Web Key")
	}
	if !jwk.IsPublic() || !jwk.Valid() {
		return PublicKey{}, errors.New("JSON Web Key is not a public key")
	}
	if jwk.Use != "sig" {
		return PublicKey{}, fmt.Errorf("JSON Web Key has use %q, want sig", jwk.Use)
	}
	k := PublicKey{ID: jwk.KeyID, Alg: Alg(jwk.Algorithm), Key: jwk.Key}
	if err := k.check(); err != nil {
		return PublicKey{}, err
	}
	return k, nil
}

// Equal reports whether k and other are the same key under the same name.
func (k PublicKey) Equal(other PublicKey) bool {
	key, ok := k.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Alg == other.Alg && key.Equal(other.Key)
}

// check reports whether k can verify anything.
func (k PublicKey) check() error {
	if err := checkKeyID(k.ID); err != nil {
		return err
	}
	return checkKey(k.Alg, k.Key)
}

// checkKeyID accepts 1 to 128 printable ASCII characters without those that
// JSON escapes, so that a header has one spelling.
func checkKeyID(id string) error {
	if id == "" || len(id) > maxKeyID {
		return fmt.Errorf("key id of %d bytes, want 1 to %d", len(id), maxKeyID)
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return errors.New("key id has a character that is not allowed")
		}
	}
	return nil
}

// checkKey reports whether pub is a sound key for alg.
func checkKey(alg Alg, pub crypto.PublicKey) error {
	var ok bool
	switch alg {
	case ES256:
		_, ok = pub.(*ecdsa.PublicKey)
	case EdDSA:
		_, ok = pub.(ed25519.PublicKey)
	case RS256:
		_, ok = pub.(*rsa.PublicKey)
	default:
		return fmt.Errorf("unknown algorithm %q", alg)
	}
	if !ok {
		return fmt.Errorf("key of type %T does not suit %s", pub, alg)
	}
	return checkKind(pub)
}

// checkKind reports whether pub is sound for any algorithm.
func checkKind(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub == nil || pub.Curve != elliptic.P256() {
			return errors.New("elliptic curve is not P-256")
		}
		// Bytes fails for a point that is not on the curve.
		if _, err := pub.Bytes(); err != nil {
			return errors.New("not a point of P-256")
		}
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return fmt.Errorf("Ed25519 key of %d bytes", len(pub))
		}
		// The identity and the other points of small order verify signatures
		// that nobody made. All are listed with their sign bit cleared.
		y := bytes.Clone(pub)
		y[31] &= 0x7f
		for _, low := range lowOrder {
			if bytes.Equal(y, low[:]) {
				return errors.New("Ed25519 key of small order")
			}
		}
	case *rsa.PublicKey:
		if pub == nil || pub.N == nil || pub.N.BitLen() < minRSABits || pub.N.BitLen() > maxRSABits {
			return fmt.Errorf("RSA modulus must have %d to %d bits", minRSABits, maxRSABits)
		}
		if pub.N.Bit(0) == 0 || pub.E < 3 || pub.E&1 == 0 || pub.E > 1<<31-1 {
			return errors.New("RSA key is malformed")
		}
	default:
		return fmt.Errorf("key of type %T is not supported", pub)
	}
	return nil
}

// lowOrder lists the y coordinates of the points of small order of Ed25519,
// little-endian, canonical encodings and the two others below 2^255.
var lowOrder = [...][32]byte{
	{},  // order 4
	{1}, // the identity
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05}, // order 8
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a}, // order 8
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // p-1, order 2
	{0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // p, read as 0
	{0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // p+1, read as 1
}
