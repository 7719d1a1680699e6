package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

// The value of a session cookie is
//
//	"cs_" base64url( kind ‖ session id (16) ‖ secret (32) )
//
// and the row of its session has the SHA-256 of what is encoded, so that a
// stolen database holds no cookie. The id is there to find the row by: looking
// up a secret in an index would tell by its time how much of a guess is right.
const (
	cookiePrefix = "cs_"
	cookieID     = 16
	cookieSecret = 32
	cookieLen    = 1 + cookieID + cookieSecret
	// The kinds tell whether the browser keeps the cookie when it is closed. The
	// hash covers it, so nobody can turn one into the other.
	cookieSession    = 1
	cookiePersistent = 2
)

// newCookie returns a cookie's value for a session and the hash to be stored.
func newCookie(session string, persistent bool) (value, hash string) {
	b := make([]byte, cookieLen)
	b[0] = cookieSession
	if persistent {
		b[0] = cookiePersistent
	}
	if n, err := hex.Decode(b[1:1+cookieID], []byte(session)); err != nil || n != cookieID {
		panic("authority: session id " + session + " is not 128 bits in hexadecimal") // NewID made it
	}
	rand.Read(b[1+cookieID:]) // never fails, see crypto/rand
	return cookiePrefix + refreshEncoding.EncodeToString(b), hashCookie(b)
}

func hashCookie(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// decodeCookie returns what a cookie's value names, genuine or not.
func decodeCookie(value string) (session, hash string, persistent bool, err error) {
	body, ok := strings.CutPrefix(value, cookiePrefix)
	if !ok || len(body) != refreshEncoding.EncodedLen(cookieLen) || strings.ContainsAny(body, "\r\n") {
		return "", "", false, fmt.Errorf("session cookie: %w", curfew.ErrInvalidToken)
	}
	b, err := refreshEncoding.DecodeString(body)
	if err != nil || b[0] != cookieSession && b[0] != cookiePersistent {
		return "", "", false, fmt.Errorf("session cookie: %w", curfew.ErrInvalidToken)
	}
	return hex.EncodeToString(b[1 : 1+cookieID]), hashCookie(b), b[0] == cookiePersistent, nil
}

// IsCookie reports whether a credential has the form of a session cookie's
// value, genuine or not.
func IsCookie(credential string) bool { return strings.HasPrefix(credential, cookiePrefix) }

// IsPersistentCookie reports whether a browser is to keep the cookie of the
// given value when it is closed.
func IsPersistentCookie(value string) bool {
	_, _, persistent, err := decodeCookie(value)
	return err == nil && persistent
}

// cookieRow returns the session that a genuine cookie carries, live or not. A
// session that is gone, or has another cookie by now, is ErrInvalidToken.
func (a *Authority) cookieRow(ctx context.Context, value string) (curfew.Session, error) {
	id, hash, _, err := decodeCookie(value)
	if err != nil {
		return curfew.Session{}, err
	}
	s, err := a.store.Session(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return s, fmt.Errorf("session cookie: no such session: %w", curfew.ErrInvalidToken)
	}
	if err != nil {
		return s, fmt.Errorf("reading a session: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(hash), []byte(s.CookieHash)) != 1 {
		return s, fmt.Errorf("session cookie: not the one of its session: %w", curfew.ErrInvalidToken)
	}
	return s, nil
}

// AuthenticateCookie checks the value of a session cookie, as
// [Authority.Authenticate] checks an access token. The error of a session that
// has ended has an [EndedError].
func (a *Authority) AuthenticateCookie(ctx context.Context, value string) (*token.Claims, error) {
	now := a.clock.now()
	s, user, err := a.cookieSession(ctx, value, now)
	if err != nil {
		return nil, err
	}
	a.noteActivity(ctx, s.ID, now)
	return a.cookieClaims(s, user, now), nil
}

func (a *Authority) cookieSession(ctx context.Context, value string, now time.Time) (curfew.Session, store.User, error) {
	s, err := a.cookieRow(ctx, value)
	if err != nil {
		return s, store.User{}, err
	}
	user, err := a.store.User(ctx, s.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return s, user, &EndedError{curfew.ReasonDeleted}
	}
	if err != nil {
		return s, user, fmt.Errorf("reading a user: %w", err)
	}
	if why := a.dead(s, user, now); why != "" {
		return s, user, &EndedError{why}
	}
	return s, user, nil
}

// cookieClaims says of a cookie what an access token says of itself. Whoever
// holds the answer may do so for as long as an access token lives: the log keeps
// the end of the session as long, see endSession. now must be from before the
// row was read.
func (a *Authority) cookieClaims(s curfew.Session, user store.User, now time.Time) *token.Claims {
	return &token.Claims{
		Issuer: a.cfg.Issuer, Subject: s.Subject, Audience: []string{a.cfg.Audience},
		Exp: a.tokenExp(s, now).Unix(), Iat: now.Unix(), AuthTime: later(s.AuthTime, s.ReauthAt).Unix(),
		ClientID: s.ClientID, Session: s.ID, Ver: s.Epoch, Scope: s.Scope, Email: user.Email, Roles: user.Roles,
	}
}

func (a *Authority) introspectCookie(ctx context.Context, value string) (*Introspection, error) {
	now := a.clock.now()
	s, user, err := a.cookieSession(ctx, value, now)
	switch {
	case errors.Is(err, curfew.ErrInvalidToken), errors.Is(err, curfew.ErrRevoked):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &Introspection{TokenType: "session", Claims: *a.cookieClaims(s, user, now), Username: user.Email}, nil
}

// EndedError is a genuine credential of a session that has ended. It wraps
// [curfew.ErrRevoked].
type EndedError struct{ Reason curfew.Reason }

// Error implements error.
func (e *EndedError) Error() string { return fmt.Sprintf("session ended: %s", e.Reason) }

// Unwrap returns [curfew.ErrRevoked].
func (e *EndedError) Unwrap() error { return curfew.ErrRevoked }

type backgroundKey struct{}

// InBackground makes calls not count as activity of the person behind a session.
func InBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

func (a *Authority) noteActivity(ctx context.Context, session string, at time.Time) {
	if ctx.Value(backgroundKey{}) == nil {
		a.activity.note(session, at)
	}
}
