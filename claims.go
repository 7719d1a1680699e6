package curfew

// Claims is what an access token (RFC 9068) says. Times are whole seconds since
// 1970. The claims of a token that was verified are shared and read-only.
type Claims struct {
	Issuer   string
	Subject  string
	Audience []string // at least one
	Exp      int64
	Iat      int64
	AuthTime int64  // last authentication, 0 if absent
	ID       string // jti
	ClientID string
	Session  string   // sid
	Ver      Seq      // head of the revocation log at issue
	Scope    string   // empty if absent
	Email    string   // empty if absent
	Roles    []string // empty if absent

	// KeyID is the kid of the header that the token came with. It is no claim
	// and is ignored where claims are signed.
	KeyID string
}
