package authority

import (
	"context"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/fault"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/store"
)

// The states of a revocation that a receipt can name.
const (
	StateRecorded = feed.Recorded // durable
	StateEnforced = feed.Enforced // no verifier accepts what it names any more
)

// Receipt says what an ending did and how far it has come.
type Receipt struct {
	Seq       curfew.Seq
	State     string
	Verifiers int
	Took      time.Duration
	Ended     int64 // sessions
	// Unacknowledged are the verifiers whose leases had to run out.
	Unacknowledged []feed.Lapse
}

// commitSlack is how long the commit of a revocation may take. Until it is done
// the rows say that the session lives, and a verifier that asks about a cookie
// holds the answer for as long as a token lives, from then.
const commitSlack = time.Minute

// revocation begins a log entry that outlives every token it can touch.
func (a *Authority) revocation(k curfew.Kind, target string, why curfew.Reason, by Actor) curfew.Revocation {
	now := a.clock.now()
	return curfew.Revocation{
		Kind: k, Target: target, Reason: why, Actor: string(by),
		RecordedAt: now, ExpiresAt: now.Add(a.tokenLife + commitSlack),
	}
}

type asyncKey struct{}

// RespondAsync makes endings return when they are recorded, without waiting
// until they are enforced.
func RespondAsync(ctx context.Context) context.Context {
	return context.WithValue(ctx, asyncKey{}, true)
}

// enforce returns when the entry at seq is in force. Where
// the call itself ended nothing, somebody else's commit may have done so just
// before, so everything that is in the log by now must be in force first: the
// repetition of a logout whose first answer was lost makes the same promise.
func (a *Authority) enforce(ctx context.Context, start time.Time, seq curfew.Seq, ended int64, why curfew.Reason) (Receipt, error) {
	if ended > 0 {
		a.observe.Ended(why, ended)
	}
	waitFor := seq
	if ended == 0 {
		st, err := a.store.State(ctx)
		if err != nil {
			return Receipt{}, fmt.Errorf("reading the head of the log: %w", err)
		}
		waitFor = max(seq, st.Head.Seq)
		if seq == 0 {
			seq = waitFor
		}
	}
	fault.Point(fault.AfterCommit)
	// From here on the authority itself refuses, whoever else is waited for.
	if err := a.log.Wait(ctx, waitFor); err != nil {
		return Receipt{}, err
	}
	if ctx.Value(asyncKey{}) != nil {
		return a.receipt(a.feed.Status(waitFor), seq, start, ended), nil
	}
	done, err := a.feed.Wait(ctx, waitFor)
	if err != nil {
		return Receipt{}, err
	}
	fault.Point(fault.BeforeAnswer)
	r := a.receipt(done, seq, start, ended)
	a.observe.Enforced(r.Took)
	return r, nil
}

func (a *Authority) receipt(r feed.Receipt, seq curfew.Seq, start time.Time, ended int64) Receipt {
	return Receipt{
		Seq: seq, State: r.State, Verifiers: r.Verifiers, Unacknowledged: r.Unacknowledged,
		Took: time.Since(start), Ended: ended,
	}
}

// endSession adds the end of one session to a change: the row on the version
// read, the revocation, the audit entry.
func (a *Authority) endSession(c *store.Change, s curfew.Session, why curfew.Reason, event audit.Event, by Actor, from Origin) {
	r := a.revocation(curfew.KindSession, s.ID, why, by)
	if s.CookieHash == "" {
		// The row knows the last exp of its tokens exactly, and no token can be
		// issued past this version of it. A cookie can be asked about.
		r.ExpiresAt = later(s.TokenExp, r.RecordedAt).Add(time.Second)
	}
	s.EndedAt, s.EndReason = r.RecordedAt, why
	c.UpdateSessions = append(c.UpdateSessions, store.SessionUpdate{Session: s})
	c.Revocations = append(c.Revocations, r)
	e := a.entry(event, by, from)
	e.Subject, e.Session, e.ClientID, e.Reason, e.Count = s.Subject, s.ID, s.ClientID, why, 1
	c.Audit = append(c.Audit, e)
}

