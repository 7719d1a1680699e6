package curfew

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"time"
)

// Seq is the dense position of a revocation in the log, counted from 1.
// Zero is the position before the first revocation.
//
// A Seq is an epoch as well: sessions and access tokens carry the head of the
// log at their issue (the claim ver), and a revocation of a subject, a client
// or of everything at Seq k ends whatever carries less than k. Positions can be
// compared without a clock, so there is no same-second ambiguity between a
// logout and the login after it.
type Seq int64

// Hash is a link of a hash chain: of the revocation log or of the audit trail.
type Hash [sha256.Size]byte

// String returns h in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(h) {
		return fmt.Errorf("hash of %d characters, want %d", len(text), hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Position says where a follower of the log stands, and in which log. Two
// positions with the same Seq and another LogID or Hash are in logs that have
// diverged, as after the restore of a backup.
type Position struct {
	LogID string `json:"log_id"`
	Seq   Seq    `json:"seq"`
	Hash  Hash   `json:"hash"`
}

// Kind is the level that a [Revocation] cuts at.
type Kind string

// The levels, from the narrowest to the widest.
const (
	KindToken      Kind = "token"      // one access token, by jti
	KindSession    Kind = "session"    // one session and all its tokens, by sid
	KindSubject    Kind = "subject"    // whatever was issued to a subject before, by sub
	KindClient     Kind = "client"     // whatever was issued to a client before, by client_id
	KindKey        Kind = "key"        // whatever was signed with a key, by kid
	KindEverything Kind = "everything" // whatever was issued before
)

var kinds = map[Kind]bool{
	KindToken: true, KindSession: true, KindSubject: true,
	KindClient: true, KindKey: true, KindEverything: true,
}

// Valid reports whether k is one of the defined kinds.
func (k Kind) Valid() bool { return kinds[k] }

// Revocation is one entry of the log, and the only form in which anything is
// ever revoked.
type Revocation struct {
	Seq    Seq    `json:"seq"`
	Kind   Kind   `json:"kind"`
	Target string `json:"target,omitempty"` // empty for KindEverything
	// Issuer is the issuer of foreign tokens; empty for Curfew's own.
	Issuer string `json:"issuer,omitempty"`
	Reason Reason `json:"reason"`
	// Actor is who asked for it, such as "user:ID" or "operator:NAME".
	Actor string `json:"actor"`
	// RecordedAt is authority time, of microsecond precision, in UTC.
	RecordedAt time.Time `json:"recorded_at"`
	// ExpiresAt is when the last token that the revocation can touch has
	// expired. From then on, and not before, a verifier may forget the entry.
	ExpiresAt time.Time `json:"expires_at"`
	// Hash chains the entry to its predecessor, see [Revocation.Chain].
	Hash Hash `json:"hash"`
}

// Chain returns the hash of r as the successor of an entry with hash prev. The
// chain covers every field but Hash itself.
func (r Revocation) Chain(prev Hash) Hash {
	d := NewDigest("curfew revocation v1")
	d.Bytes(prev[:])
	d.Int(int64(r.Seq))
	d.String(string(r.Kind))
	d.String(r.Target)
	d.String(r.Issuer)
	d.String(string(r.Reason))
	d.String(r.Actor)
	d.Time(r.RecordedAt)
	d.Time(r.ExpiresAt)
	return d.Sum()
}

// Digest hashes a sequence of fields unambiguously: each field is preceded by
// its length, so no two different sequences have the same encoding.
type Digest struct{ h hash.Hash }

// NewDigest returns a SHA-256 digest for the named purpose. Digests of
// different purposes never agree.
func NewDigest(purpose string) Digest {
	d := Digest{sha256.New()}
	d.String(purpose)
	return d
}

// Bytes adds a field.
func (d Digest) Bytes(b []byte) {
	d.Int(int64(len(b)))
	d.h.Write(b)
}

// String adds a field.
func (d Digest) String(s string) { d.Bytes([]byte(s)) }

// Int adds a field of fixed size.
func (d Digest) Int(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	d.h.Write(b[:])
}

// Time adds a time in microseconds, the precision that the stores keep. The
// zero time is 0.
func (d Digest) Time(t time.Time) { d.Int(Micros(t)) }

// Sum returns the digest of the fields added so far.
func (d Digest) Sum() (out Hash) {
	d.h.Sum(out[:0])
	return out
}

// Micros returns t in microseconds since 1970, and 0 for the zero time. It is
// the form in which stores keep times.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the inverse of [Micros]; times are in UTC.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
