package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/curfewhq/curfew"
)

// malformed says what is wrong with a token. It never quotes the token, which
// is a credential and is written by whoever sent it.
type malformed string

func (e malformed) Error() string { return curfew.ErrInvalidToken.Error() + ": " + string(e) }
func (e malformed) Unwrap() error { return curfew.ErrInvalidToken }

// ErrUnknownKey is returned, as it is, for a token that names a key which is
// not in the set. It wraps [curfew.ErrInvalidToken]. A verifier may look for newer
// keys then, at a bounded rate: kids are free to invent.
var ErrUnknownKey error = malformed("unknown key")

// Expect is what a token must say to be accepted. Neither field may be empty.
type Expect struct {
	Issuer   string // compared exactly
	Audience string // must be among the audiences of the token
}

// strictURL is unpadded base64url that refuses non-zero trailing bits, the
// other 15 spellings of most last characters. It still skips line breaks, so
// split looks at the alphabet first.
var strictURL = base64.RawURLEncoding.Strict()

// Parse returns the claims of raw if it is a genuine access token (RFC 9068) in
// canonical spelling, signed by a key of the set, with the issuer and for the
// audience that is wanted. It returns claims or an error, never both, and every
// error wraps [curfew.ErrInvalidToken].
//
// Parse does not compare exp with any clock and does not know what was revoked.
// It only reports whether the token was ever good.
func Parse(raw string, keys *KeySet, want Expect) (*Claims, error) {
	if len(raw) > MaxSize {
		return nil, malformed("too long")
	}
	if keys == nil || want.Issuer == "" || want.Audience == "" {
		// An empty expectation must not read as "any" (CVE-2020-26160).
		return nil, malformed("verifier expects no issuer or no audience")
	}
	dot1, dot2, err := split(raw)
	if err != nil {
		return nil, err
	}
	key := keys.byHeader[raw[:dot1]]
	if key == nil {
		if key, err = parseHeader(raw[:dot1], keys); err != nil {
			return nil, err
		}
	}
	if err := key.verify(raw[:dot2], raw[dot2+1:]); err != nil {
		return nil, err
	}

	// From here on the text is the issuer's.
	var buf [MaxSize * 3 / 4]byte
	n, err := strictURL.Decode(buf[:], []byte(raw[dot1+1:dot2]))
	if err != nil {
		return nil, malformed("payload is not canonical base64url")
	}
	c := &Claims{KeyID: key.ID}
	if err := parseClaims(c, string(buf[:n])); err != nil {
		return nil, err
	}
	if c.Issuer != want.Issuer {
		return nil, malformed("wrong issuer")
	}
	if !slices.Contains(c.Audience, want.Audience) {
		return nil, malformed("wrong audience")
	}
	return c, nil
}

// split returns where the two dots of raw are. Everything but the alphabet of
// base64url is refused here, before anything is decoded: padding, whitespace
// and the standard alphabet are further spellings of the same token to most
// decoders (CVE-2026-102269), and counting dots without allocating makes a
// string of dots harmless (CVE-2025-30204).
func split(raw string) (dot1, dot2 int, err error) {
	dot1 = strings.IndexByte(raw, '.')
	dot2 = dot1 + 1 + strings.IndexByte(raw[dot1+1:], '.')
	if dot1 <= 0 || dot2 <= dot1+1 || dot2 == len(raw)-1 {
		return 0, 0, malformed("not three segments")
	}
	// A third dot is outside the alphabet. No branch for each byte: this runs
	// over every token.
	var bad uint8
	for _, segment := range [...]string{raw[:dot1], raw[dot1+1 : dot2], raw[dot2+1:]} {
		for i := range len(segment) {
			bad |= foreign[segment[i]]
		}
	}
	if bad != 0 {
		return 0, 0, malformed("character outside base64url")
	}
	return dot1, dot2, nil
}

// foreign is 1 for what is not a character of base64url.
var foreign = func() (t [256]uint8) {
	for i := range t {
		t[i] = 1
	}
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		t[c] = 0
	}
	return t
}()

