package token

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/curfewhq/curfew"
)

// MaxSize bounds tokens, in bytes. Longer ones are refused before any work.
const MaxSize = 4096

// maxInteger is the first integer that not every JSON reader keeps exactly
// (RFC 8259 §6).
const maxInteger = 1 << 53

// Claims is what an access token says.
type Claims = curfew.Claims

// check holds for every token that is signed or accepted here.
func check(c *Claims) error {
	switch {
	case c.Issuer == "":
		return malformed("iss is missing")
	case c.Subject == "":
		return malformed("sub is missing")
	case len(c.Audience) == 0:
		return malformed("aud is missing")
	case c.ID == "":
		// A token without jti could not be revoked by itself.
		return malformed("jti is missing")
	case c.ClientID == "":
		return malformed("client_id is missing")
	case c.Session == "":
		return malformed("sid is missing")
	case c.Iat <= 0:
		return malformed("iat is missing or out of range")
	case c.Exp <= c.Iat || c.Exp >= maxInteger:
		return malformed("exp is missing or out of range")
	case c.Ver < 0 || c.Ver >= maxInteger:
		return malformed("ver is out of range")
	case c.AuthTime < 0 || c.AuthTime >= maxInteger:
		return malformed("auth_time is out of range")
	}
	for _, aud := range c.Audience {
		if aud == "" {
			return malformed("aud has an empty member")
		}
	}
	return nil
}

// wire is the payload, in the order in which we write it.
type wire struct {
	Issuer   string     `json:"iss"`
	Subject  string     `json:"sub"`
	Audience any        `json:"aud"`
	ClientID string     `json:"client_id"`
	Exp      int64      `json:"exp"`
	Iat      int64      `json:"iat"`
	AuthTime int64      `json:"auth_time,omitempty"`
	ID       string     `json:"jti"`
	Session  string     `json:"sid"`
	Ver      curfew.Seq `json:"ver"`
	Scope    string     `json:"scope,omitempty"`
	Email    string     `json:"email,omitempty"`
	Roles    []string   `json:"roles,omitempty"`
}

// payload returns c as JSON.
func payload(c *Claims) ([]byte, error) {
	for _, s := range append(append([]string{c.Issuer, c.Subject, c.ClientID, c.ID, c.Session, c.Scope, c.Email},
		c.Audience...), c.Roles...) {
		// The encoder would replace what is not UTF-8, and sign another
		// subject than the one that was asked for.
		if !utf8.ValidString(s) {
			return nil, malformed("a claim is not UTF-8")
		}
	}
	w := wire{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: c.ClientID,
		Exp: c.Exp, Iat: c.Iat, AuthTime: c.AuthTime, ID: c.ID, Session: c.Session, Ver: c.Ver,
		Scope: c.Scope, Email: c.Email, Roles: c.Roles,
	}
	if len(c.Audience) == 1 {
		w.Audience = c.Audience[0]
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(w); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// Signer signs access tokens with one key and its one algorithm. It is safe
// for concurrent use if its crypto.Signer is, as those of the standard library
// are.
type Signer struct {
	public PublicKey
	key    crypto.Signer
	header string // the canonical header segment
}

// NewSigner returns a Signer whose tokens name kid, of 1 to 128 printable ASCII
// characters. It fails if key does not suit alg.
func NewSigner(kid string, alg Alg, key crypto.Signer) (*Signer, error) {
	if key == nil {
		return nil, errors.New("no key to sign with")
	}
	public := PublicKey{ID: kid, Alg: alg, Key: key.Public()}
	if err := public.check(); err != nil {
		return nil, err
	}
	return &Signer{public: public, key: key, header: canonicalHeader(kid, alg)}, nil
}

// KeyID returns the kid of the tokens that s signs.
func (s *Signer) KeyID() string { return s.public.ID }

// Alg returns the algorithm of s.
func (s *Signer) Alg() Alg { return s.public.Alg }

// Public returns the key that verifies what s signs.
func (s *Signer) Public() PublicKey { return s.public }

// Sign returns a token that says c, in compact serialisation (RFC 7515 §7.1).
// It refuses what [Parse] would refuse.
func (s *Signer) Sign(c Claims) (string, error) {
	if err := check(&c); err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	payload, err := payload(&c)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var b strings.Builder
	b.Grow(len(s.header) + base64.RawURLEncoding.EncodedLen(len(payload)) + 100)
	b.WriteString(s.header)
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(payload))
	sig, err := s.sign([]byte(b.String()))
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(sig))
	if b.Len() > MaxSize {
		return "", fmt.Errorf("sign: token would have %d bytes, at most %d are allowed", b.Len(), MaxSize)
	}
	return b.String(), nil
}

func (s *Signer) sign(msg []byte) ([]byte, error) {
	if s.public.Alg == EdDSA {
		return s.key.Sign(rand.Reader, msg, crypto.Hash(0))
	}
	digest := sha256.Sum256(msg)
	sig, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || s.public.Alg != ES256 {
		return sig, err
	}
	return joseSignature(sig)
}

// joseSignature turns an ASN.1 signature over P-256 into the 64 bytes of RFC
// 7518 §3.4, with s in the lower half. If (r, s) verifies then (r, n-s) does
// too, so without a rule which one counts everybody could write a second
// spelling of a token (CVE-2026-62995).
func joseSignature(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("signer returned a malformed ECDSA signature")
	}
	n := new(big.Int).SetBytes(p256Order[:])
	if sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.Cmp(n) >= 0 || sig.S.Cmp(n) >= 0 {
		return nil, errors.New("signer returned an ECDSA signature out of range")
	}
	if half := new(big.Int).SetBytes(p256HalfOrder[:]); sig.S.Cmp(half) > 0 {
		sig.S.Sub(n, sig.S)
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}

// p256Order is n, the order of the base point of P-256, and p256HalfOrder is
// (n-1)/2, the greatest s that is low. Big-endian.
var (
	p256Order = [32]byte{
		0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
	}
	p256HalfOrder = [32]byte{
		0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
	}
)
