package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

// ErrInvalidGrant is a refresh token that gives nothing, for whatever reason.
// The wire shows no difference between the reasons.
var ErrInvalidGrant = errors.New("refresh token is invalid, expired or revoked")

// RefreshInput is a refresh.
type RefreshInput struct {
	Token    string
	ClientID string // empty = whatever client the session is of
	Scope    string // may only ask for what the session has
	// Active says that the person did something since the last refresh. A
	// background refresh is no activity (NIST SP 800-63B-4 §5.1.2).
	Active bool
	From   Origin
}

// Refresh gives out the successor of a refresh token and a new access token.
//
// A token is good once. Its successor is a function of the session and the
// counter, so whoever lost the answer, or refreshed twice at the same time,
// gets the same successor again within the grace window, as long as nobody has
// used it. A token from further back, or after the window, is in two hands: its
// session ends with reason token_reuse. Errors wrap [ErrInvalidGrant].
func (a *Authority) Refresh(ctx context.Context, in RefreshInput) (Issued, error) {
	id, counter, err := decodeRefresh(a.keys.Load().refresh, in.Token)
	if err != nil {
		a.observe.Refresh("invalid")
		return Issued{}, fmt.Errorf("%w: %w", ErrInvalidGrant, err)
	}
	var s curfew.Session
	var user store.User
	_, err = a.decide(ctx, func() (store.Change, error) {
		var c store.Change
		var err error
		if s, user, err = a.refreshable(ctx, id, in); err != nil {
			return c, err
		}
		now := a.clock.now()
		e := a.entry(audit.TokenRefreshed, UserActor(s.Subject), in.From)
		e.Subject, e.Session, e.ClientID = s.Subject, s.ID, s.ClientID
		switch {
		case counter == s.Counter:
			s.Counter, s.RotatedAt = s.Counter+1, now
			s.TokenExp = later(s.TokenExp, a.tokenExp(s, now))
			if in.Active {
				s.LastSeenAt = now
			}
			c.UpdateSessions = []store.SessionUpdate{{Session: s}}
		case counter == s.Counter-1 && now.Sub(s.RotatedAt) <= a.cfg.RefreshGrace:
			e.Detail = "repeated within the grace window"
		case counter > s.Counter:
			// Genuine, but of a future that this store has not seen.
			return c, fmt.Errorf("%w: counter is ahead of the session", ErrInvalidGrant)
		default:
			return c, errReuse
		}
		c.Audit = []audit.Entry{e}
		return c, nil
	})
	switch {
	case errors.Is(err, errReuse):
		a.observe.Refresh("reuse")
		return Issued{}, a.endReused(ctx, id, in.From)
	case errors.Is(err, errOverdue):
		a.observe.Refresh("expired")
		why, failed := a.endOverdue(ctx, id)
		if failed != nil {
			return Issued{}, failed
		}
		return Issued{}, fmt.Errorf("%w: %w: %w", ErrInvalidGrant, err, &EndedError{why})
	case errors.Is(err, ErrInvalidGrant):
		a.observe.Refresh("invalid")
		return Issued{}, err
	case err != nil:
		return Issued{}, err
	}
	a.observe.Refresh("success")
	return a.issue(s, user)
}

var (
	errReuse   = errors.New("reuse")
	errOverdue = errors.New("time is over")
)

// refreshable reads a session that may be refreshed, and its user.
func (a *Authority) refreshable(ctx context.Context, id string, in RefreshInput) (curfew.Session, store.User, error) {
	s, err := a.store.Session(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return s, store.User{}, fmt.Errorf("%w: no such session", ErrInvalidGrant)
	}
	if err != nil {
		return s, store.User{}, fmt.Errorf("reading a session: %w", err)
	}
	user, err := a.store.User(ctx, s.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return s, user, fmt.Errorf("%w: no such user", ErrInvalidGrant)
	}
	if err != nil {
		return s, user, fmt.Errorf("reading a user: %w", err)
	}
	switch why := a.dead(s, user, a.clock.now()); {
	case why == "":
	case !s.Ended() && (why == curfew.ReasonExpired || why == curfew.ReasonIdle):
		return s, user, errOverdue
	default:
		return s, user, fmt.Errorf("%w: %w", ErrInvalidGrant, &EndedError{why})
	}
	if in.ClientID != "" && in.ClientID != s.ClientID {
		return s, user, fmt.Errorf("%w: it belongs to another client", ErrInvalidGrant)
	}
	if !scopeWithin(in.Scope, s.Scope) {
		return s, user, ErrInvalidScope
	}
	return s, user, nil
}

// endReused ends a session of which a spent refresh token was presented. The
// thief and the victim cannot be told apart, so both are logged out.
func (a *Authority) endReused(ctx context.Context, id string, from Origin) error {
	_, err := a.endByID(ctx, id, curfew.ReasonTokenReuse, audit.TokenReused, Anonymous, from)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.logger.Warn("a spent refresh token was presented; its session has ended", "session", id, "ip", from.IP)
	return fmt.Errorf("%w: %w: %w", ErrInvalidGrant, curfew.ErrReused, &EndedError{curfew.ReasonTokenReuse})
}

// endOverdue ends a session whose time is over. The sweeper would, a little
// later.
func (a *Authority) endOverdue(ctx context.Context, id string) (curfew.Reason, error) {
	s, err := a.store.Session(ctx, id)
	if err != nil {
		return "", err
	}
	why := curfew.ReasonIdle
	if !a.clock.now().Before(s.ExpiresAt) {
		why = curfew.ReasonExpired
	}
	_, err = a.endByID(ctx, id, why, audit.SessionExpired, System, Origin{})
	return why, err
}

// endByID ends one session, if it is live.
func (a *Authority) endByID(ctx context.Context, id string, why curfew.Reason, event audit.Event, by Actor, from Origin) (Receipt, error) {
	start := time.Now()
	var ended int64
	seq := curfew.Seq(0)
	done, err := a.decide(ctx, func() (store.Change, error) {
		var c store.Change
		s, err := a.store.Session(ctx, id)
		if err != nil {
			return c, fmt.Errorf("session %s: %w", id, err)
		}
		if s.Ended() {
			ended, seq = 0, s.EndedSeq
			return c, nil
		}
		ended = 1
		a.endSession(&c, s, why, event, by, from)
		return c, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	if ended > 0 {
		seq = done.Head.Seq
	}
	return a.enforce(ctx, start, seq, ended, why)
}