// parseHeader returns the key that a header names, if everything in the header
// agrees with it. Nothing in it is trusted: kid is only a name to look up, alg
// is only compared, and jku, jwk, x5u and x5c, with which a token would bring
// its own key (CVE-2018-0114), are skipped like any other member.
func parseHeader(segment string, keys *KeySet) (*verifyKey, error) {
	var buf [MaxSize * 3 / 4]byte
	n, err := strictURL.Decode(buf[:], []byte(segment))
	if err != nil {
		return nil, malformed("header is not canonical base64url")
	}
	var (
		names         [16]string
		typ, alg, kid string
	)
	s := scanner{src: string(buf[:n]), names: names[:0]}
	err = s.document(func(name string) (err error) {
		switch name {
		case "typ":
			typ, err = s.str()
		case "alg":
			alg, err = s.str()
		case "kid":
			kid, err = s.str()
		case "crit", "b64", "zip":
			// Extensions change what is signed or how it is read
			// (CVE-2025-59420, CVE-2025-63811). We have none.
			return malformed("header has an extension")
		default:
			return s.skip()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	// A logout token or an ID token is signed with the same keys and is no
	// access token (CVE-2023-0657). RFC 7515 §4.1.9: the prefix is optional.
	if !strings.EqualFold(typ, typHeader) && !strings.EqualFold(typ, "application/"+typHeader) {
		return nil, malformed("wrong typ")
	}
	if len(kid) > maxKeyID {
		return nil, ErrUnknownKey
	}
	key := keys.byID[kid]
	if key == nil {
		return nil, ErrUnknownKey
	}
	if alg != string(key.Alg) {
		return nil, malformed("wrong alg")
	}
	return key, nil
}

// verify checks the signature over signed, which is header and payload. The
// algorithm is that of the key.
func (k *verifyKey) verify(signed, segment string) error {
	var buf [MaxSize * 3 / 4]byte
	n, err := strictURL.Decode(buf[:], []byte(segment))
	if err != nil {
		return malformed("signature is not canonical base64url")
	}
	sig, ok := buf[:n], false
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		if err := checkLowS(sig); err != nil {
			return err
		}
		digest := sha256.Sum256([]byte(signed))
		var der [72]byte
		ok = ecdsa.VerifyASN1(pub, digest[:], asn1Signature(der[:0], sig))
	case ed25519.PublicKey:
		// The package refuses s >= L and any other encoding of R.
		ok = ed25519.Verify(pub, []byte(signed), sig)
	case *rsa.PublicKey:
		// The package refuses other lengths than the modulus has, and
		// representatives that are not below it.
		digest := sha256.Sum256([]byte(signed))
		ok = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
	}
	if !ok {
		return malformed("bad signature")
	}
	return nil
}

// checkLowS accepts 64 bytes r || s with r and s non-zero (CVE-2022-21449) and
// s in the lower half of the group order, see joseSignature.
func checkLowS(sig []byte) error {
	var zero [32]byte
	if len(sig) != 64 || bytes.Equal(sig[:32], zero[:]) || bytes.Equal(sig[32:], zero[:]) {
		return malformed("bad signature")
	}
	if bytes.Compare(sig[32:], p256HalfOrder[:]) > 0 {
		return malformed("signature is the high twin of another")
	}
	return nil
}

// asn1Signature appends the DER encoding of the 64 bytes r || s to dst: what
// the standard library verifies.
func asn1Signature(dst, sig []byte) []byte {
	dst = append(dst, 0x30, 0)
	for _, n := range [2][]byte{sig[:32], sig[32:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0]&0x80 != 0 {
			dst = append(dst, 0x02, byte(len(n)+1), 0)
		} else {
			dst = append(dst, 0x02, byte(len(n)))
		}
		dst = append(dst, n...)
	}
	dst[1] = byte(len(dst) - 2)
	return dst
}

// parseClaims reads the payload into c and checks it.
func parseClaims(c *Claims, payload string) error {
	var (
		names  [16]string
		nbf    int64
		ver    bool
		s      = scanner{src: payload, names: names[:0]}
		number int64
	)
	err := s.document(func(name string) (err error) {
		switch name {
		case "iss":
			c.Issuer, err = s.str()
		case "sub":
			c.Subject, err = s.str()
		case "aud":
			if s.peek() != '"' {
				c.Audience, err = s.strings()
				break
			}
			var aud string
			aud, err = s.str()
			c.Audience = []string{aud}
		case "exp":
			c.Exp, err = s.integer()
		case "iat":
			c.Iat, err = s.integer()
		case "nbf":
			nbf, err = s.integer()
		case "auth_time":
			if c.AuthTime, err = s.integer(); err == nil && c.AuthTime == 0 {
				err = malformed("auth_time is out of range")
			}
		case "jti":
			c.ID, err = s.str()
		case "client_id":
			c.ClientID, err = s.str()
		case "sid":
			c.Session, err = s.str()
		case "ver":
			number, err = s.integer()
			c.Ver, ver = curfew.Seq(number), true
		case "scope":
			c.Scope, err = s.str()
		case "email":
			c.Email, err = s.str()
		case "roles":
			c.Roles, err = s.strings()
		default:
			return s.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !ver {
		// Without it no revocation of the subject could touch the token.
		return malformed("ver is missing")
	}
	if nbf > c.Iat {
		// We never issue tokens for later, and nobody after us looks at nbf.
		return malformed("nbf is after iat")
	}
	return check(c)
}

// strings reads an array of strings.
func (s *scanner) strings() (list []string, err error) {
	err = s.array(func() error {
		item, err := s.str()
		list = append(list, item)
		return err
	})
	return list, err
}
