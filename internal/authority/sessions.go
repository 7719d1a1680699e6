package authority

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

// maxBulk bounds how many sessions one commit ends.
const maxBulk = 500

// Authenticate checks an access token for the authority's own endpoints, by the
// same check that verifiers use, and notes the activity of the person. The
// error is one of the curfew package's.
func (a *Authority) Authenticate(ctx context.Context, raw string) (*token.Claims, error) {
	c, err := a.verifier.Check(raw)
	if err != nil {
		return nil, err
	}
	if c.Subject == CanarySubject {
		return nil, fmt.Errorf("a canary is no person: %w", curfew.ErrInvalidToken)
	}
	if a.cfg.IdleTimeout > 0 {
		// Between two sweeps an idle session is not in the denylist yet.
		s, err := a.store.Session(ctx, c.Session)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("no such session: %w", curfew.ErrRevoked)
		}
		if err != nil {
			return nil, err
		}
		if s.Ended() {
			return nil, &EndedError{s.EndReason}
		}
		if a.isIdle(s, a.clock.now()) {
			return nil, &EndedError{curfew.ReasonIdle}
		}
	}
	a.noteActivity(ctx, c.Session, a.clock.now())
	return c, nil
}

// OwnSessions lists the live sessions of the subject of c.
func (a *Authority) OwnSessions(ctx context.Context, c *token.Claims) ([]curfew.Session, error) {
	user, err := a.store.User(ctx, c.Subject)
	if err != nil {
		return nil, err
	}
	return a.liveSessions(ctx, user)
}

func (a *Authority) liveSessions(ctx context.Context, user store.User) ([]curfew.Session, error) {
	rows, err := a.store.Sessions(ctx, store.SessionFilter{Subject: user.ID, Live: true, Page: store.Page{Limit: 10_000}})
	if err != nil {
		return nil, err
	}
	now := a.clock.now()
	live := rows[:0]
	for _, s := range rows {
		if a.dead(s, user, now) == "" {
			s.LastSeenAt = later(s.LastSeenAt, a.activity.lastSeen(s.ID))
			live = append(live, s)
		}
	}
	return live, nil
}

// Sessions lists sessions for an operator.
func (a *Authority) Sessions(ctx context.Context, f store.SessionFilter) ([]curfew.Session, error) {
	return a.store.Sessions(ctx, f)
}

// SessionByID returns one session, ended ones too.
func (a *Authority) SessionByID(ctx context.Context, id string) (curfew.Session, error) {
	return a.store.Session(ctx, id)
}

// EndSession ends a session on an operator's behalf.
func (a *Authority) EndSession(ctx context.Context, id string, why curfew.Reason, note string, by Actor, from Origin) (Receipt, error) {
	s, err := a.store.Session(ctx, id)
	if err != nil {
		return Receipt{}, fmt.Errorf("session %q: %w", clip(id, 80), err)
	}
	return a.endAll(ctx, time.Now(), []curfew.Session{s}, ending{reason: why, event: audit.SessionLogout, by: by, from: from, detail: clip(note, 500)})
}

// BulkEnd ends the live sessions that match f, in commits of at most 500. With
// dryRun it ends nothing and says how many it would end. Every session that
// matched at the call is ended when it returns; after an error some may be, and
// repeating the call ends the rest.
func (a *Authority) BulkEnd(ctx context.Context, f store.SessionFilter, why curfew.Reason, note string, dryRun bool, by Actor, from Origin) (Receipt, error) {
	start := time.Now()
	f.Live = true
	if dryRun {
		n, err := a.store.CountSessions(ctx, f)
		return Receipt{Ended: n}, err
	}
	total := Receipt{State: StateEnforced}
	f.Limit = maxBulk
	for {
		page, err := a.store.Sessions(ctx, f)
		if err != nil {
			return total, err
		}
		if len(page) > 0 {
			r, err := a.endAll(ctx, start, page, ending{reason: why, event: audit.SessionLogout, by: by, from: from, detail: clip(note, 500)})
			if err != nil {
				return total, err
			}
			total = total.and(r)
			f.After = page[len(page)-1].ID
		}
		if len(page) < maxBulk {
			total.Took = time.Since(start)
			return total, nil
		}
	}
}

// LogoutClient ends everything that was issued to a client, LogoutEverybody
// everything there is. One record of the log does it; the rows of the sessions
// are tidied up afterwards.
func (a *Authority) LogoutClient(ctx context.Context, client string, why curfew.Reason, note string, dryRun bool, by Actor, from Origin) (Receipt, error) {
	if !validClient(client) {
		return Receipt{}, ErrUnknownClient
	}
	return a.endBelow(ctx, curfew.KindClient, client, store.SessionFilter{ClientID: client, Live: true}, why, note, dryRun, by, from)
}

