package authority

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/curfewhq/curfew"
)

// A refresh token is
//
//	"cr_" base64url( version ‖ session id (16) ‖ counter (8) ‖ HMAC-SHA-256/128 )
//
// and the successor of a token is the one with the next counter. Nothing about
// a token is stored but the counter in its session's row, so a retried refresh
// gets the same successor again, and a forged token is refused without asking
// the store.
const (
	refreshPrefix  = "cr_"
	refreshVersion = 1
	refreshMAC     = 16
	refreshBody    = 1 + 16 + 8
)

var refreshEncoding = base64.RawURLEncoding.Strict()

// encodeRefresh returns the refresh token of a session at a counter.
func encodeRefresh(secret []byte, session string, counter int64) (string, error) {
	b := make([]byte, 1, refreshBody+refreshMAC)
	b[0] = refreshVersion
	b, err := hex.AppendDecode(b, []byte(session))
	if err != nil || len(b) != 17 {
		return "", fmt.Errorf("session id %q is not 128 bits in hexadecimal", session)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(counter))
	b = append(b, refreshSum(secret, b)...)
	return refreshPrefix + refreshEncoding.EncodeToString(b), nil
}

// decodeRefresh returns what a genuine refresh token names. The error wraps
// [curfew.ErrInvalidToken].
func decodeRefresh(secret []byte, token string) (session string, counter int64, err error) {
	body, ok := strings.CutPrefix(token, refreshPrefix)
	if !ok || len(body) != refreshEncoding.EncodedLen(refreshBody+refreshMAC) || strings.ContainsAny(body, "\r\n") {
		return "", 0, fmt.Errorf("refresh token: %w", curfew.ErrInvalidToken)
	}
	b, err := refreshEncoding.DecodeString(body)
	if err != nil || b[0] != refreshVersion || !hmac.Equal(refreshSum(secret, b[:refreshBody]), b[refreshBody:]) {
		return "", 0, fmt.Errorf("refresh token: %w", curfew.ErrInvalidToken)
	}
	return hex.EncodeToString(b[1:17]), int64(binary.BigEndian.Uint64(b[17:])), nil
}

func refreshSum(secret, body []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("curfew refresh token"))
	m.Write(body)
	return m.Sum(nil)[:refreshMAC]
}

// IsRefreshToken reports whether token has the form of a refresh token, genuine
// or not. Access tokens never have it.
func IsRefreshToken(token string) bool { return strings.HasPrefix(token, refreshPrefix) }
