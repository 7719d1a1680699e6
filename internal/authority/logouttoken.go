package authority

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/curfewhq/curfew"
)

// A logout token is
//
//	"cl_" base64url( version ‖ session id (16) ‖ HMAC-SHA-256/128 )
//
// It does nothing but log out the person whose session it names. A browser that
// is offline keeps it in place of the tokens that it forgets, and delivers the
// logout when it is back. It has no end of its own: a logout that comes late is
// better than one that does not come.
const (
	logoutPrefix  = "cl_"
	logoutVersion = 1
	logoutMAC     = 16
	logoutBody    = 1 + 16
)

// encodeLogout returns the logout token of a session.
func encodeLogout(secret []byte, session string) (string, error) {
	b, err := hex.AppendDecode([]byte{logoutVersion}, []byte(session))
	if err != nil || len(b) != logoutBody {
		return "", fmt.Errorf("session id %q is not 128 bits in hexadecimal", session)
	}
	return logoutPrefix + refreshEncoding.EncodeToString(append(b, logoutSum(secret, b)...)), nil
}

// decodeLogout returns the session of a genuine logout token. The error wraps
// [curfew.ErrInvalidToken].
func decodeLogout(secret []byte, token string) (session string, err error) {
	body, ok := strings.CutPrefix(token, logoutPrefix)
	if !ok || len(body) != refreshEncoding.EncodedLen(logoutBody+logoutMAC) || strings.ContainsAny(body, "\r\n") {
		return "", fmt.Errorf("logout token: %w", curfew.ErrInvalidToken)
	}
	b, err := refreshEncoding.DecodeString(body)
	if err != nil || b[0] != logoutVersion || !hmac.Equal(logoutSum(secret, b[:logoutBody]), b[logoutBody:]) {
		return "", fmt.Errorf("logout token: %w", curfew.ErrInvalidToken)
	}
	return hex.EncodeToString(b[1:logoutBody]), nil
}

// logoutSum uses the secret of the refresh tokens. The text in front keeps one
// kind from passing for the other.
func logoutSum(secret, body []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("curfew logout token"))
	m.Write(body)
	return m.Sum(nil)[:logoutMAC]
}

// IsLogoutToken reports whether a credential has the form of a logout token,
// genuine or not.
func IsLogoutToken(credential string) bool { return strings.HasPrefix(credential, logoutPrefix) }
