package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

// LogoutScope is how far a logout reaches.
type LogoutScope string

// The scopes of a logout.
const (
	ScopeLocal  LogoutScope = "local"  // the sessions of the credentials presented
	ScopeOthers LogoutScope = "others" // the subject's other sessions
	ScopeGlobal LogoutScope = "global" // everything of the subject
)

// LogoutInput is a logout by whoever holds a credential.
type LogoutInput struct {
	// Access and Refresh are the credentials presented; all their sessions end.
	Access  []string
	Refresh []string
	Logout  []string // logout tokens
	Cookies []string // values of session cookies
	Scope   LogoutScope
	From    Origin
}

// LogoutOutput is what became of a logout.
type LogoutOutput struct {
	Receipt
	// Scope is how far it reached: local where the credentials were dead
	// already, whatever was asked for.
	Scope LogoutScope
	Limit limit.Verdict
	At    time.Time
}

// ErrNoCredential is a logout without any genuine credential.
var ErrNoCredential = errors.New("no valid credential")

// bearer is a session that a genuine credential names. The subject is unknown
// where only a refresh token is left of a session that was purged.
type bearer struct {
	session, subject string
	// weak is a credential that is spent or revoked by itself. It still ends
	// its own session, but nothing else: it may be in a thief's hands.
	weak bool
}

// Logout ends what the scope says. Any genuine credential will do, expired or
// revoked ones too: whatever of their sessions lives is ended, and repeating a
// logout succeeds. Only with a credential that is good, or at most expired, of a
// live session can others be ended, so that an old token that leaked cannot log
// its owner out everywhere.
//
// A logout that ends nothing is counted, and refused with a [ThrottledError]
// past the limit; one that ends a live session is never refused.
func (a *Authority) Logout(ctx context.Context, in LogoutInput) (LogoutOutput, error) {
	bearers, err := a.identify(ctx, in)
	if err != nil {
		return LogoutOutput{}, err
	}
	start := time.Now()
	subject := bearers[0].subject
	live, seq, err := a.liveOf(ctx, bearers)
	if err != nil {
		return LogoutOutput{}, err
	}
	out := LogoutOutput{Scope: in.Scope, Limit: a.logouts.Take(subject)}
	if len(live) == 0 {
		if !out.Limit.Allowed {
			return out, &ThrottledError{out.Limit}
		}
		out.Scope = ScopeLocal
		if in.Scope == ScopeGlobal {
			// Nothing else of the subject lives: then it is true that
			// everything has ended, and the repetition of a logout
			// everywhere gets the answer of the first.
			if rest, err := a.store.CountSessions(ctx, store.SessionFilter{Subject: subject, Live: true}); err == nil && rest == 0 {
				out.Scope = ScopeGlobal
			}
		}
		out.Receipt, err = a.enforce(ctx, start, seq, 0, curfew.ReasonUser)
		out.At = a.clock.now()
		return out, err
	}
	strong := slices.DeleteFunc(slices.Clone(live), func(s curfew.Session) bool {
		return !slices.ContainsFunc(bearers, func(b bearer) bool { return b.session == s.ID && !b.weak })
	})
	if len(strong) == 0 {
		out.Scope = ScopeLocal
	}
	switch out.Scope {
	case ScopeGlobal:
		out.Receipt, err = a.logoutSubjects(ctx, strong, in.From)
		if err == nil && len(strong) < len(live) {
			var rest Receipt
			rest, err = a.logoutSessions(ctx, start, live, in.From)
			out.Receipt = out.Receipt.and(rest)
		}
	case ScopeOthers:
		out.Receipt, err = a.logoutOthers(ctx, start, strong, in.From)
	default:
		out.Receipt, err = a.logoutSessions(ctx, start, live, in.From)
	}
	out.At = a.clock.now()
	return out, err
}

// identify returns the sessions that the genuine credentials name.
func (a *Authority) identify(ctx context.Context, in LogoutInput) ([]bearer, error) {
	var out []bearer
	var bad error
	for _, raw := range in.Access {
		c, checked := a.verifier.Check(raw)
		if checked != nil {
			if c, bad = a.verifier.Genuine(raw); bad != nil {
				continue
			}
		}
		out = append(out, bearer{session: c.Session, subject: c.Subject, weak: errors.Is(checked, curfew.ErrRevoked)})
	}
	for _, raw := range in.Cookies {
		s, err := a.cookieRow(ctx, raw)
		switch {
		case errors.Is(err, curfew.ErrInvalidToken):
			bad = err
		case err != nil:
			return nil, err
		default:
			out = append(out, bearer{session: s.ID, subject: s.Subject})
		}
	}
	for _, raw := range in.Logout {
		id, err := decodeLogout(a.keys.Load().refresh, raw)
		if err != nil {
			bad = err
			continue
		}
		b, err := a.bearerOf(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	for _, raw := range in.Refresh {
		id, counter, err := decodeRefresh(a.keys.Load().refresh, raw)
		if err != nil {
			bad = err
			continue
		}
		s, err := a.store.Session(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound): // purged long after it ended
			out = append(out, bearer{session: id})
		case err != nil:
			return nil, fmt.Errorf("reading a session: %w", err)
		default:
			out = append(out, bearer{session: id, subject: s.Subject, weak: counter < s.Counter-1})
		}
	}
	if len(out) == 0 {
		if bad != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoCredential, bad)
		}
		return nil, ErrNoCredential
	}
	return out, nil
}

