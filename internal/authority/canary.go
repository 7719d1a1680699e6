package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

// Who a canary is. Neither is anybody's: ids of users have another form.
const (
	CanarySubject = "curfew-canary"
	CanaryClient  = "curfew-doctor"
)

// canaryLife is short: nothing keeps a list of canaries, so one that is never
// ended has to end by itself.
const canaryLife = time.Minute

// ErrUnknownCanary is an id that no canary has.
var ErrUnknownCanary = errors.New("no such canary")

// Canary is an access token that exists to be revoked. Verifiers take it for
// any other; it is nobody's, has no session and no refresh token, and the
// authority's own endpoints for people do not accept it.
type Canary struct {
	AccessToken string
	Session     string // sid
	ExpiresAt   time.Time
}

// MakeCanary issues a canary.
func (a *Authority) MakeCanary(ctx context.Context, by Actor, from Origin) (Canary, error) {
	sid := curfew.NewID()
	// The audit entry is written first. It brings the head of the log, which
	// the token carries like any other.
	done, err := a.decide(ctx, func() (store.Change, error) {
		e := a.entry(audit.TokenCreated, by, from)
		e.Subject, e.Session, e.ClientID = CanarySubject, sid, CanaryClient
		return store.Change{Audit: []audit.Entry{e}}, nil
	})
	if err != nil {
		return Canary{}, err
	}
	now := a.clock.now()
	// No token may outlive what revocations by epoch are remembered for.
	exp := now.Add(min(canaryLife, a.tokenLife)).Truncate(time.Second)
	raw, err := a.keys.Load().signer.Sign(token.Claims{
		Issuer: a.cfg.Issuer, Subject: CanarySubject, Audience: []string{a.cfg.Audience},
		Exp: exp.Unix(), Iat: min(now.Unix(), exp.Unix()-1), ID: curfew.NewID(), ClientID: CanaryClient, Session: sid, Ver: done.Head.Seq,
	})
	if err != nil {
		return Canary{}, fmt.Errorf("signing a canary: %w", err)
	}
	return Canary{AccessToken: raw, Session: sid, ExpiresAt: exp}, nil
}

// EndCanary revokes a canary as a logout revokes a session, and returns when
// that is in force. Which ids were given out is not kept; one that never was is
// revoked all the same, since it can be nobody's.
func (a *Authority) EndCanary(ctx context.Context, id string, by Actor, from Origin) (Receipt, error) {
	start := time.Now()
	if !curfew.ValidID(id) {
		return Receipt{}, ErrUnknownCanary
	}
	// The entry is forgotten when the canary has expired. Of a real session
	// that would be too early: its row would give out tokens that live again.
	switch _, err := a.store.Session(ctx, id); {
	case err == nil:
		return Receipt{}, fmt.Errorf("%w: it is a session", ErrUnknownCanary)
	case !errors.Is(err, store.ErrNotFound):
		return Receipt{}, fmt.Errorf("reading a session: %w", err)
	}
	done, err := a.decide(ctx, func() (store.Change, error) {
		r := a.revocation(curfew.KindSession, id, curfew.ReasonAdmin, by)
		r.ExpiresAt = r.RecordedAt.Add(canaryLife + time.Second)
		e := a.entry(audit.SessionLogout, by, from)
		e.Subject, e.Session, e.ClientID, e.Reason = CanarySubject, id, CanaryClient, r.Reason
		return store.Change{Revocations: []curfew.Revocation{r}, Audit: []audit.Entry{e}}, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return a.enforce(ctx, start, done.Head.Seq, 0, curfew.ReasonAdmin)
}

// Policy returns the policy in effect.
func (a *Authority) Policy() Config { return a.cfg }

// Durability says how the store keeps what it has committed. The second result
// is false for an engine that cannot say.
func (a *Authority) Durability(ctx context.Context) (store.Durability, bool, error) {
	s, ok := a.store.(store.Durable)
	if !ok {
		return store.Durability{}, false, nil
	}
	d, err := s.Durability(ctx)
	return d, err == nil, err
}
