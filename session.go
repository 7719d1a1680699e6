package curfew

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// Session is one login on one user agent. All refresh tokens and access tokens
// of the login belong to it and die with it.
type Session struct {
	ID       string `json:"id"`      // the claim sid
	Subject  string `json:"subject"` // the claim sub
	ClientID string `json:"client_id"`
	Scope    string `json:"scope,omitempty"`
	// Epoch is the head of the log when the session began, or when its
	// credentials were last renewed across a revocation of its subject. Access
	// tokens carry it as ver.
	Epoch Seq `json:"epoch"`

	CreatedAt  time.Time `json:"created_at"`
	AuthTime   time.Time `json:"auth_time"`            // last authentication with a password
	ReauthAt   time.Time `json:"reauth_at,omitzero"`   // last reauthentication, forgotten at logout
	LastSeenAt time.Time `json:"last_seen_at"`         // last activity of the person
	ExpiresAt  time.Time `json:"expires_at"`           // absolute limit
	EndedAt    time.Time `json:"ended_at,omitzero"`    // zero while live
	EndReason  Reason    `json:"end_reason,omitempty"` // empty while live
	EndedSeq   Seq       `json:"ended_seq,omitempty"`  // log position that ended it, 0 if none was needed
	Device     string    `json:"device,omitempty"`     // for people to read, carries no authority
	IP         string    `json:"ip,omitempty"`         // address of the login
	UserAgent  string    `json:"user_agent,omitempty"` // raw, cut to 256 bytes
	Counter    int64     `json:"counter"`              // of the newest refresh token
	RotatedAt  time.Time `json:"rotated_at"`           // when that one was issued
	TokenExp   time.Time `json:"token_expires_at"`     // exp of the newest access token
	Version    int64     `json:"version"`              // raised by every conditional write
	// CookieHash is the SHA-256, in hexadecimal, of the cookie that carries the
	// session; empty if none does.
	CookieHash string `json:"-"`
}

// Ended reports whether the session was ended explicitly. A session that has
// not Ended may be dead all the same, because its subject, its client or
// everything was revoked, or because its time is over.
func (s Session) Ended() bool { return !s.EndedAt.IsZero() }

// NewID returns a new identifier of 128 random bits in lower-case hexadecimal.
// Identifiers are never ordered in time, so that none can be guessed from
// another.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// ValidID reports whether s is spelled as [NewID] spells.
func ValidID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