// bearerOf returns what a credential without a counter names. A session that was
// purged, long after it ended, has no subject any more.
func (a *Authority) bearerOf(ctx context.Context, session string) (bearer, error) {
	s, err := a.store.Session(ctx, session)
	if errors.Is(err, store.ErrNotFound) {
		return bearer{session: session}, nil
	}
	if err != nil {
		return bearer{}, fmt.Errorf("reading a session: %w", err)
	}
	return bearer{session: session, subject: s.Subject}, nil
}

// liveOf returns the sessions that have not ended, and the position that ended
// the others.
func (a *Authority) liveOf(ctx context.Context, bearers []bearer) (live []curfew.Session, seq curfew.Seq, err error) {
	seen := map[string]bool{}
	for _, b := range bearers {
		if seen[b.session] {
			continue
		}
		seen[b.session] = true
		s, err := a.store.Session(ctx, b.session)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, 0, fmt.Errorf("reading a session: %w", err)
		case s.Ended():
			seq = max(seq, s.EndedSeq)
		default:
			live = append(live, s)
		}
	}
	return live, seq, nil
}

// logoutSessions ends sessions that were read on behalf of their own subjects.
func (a *Authority) logoutSessions(ctx context.Context, start time.Time, sessions []curfew.Session, from Origin) (Receipt, error) {
	return a.endAll(ctx, start, sessions, ending{reason: curfew.ReasonUser, event: audit.SessionLogout, from: from})
}

// ending says how a list of sessions ends. Without by each ends on behalf of
// its own subject.
type ending struct {
	reason curfew.Reason
	event  audit.Event
	by     Actor
	from   Origin
	detail string
}

