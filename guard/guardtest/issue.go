package guardtest

import (
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
)

// What a credential says where a Token leaves it open.
const (
	Issuer   = "https://id.test"
	Audience = "curfew" // that of a guard.Config too
	Subject  = "alice"
	Client   = "web"
	Life     = 10 * time.Minute
)

// Token says what a credential is to say. The zero value is a good one: of a
// new session of the user alice, for ten minutes.
type Token struct {
	Subject  string
	Session  string // empty: a new session
	Client   string
	Audience string
	ID       string // the jti; empty: a new one
	// Life is how long it is good for. A negative one makes a credential that
	// expired that long ago.
	Life  time.Duration
	Scope string
	Email string
	Roles []string
	// Ver is the position of the log at which it was issued. Revocations of its
	// subject, its client or everything after that end it. 0 is the head, which
	// is what the real authority writes.
	Ver curfew.Seq
}

// Issue signs an access token. It returns its text and the id of its session.
func (a *Authority) Issue(tok Token) (text, session string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.claims(tok)
	text, err := a.signer().Sign(*c)
	if err != nil {
		a.t.Fatalf("guardtest: Issue: %v", err)
	}
	c.KeyID = a.signer().KeyID()
	a.issued[text] = c
	return text, c.Session
}

// Cookie makes the value of a session cookie, which guards ask the authority
// about, and returns it with the id of its session.
func (a *Authority) Cookie(tok Token) (value, session string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	value, c := a.newCookie(tok)
	return value, c.Session
}

// claims fills in what tok leaves open. The caller holds mu.
func (a *Authority) claims(tok Token) *guard.Claims {
	now := time.Now()
	if tok.Life == 0 {
		tok.Life = Life
	}
	iat, exp := now, now.Add(tok.Life)
	if tok.Life < 0 {
		iat = exp.Add(-Life)
	}
	if tok.Ver == 0 {
		tok.Ver = a.head().Seq
	}
	c := &guard.Claims{
		Issuer: Issuer, Subject: or(tok.Subject, Subject), Audience: []string{or(tok.Audience, Audience)},
		Iat: iat.Unix(), Exp: max(exp.Unix(), iat.Unix()+1), AuthTime: iat.Unix(),
		ID: or(tok.ID, curfew.NewID()), ClientID: or(tok.Client, Client), Session: or(tok.Session, curfew.NewID()),
		Ver: tok.Ver, Scope: tok.Scope, Email: tok.Email, Roles: tok.Roles,
	}
	a.known[curfew.KindSession][c.Session] = true
	a.known[curfew.KindSubject][c.Subject] = true
	a.known[curfew.KindClient][c.ClientID] = true
	if exp.After(a.last) {
		a.last = exp
	}
	return c
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// KeyID returns the name of the key that signs now.
func (a *Authority) KeyID() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.signer().KeyID()
}

// RotateKey makes another key sign from now on and returns its name. Tokens of
// the old one stay good.
func (a *Authority) RotateKey() (kid string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addKey()
	a.publish()
	return a.signer().KeyID()
}

// Renew brings a cookie's session across a revocation of its subject, as a
// change of the password does that keeps the session: from now on the cookie
// counts as issued at the head of the log.
func (a *Authority) Renew(cookie string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.issued[cookie]
	if c == nil || c.ID != "" {
		a.t.Fatalf("guardtest: Renew: this is not the value of a cookie that Cookie returned")
	}
	renewed := *c
	renewed.Ver = a.head().Seq
	a.issued[cookie] = &renewed
}
