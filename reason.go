package curfew

import (
	"slices"
	"strings"
)

// Reason says why something ended. It reaches the audit trail, the events of
// the browser and the log line of the operator.
type Reason string

// The reasons. The enumeration is closed: a reason that is not listed here is
// refused at the edge.
const (
	ReasonUser            Reason = "user"             // the person logged out this session
	ReasonUserOthers      Reason = "user_others"      // the person logged out the other sessions
	ReasonUserAll         Reason = "user_all"         // the person logged out everywhere
	ReasonAdmin           Reason = "admin"            // an operator ended it
	ReasonPasswordChanged Reason = "password_changed" // the password was changed or set
	ReasonDisabled        Reason = "disabled"         // the account was disabled
	ReasonDeleted         Reason = "deleted"          // the account was deleted
	ReasonIdle            Reason = "idle"             // no activity for the idle time-out
	ReasonExpired         Reason = "expired"          // the absolute life-time is over
	ReasonTokenReuse      Reason = "token_reuse"      // a spent refresh token was presented
	ReasonReplaced        Reason = "replaced"         // a newer session took its place at max_sessions
	ReasonSuspicious      Reason = "suspicious"       // suspicious activity
	ReasonCompromised     Reason = "compromised"      // the account is known to be compromised
	ReasonTokenRevoked    Reason = "token_revoked"    // the client revoked one token (RFC 7009)
	ReasonKeyRevoked      Reason = "key_revoked"      // the signing key was revoked
	ReasonRestored        Reason = "restored"         // the store was restored from a backup
)

var reasons = map[Reason]bool{
	ReasonUser: true, ReasonUserOthers: true, ReasonUserAll: true, ReasonAdmin: true,
	ReasonPasswordChanged: true, ReasonDisabled: true, ReasonDeleted: true,
	ReasonIdle: true, ReasonExpired: true, ReasonTokenReuse: true, ReasonReplaced: true,
	ReasonSuspicious: true, ReasonCompromised: true, ReasonTokenRevoked: true,
	ReasonKeyRevoked: true, ReasonRestored: true,
}

// operatorReasons are those that an operator may give; the others state facts
// that only the authority can know.
var operatorReasons = map[Reason]bool{
	ReasonAdmin: true, ReasonSuspicious: true, ReasonCompromised: true,
}

// Valid reports whether r is one of the defined reasons.
func (r Reason) Valid() bool { return reasons[r] }

// ForOperators reports whether an operator may give r as the reason.
func (r Reason) ForOperators() bool { return operatorReasons[r] }

// OperatorReasons returns the reasons an operator may give, for messages.
func OperatorReasons() string {
	var all []string
	for r := range operatorReasons {
		all = append(all, string(r))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
