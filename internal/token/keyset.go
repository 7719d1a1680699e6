package token

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// typHeader is the value of typ in the tokens that we issue (RFC 9068 §2.1).
const typHeader = "at+jwt"

// KeySet is the public keys of one issuer. Keys of different issuers never
// share a set: a cache of keys by kid alone hands one issuer's key to another
// (CVE-2026-49998). A KeySet is immutable and safe for concurrent use.
type KeySet struct {
	byID map[string]*verifyKey
	// byHeader finds a key by the header segment that our own signer writes
	// for it, which saves decoding the header of nearly every token.
	byHeader map[string]*verifyKey
	jwks     []byte
}

// verifyKey is a key and its one algorithm.
type verifyKey struct {
	PublicKey
}

// NewKeySet returns the set of keys. Keys that cannot verify anything, because
// they are unnamed, weak or do not suit their algorithm, are left out; of
// several keys under one name the first counts, so that a later one can never
// take over a name.
func NewKeySet(keys ...PublicKey) *KeySet {
	s := &KeySet{
		byID:     make(map[string]*verifyKey, len(keys)),
		byHeader: make(map[string]*verifyKey, len(keys)),
	}
	var jwks bytes.Buffer
	jwks.WriteString(`{"keys":[`)
	for _, k := range keys {
		jwk, err := k.MarshalJWK()
		if err != nil || s.byID[k.ID] != nil {
			continue
		}
		if len(s.byID) > 0 {
			jwks.WriteByte(',')
		}
		jwks.Write(jwk)
		vk := &verifyKey{k}
		s.byID[k.ID] = vk
		s.byHeader[canonicalHeader(k.ID, k.Alg)] = vk
	}
	jwks.WriteString(`]}`)
	s.jwks = jwks.Bytes()
	return s
}

// JWKS returns the set as a JSON Web Key Set (RFC 7517 §5), public members
// only, in the order in which the keys were given.
func (s *KeySet) JWKS() []byte { return bytes.Clone(s.jwks) }

// Len returns the number of usable keys.
func (s *KeySet) Len() int { return len(s.byID) }

// Lookup returns the key of the given kid.
func (s *KeySet) Lookup(kid string) (PublicKey, bool) {
	k := s.byID[kid]
	if k == nil {
		return PublicKey{}, false
	}
	return k.PublicKey, true
}

// Issued returns the kid of the key in the set whose canonical header raw
// begins with: the spelling that a [Signer] of that key writes. It says
// nothing about the signature.
func (s *KeySet) Issued(raw string) (kid string, ok bool) {
	header, _, _ := strings.Cut(raw, ".")
	k := s.byHeader[header]
	if k == nil {
		return "", false
	}
	return k.ID, true
}

// canonicalHeader returns the header segment of the tokens that we issue. It
// relies on checkKeyID: no character of kid needs escaping.
func canonicalHeader(kid string, alg Alg) string {
	return base64.RawURLEncoding.EncodeToString([]byte(
		`{"typ":"` + typHeader + `","alg":"` + string(alg) + `","kid":"` + kid + `"}`))
}