// endAll ends those of the sessions that are live, in one commit. They are taken
// as they were read, and read again only if one has changed since.
func (a *Authority) endAll(ctx context.Context, start time.Time, sessions []curfew.Session, e ending) (Receipt, error) {
	var ended int64
	var seq curfew.Seq
	again := false
	done, err := a.decide(ctx, func() (store.Change, error) {
		var c store.Change
		ended, seq = 0, 0
		for _, s := range sessions {
			if again {
				var err error
				if s, err = a.store.Session(ctx, s.ID); errors.Is(err, store.ErrNotFound) {
					continue
				} else if err != nil {
					return c, fmt.Errorf("reading a session: %w", err)
				}
			}
			if s.Ended() {
				seq = max(seq, s.EndedSeq)
				continue
			}
			by := e.by
			if by == "" {
				by = UserActor(s.Subject)
			}
			a.endSession(&c, s, e.reason, e.event, by, e.from)
			c.Audit[len(c.Audit)-1].Detail = e.detail
			ended++
		}
		again = true
		return c, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	if ended > 0 {
		seq = done.Head.Seq
	}
	return a.enforce(ctx, start, seq, ended, e.reason)
}

// logoutOthers ends every session of the subject but those presented.
func (a *Authority) logoutOthers(ctx context.Context, start time.Time, mine []curfew.Session, from Origin) (Receipt, error) {
	total := Receipt{State: StateEnforced}
	for _, subject := range subjects(mine) {
		f := store.SessionFilter{Subject: subject, Live: true, Page: store.Page{Limit: maxBulk}}
		for {
			page, err := a.store.Sessions(ctx, f)
			if err != nil {
				return Receipt{}, err
			}
			list := slices.DeleteFunc(slices.Clone(page), func(s curfew.Session) bool { return slices.Contains(ids(mine), s.ID) })
			r, err := a.endAll(ctx, start, list, ending{
				reason: curfew.ReasonUserOthers, event: audit.SessionLogout, by: UserActor(subject), from: from,
			})
			if err != nil {
				return Receipt{}, err
			}
			total = total.and(r)
			if len(page) < maxBulk {
				break
			}
			f.After = page[len(page)-1].ID
		}
	}
	return total, nil
}

// logoutSubjects ends everything of the subjects whose sessions were presented.
func (a *Authority) logoutSubjects(ctx context.Context, mine []curfew.Session, from Origin) (Receipt, error) {
	total := Receipt{State: StateEnforced}
	for _, subject := range subjects(mine) {
		r, _, _, err := a.endSubject(ctx, subjectEnding{
			user: subject, reason: curfew.ReasonUserAll, event: audit.SessionLogout, by: UserActor(subject), from: from,
		})
		if err != nil {
			return Receipt{}, err
		}
		total = total.and(r)
	}
	return total, nil
}

// and joins the receipts of several endings of one call.
func (r Receipt) and(s Receipt) Receipt {
	s.Seq, s.Ended, s.Verifiers = max(r.Seq, s.Seq), r.Ended+s.Ended, max(r.Verifiers, s.Verifiers)
	s.Took = r.Took + s.Took
	earlier := slices.DeleteFunc(slices.Clone(r.Unacknowledged), func(l feed.Lapse) bool {
		return slices.ContainsFunc(s.Unacknowledged, func(m feed.Lapse) bool { return m.Verifier == l.Verifier && m.Instance == l.Instance })
	})
	s.Unacknowledged = append(earlier, s.Unacknowledged...)
	return s
}

// EndOwnSession ends a session of the subject. The session of somebody else is
// not found, as if it did not exist.
func (a *Authority) EndOwnSession(ctx context.Context, c *token.Claims, id string, from Origin) (Receipt, error) {
	s, err := a.store.Session(ctx, id)
	if err != nil {
		return Receipt{}, fmt.Errorf("session: %w", err)
	}
	if s.Subject != c.Subject {
		return Receipt{}, fmt.Errorf("session: %w", store.ErrNotFound)
	}
	return a.logoutSessions(ctx, time.Now(), []curfew.Session{s}, from)
}

// RevokeToken carries out an RFC 7009 revocation: of an access token only that
// token, of a refresh token or a session cookie the session. Unknown tokens are no error: what the
// caller wants is the case. A token of another client than the one named is
// [ErrInvalidGrant] and stays live.
func (a *Authority) RevokeToken(ctx context.Context, raw, client string, from Origin) (Receipt, error) {
	start := time.Now()
	if IsRefreshToken(raw) {
		id, _, err := decodeRefresh(a.keys.Load().refresh, raw)
		if err != nil {
			return Receipt{}, nil
		}
		s, err := a.store.Session(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return Receipt{}, nil
		}
		if err != nil {
			return Receipt{}, err
		}
		if client != "" && client != s.ClientID {
			return Receipt{}, ErrInvalidGrant
		}
		return a.endAll(ctx, start, []curfew.Session{s}, ending{reason: curfew.ReasonTokenRevoked, event: audit.SessionLogout, from: from})
	}
	if IsCookie(raw) {
		s, err := a.cookieRow(ctx, raw)
		if errors.Is(err, curfew.ErrInvalidToken) {
			return Receipt{}, nil
		}
		if err != nil {
			return Receipt{}, err
		}
		if client != "" && client != s.ClientID {
			return Receipt{}, ErrInvalidGrant
		}
		return a.endAll(ctx, start, []curfew.Session{s}, ending{reason: curfew.ReasonTokenRevoked, event: audit.SessionLogout, from: from})
	}
	claims, err := a.verifier.Check(raw)
	if err != nil {
		return Receipt{}, nil // expired, revoked already, or no token of ours
	}
	if client != "" && client != claims.ClientID {
		return Receipt{}, ErrInvalidGrant
	}
	done, err := a.decide(ctx, func() (store.Change, error) {
		r := a.revocation(curfew.KindToken, claims.ID, curfew.ReasonTokenRevoked, UserActor(claims.Subject))
		r.ExpiresAt = time.Unix(claims.Exp+1, 0)
		e := a.entry(audit.TokenRevoked, UserActor(claims.Subject), from)
		e.Subject, e.Session, e.ClientID, e.Reason = claims.Subject, claims.Session, claims.ClientID, r.Reason
		return store.Change{Revocations: []curfew.Revocation{r}, Audit: []audit.Entry{e}}, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return a.enforce(ctx, start, done.Head.Seq, 0, curfew.ReasonTokenRevoked)
}

func ids(sessions []curfew.Session) []string {
	out := make([]string, len(sessions))
	for i, s := range sessions {
		out[i] = s.ID
	}
	return out
}

func subjects(sessions []curfew.Session) []string {
	var out []string
	for _, s := range sessions {
		if !slices.Contains(out, s.Subject) {
			out = append(out, s.Subject)
		}
	}
	return out
}
