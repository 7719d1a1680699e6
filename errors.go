package curfew

import "errors"

// The errors of a credential that does not count. All of them mean 401 to the
// bearer; which one it was is for the audit trail and for error_code.
var (
	// ErrInvalidToken is a token that is malformed, not in its one canonical
	// spelling, of the wrong type, issuer or audience, or badly signed.
	ErrInvalidToken = errors.New("invalid token")
	// ErrExpired is a genuine token whose time is over.
	ErrExpired = errors.New("token has expired")
	// ErrRevoked is a genuine token that was revoked, at whatever level.
	ErrRevoked = errors.New("token has been revoked")
	// ErrReused is a refresh token that was spent before. Its session has
	// ended because of it.
	ErrReused = errors.New("refresh token was used before")
)

// ErrStale is no verdict on a credential: the verifier has not heard from the
// authority for longer than its lease, so it must not accept anything.
var ErrStale = errors.New("verifier is stale")
