package guardtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/token"
)

// Receipt says what became of a revocation.
type Receipt struct {
	Seq   curfew.Seq
	State string // "recorded" or "enforced"
	// Verifiers is how many guards had a lease.
	Verifiers int
	// Took is how long it was from recorded to enforced.
	Took time.Duration
	// Unacknowledged are the guards, by guard.Status.Instance, that had to be
	// waited out, or that are still waited for.
	Unacknowledged []string
}

// Revoke ends a session and waits until that is enforced.
func (a *Authority) Revoke(session string) Receipt {
	a.t.Helper()
	a.mustKnow("Revoke", curfew.KindSession, session)
	return a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: curfew.ReasonUser}).Wait()
}

// RevokeSubject ends whatever was issued to a user so far.
func (a *Authority) RevokeSubject(subject string) Receipt {
	a.t.Helper()
	a.mustKnow("RevokeSubject", curfew.KindSubject, subject)
	return a.Record(curfew.Revocation{Kind: curfew.KindSubject, Target: subject, Reason: curfew.ReasonUserAll}).Wait()
}

// RevokeClient ends whatever was issued to a client so far.
func (a *Authority) RevokeClient(client string) Receipt {
	a.t.Helper()
	a.mustKnow("RevokeClient", curfew.KindClient, client)
	return a.Record(curfew.Revocation{Kind: curfew.KindClient, Target: client, Reason: curfew.ReasonAdmin}).Wait()
}

// RevokeToken ends one access token, given by its text. Its session lives on.
func (a *Authority) RevokeToken(text string) Receipt {
	a.t.Helper()
	a.mu.Lock()
	c := a.issued[text]
	a.mu.Unlock()
	if c == nil || c.ID == "" {
		a.t.Fatalf("guardtest: RevokeToken: this is not the text of a token that Issue returned")
	}
	return a.Record(curfew.Revocation{Kind: curfew.KindToken, Target: c.ID, Reason: curfew.ReasonTokenRevoked}).Wait()
}

// RevokeKey ends whatever was signed with a key. If that is the one that signs,
// another takes its place.
func (a *Authority) RevokeKey(kid string) Receipt {
	a.t.Helper()
	a.mustKnow("RevokeKey", curfew.KindKey, kid)
	a.mu.Lock()
	a.signers = slices.DeleteFunc(a.signers, func(s *token.Signer) bool { return s.KeyID() == kid })
	if len(a.signers) == 0 {
		a.addKey()
	}
	a.mu.Unlock()
	p := a.Record(curfew.Revocation{Kind: curfew.KindKey, Target: kid, Reason: curfew.ReasonKeyRevoked})
	a.mu.Lock()
	a.publish()
	a.mu.Unlock()
	return p.Wait()
}

// RevokeEverything ends whatever was issued to anybody so far.
func (a *Authority) RevokeEverything() Receipt {
	a.t.Helper()
	return a.Record(curfew.Revocation{Kind: curfew.KindEverything, Reason: curfew.ReasonAdmin}).Wait()
}

// mustKnow ends the test if nothing was ever issued to target.
func (a *Authority) mustKnow(call string, kind curfew.Kind, target string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[kind][target] {
		return
	}
	hint := ""
	if strings.Count(target, ".") == 2 {
		hint = "; this is the text of a token, Issue returns the session beside it"
	}
	a.t.Fatalf("guardtest: %s: there is no %s %q here%s", call, kind, target, hint)
}

// Pending is a revocation that is recorded.
type Pending struct {
	Seq curfew.Seq

	a       *Authority
	hub     *feed.Hub
	running context.Context
}

// Record revokes something without waiting for its enforcement. It takes what
// the other calls cannot say: another reason, a kind of a newer authority, an
// issuer of foreign tokens. Of r the kind, the target, the issuer and the reason
// count; the rest is filled in.
func (a *Authority) Record(r curfew.Revocation) *Pending {
	a.t.Helper()
	switch {
	case r.Kind == "":
		a.t.Fatalf("guardtest: Record: a revocation needs a Kind")
	case r.Target == "" && r.Kind.Valid() && r.Kind != curfew.KindEverything:
		a.t.Fatalf("guardtest: Record: a revocation of a %s needs a Target", r.Kind)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.append(r)
	return &Pending{Seq: a.head().Seq, a: a, hub: a.hub, running: a.running}
}

// append puts revocations at the end of the log, durably as far as anybody
// here is concerned, and then tells the guards. The caller holds mu.
func (a *Authority) append(list ...curfew.Revocation) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	first := len(a.entries)
	for _, r := range list {
		p := a.head()
		r.Seq, r.RecordedAt = p.Seq+1, now
		r.Actor = or(r.Actor, "test")
		if r.Reason == "" {
			r.Reason = curfew.ReasonAdmin
		}
		if r.ExpiresAt.IsZero() {
			// It outlives every token that it can touch (rule 11).
			r.ExpiresAt = now.Add(Life + time.Second)
			if a.last.After(now.Add(Life)) {
				r.ExpiresAt = a.last.Add(time.Second)
			}
		}
		r.Hash = r.Chain(p.Hash)
		a.entries = append(a.entries, r)
		a.denied.Apply(r)
	}
	a.hub.Append(a.entries[first:], a.head())
}

// Wait returns when the revocation is enforced: when each guard that had a
// lease has it, or has lost its lease.
func (p *Pending) Wait() Receipt {
	p.a.t.Helper()
	p.a.mu.Lock()
	limit := 2*feed.Wait(p.a.lease) + patience
	p.a.mu.Unlock()
	ctx, cancel := context.WithTimeout(p.running, limit)
	defer cancel()
	r, err := p.hub.Wait(ctx, p.Seq)
	switch {
	case errors.Is(err, context.Canceled):
		p.a.t.Fatalf("guardtest: Wait: revocation %d is of the time before Rewind", p.Seq)
	case err != nil:
		p.a.t.Fatalf("guardtest: Wait: %v", err)
	}
	return receipt(r)
}

// Status says how far the revocation is.
func (p *Pending) Status() Receipt { return receipt(p.hub.Status(p.Seq)) }

func receipt(r feed.Receipt) Receipt {
	out := Receipt{Seq: r.Seq, State: r.State, Verifiers: r.Verifiers}
	if !r.EnforcedAt.IsZero() {
		out.Took = r.EnforcedAt.Sub(r.RecordedAt)
	}
	for _, l := range r.Unacknowledged {
		out.Unacknowledged = append(out.Unacknowledged, l.Instance)
	}
	return out
}

// String is for messages of tests.
func (r Receipt) String() string {
	return fmt.Sprintf("revocation %d %s, %d verifiers, %v, unacknowledged %v", r.Seq, r.State, r.Verifiers, r.Took, r.Unacknowledged)
}

// live returns the claims of a credential if it is live, else nil: the
// authority's own view, which needs no lease.
func (a *Authority) live(credential string) *guard.Claims {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.issued[credential]; c != nil && a.lives(c) {
		return c
	}
	return nil
}

// lives reports whether what says c is live. The caller holds mu.
func (a *Authority) lives(c *guard.Claims) bool {
	return time.Now().Unix() < c.Exp && a.denied.Check(denylist.Levels{
		Key: c.KeyID, Client: c.ClientID, Subject: c.Subject, Session: c.Session, Token: c.ID, Ver: c.Ver,
	}) == nil
}