// LogoutEverybody ends everything, see [Authority.LogoutClient].
func (a *Authority) LogoutEverybody(ctx context.Context, why curfew.Reason, note string, dryRun bool, by Actor, from Origin) (Receipt, error) {
	return a.endBelow(ctx, curfew.KindEverything, "", store.SessionFilter{Live: true}, why, note, dryRun, by, from)
}

func (a *Authority) endBelow(ctx context.Context, kind curfew.Kind, target string, f store.SessionFilter, why curfew.Reason, note string, dryRun bool, by Actor, from Origin) (Receipt, error) {
	start := time.Now()
	n, err := a.store.CountSessions(ctx, f)
	if err != nil || dryRun {
		return Receipt{Ended: n}, err
	}
	done, err := a.decide(ctx, func() (store.Change, error) {
		e := a.entry(audit.SessionLogout, by, from)
		e.ClientID, e.Reason, e.Count, e.Detail = target, why, n, clip(note, 500)
		if kind == curfew.KindEverything {
			e.Detail = strings.TrimSpace("everybody " + e.Detail)
		}
		return store.Change{
			Revocations: []curfew.Revocation{a.revocation(kind, target, why, by)},
			Audit:       []audit.Entry{e},
		}, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return a.enforce(ctx, start, done.Head.Seq, n, why)
}

// Introspection is what RFC 7662 tells of a live token.
type Introspection struct {
	TokenType string // "access_token", "refresh_token" or "session"
	Claims    token.Claims
	Username  string
}

// Introspect returns what is to be known of a live token, or nil of any other.
func (a *Authority) Introspect(ctx context.Context, raw string) (*Introspection, error) {
	switch {
	case IsRefreshToken(raw):
		return a.introspectRefresh(ctx, raw)
	case IsCookie(raw):
		return a.introspectCookie(ctx, raw)
	}
	c, err := a.verifier.Check(raw)
	if err != nil {
		return nil, nil
	}
	if c.Subject == CanarySubject {
		// It has no row. What every verifier accepts is active.
		return &Introspection{TokenType: "access_token", Claims: *c, Username: CanarySubject}, nil
	}
	s, user, err := a.liveSession(ctx, c.Session)
	if err != nil || s == nil {
		return nil, err
	}
	return &Introspection{TokenType: "access_token", Claims: *c, Username: user.Email}, nil
}

func (a *Authority) introspectRefresh(ctx context.Context, raw string) (*Introspection, error) {
	id, counter, err := decodeRefresh(a.keys.Load().refresh, raw)
	if err != nil {
		return nil, nil
	}
	s, user, err := a.liveSession(ctx, id)
	if err != nil || s == nil || counter != s.Counter {
		return nil, err
	}
	return &Introspection{TokenType: "refresh_token", Username: user.Email, Claims: token.Claims{
		Issuer: a.cfg.Issuer, Subject: s.Subject, ClientID: s.ClientID, Session: s.ID, Scope: s.Scope,
		Exp: s.ExpiresAt.Unix(), Iat: s.RotatedAt.Unix(),
	}}, nil
}

// liveSession returns a session and its user if it is live, else nil.
func (a *Authority) liveSession(ctx context.Context, id string) (*curfew.Session, store.User, error) {
	s, err := a.store.Session(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, store.User{}, nil
	}
	if err != nil {
		return nil, store.User{}, err
	}
	user, err := a.store.User(ctx, s.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return nil, user, nil
	}
	if err != nil || a.dead(s, user, a.clock.now()) != "" {
		return nil, user, err
	}
	return &s, user, nil
}

// scopeWithin reports whether every word of asked is in granted.
func scopeWithin(asked, granted string) bool {
	have := map[string]bool{}
	for _, w := range strings.Fields(granted) {
		have[w] = true
	}
	for _, w := range strings.Fields(asked) {
		if !have[w] {
			return false
		}
	}
	return true
}

// CountSessions counts the sessions that match f.
func (a *Authority) CountSessions(ctx context.Context, f store.SessionFilter) (int64, error) {
	return a.store.CountSessions(ctx, f)
}

// CountLive returns 1 if the session is live and 0 if it has ended.
func (a *Authority) CountLive(ctx context.Context, id string) (int64, error) {
	s, err := a.store.Session(ctx, id)
	if err != nil || s.Ended() {
		return 0, err
	}
	return 1, nil
}