// subjectEnding is the end of everything that a subject has.
type subjectEnding struct {
	user   string
	reason curfew.Reason
	event  audit.Event
	by     Actor
	from   Origin
	detail string
	// change edits the account in the same transaction; nil leaves it.
	change func(*store.User) error
	// keep is a session that stays; keepRow renews it across the epoch.
	keep    string
	keepRow func(*curfew.Session) error
}

// endSubject ends all sessions of a subject and raises its epoch, so that a
// login or refresh that is under way cannot escape: a login is committed on
// condition of the user's version, and a token of a session from before
// carries an older epoch.
func (a *Authority) endSubject(ctx context.Context, e subjectEnding) (Receipt, store.User, curfew.Session, error) {
	start := time.Now()
	var user store.User
	var kept curfew.Session
	done, err := a.decide(ctx, func() (store.Change, error) {
		var c store.Change
		var err error
		if user, err = a.store.User(ctx, e.user); err != nil {
			return c, fmt.Errorf("user %s: %w", e.user, err)
		}
		if user.Status == store.UserDeleted {
			return c, fmt.Errorf("user %s: %w", e.user, store.ErrNotFound)
		}
		if e.change != nil {
			if err := e.change(&user); err != nil {
				return c, err
			}
		}
		user.UpdatedAt = a.clock.now()
		c.UpdateUsers = []store.UserUpdate{{User: user, RaiseEpoch: true}}
		c.Revocations = []curfew.Revocation{a.revocation(curfew.KindSubject, user.ID, e.reason, e.by)}
		c.EndSubjects = []store.EndSubject{{Subject: user.ID, Except: e.keep, Reason: e.reason}}
		entry := a.entry(e.event, e.by, e.from)
		entry.Subject, entry.Reason, entry.Count, entry.Detail = user.ID, e.reason, store.CountEnded, e.detail
		c.Audit = []audit.Entry{entry}
		if e.keep == "" {
			return c, nil
		}
		if kept, err = a.store.Session(ctx, e.keep); err != nil {
			return c, err
		}
		if err := e.keepRow(&kept); err != nil {
			return c, err
		}
		c.UpdateSessions = []store.SessionUpdate{{Session: kept, RaiseEpoch: true}}
		return c, nil
	})
	if err != nil {
		return Receipt{}, user, kept, err
	}
	user.Epoch, kept.Epoch = done.Head.Seq, done.Head.Seq
	r, err := a.enforce(ctx, start, done.Head.Seq, done.Ended, e.reason)
	return r, user, kept, err
}

// dead says why a session that was read does not count, or "". It is the one
// place where the levels above a session are asked about a row; access tokens
// are asked about in [denylist.Set.Check].
//
// The epochs of clients and of everything come from the denylist, which never
// forgets those. Where another node's revocation has not arrived there yet, a
// refresh may still succeed, but what it gives out carries the session's old
// epoch and is dead at every verifier.
func (a *Authority) dead(s curfew.Session, u store.User, now time.Time) curfew.Reason {
	switch {
	case s.Ended():
		return s.EndReason
	case u.Status == store.UserDisabled:
		return curfew.ReasonDisabled
	case u.Status != store.UserActive:
		return curfew.ReasonDeleted
	case s.Epoch < u.Epoch:
		return curfew.ReasonUserAll
	case a.deny.Check(denylist.Levels{Client: s.ClientID, Ver: s.Epoch}) != nil:
		return curfew.ReasonAdmin
	case !now.Before(s.ExpiresAt):
		return curfew.ReasonExpired
	case a.isIdle(s, now):
		return curfew.ReasonIdle
	}
	return ""
}

func (a *Authority) isIdle(s curfew.Session, now time.Time) bool {
	if a.cfg.IdleTimeout <= 0 {
		return false
	}
	seen := later(s.LastSeenAt, a.activity.lastSeen(s.ID))
	return now.Sub(seen) >= a.idleAfter()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
