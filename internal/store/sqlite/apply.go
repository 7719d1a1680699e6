package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/fault"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/ncruces/go-sqlite3"
)

// errNoTime guards the meaning of ended_at = 0: a session that ended at no time
// would live on.
var errNoTime = errors.New("a change that ends sessions needs the time of their end")

// tx is the transaction of a batch. The state row is read once at its begin and
// written once at its end.
type tx struct {
	c        *conn
	original stateRow
	state    stateRow
}

// stateRow is the part of [store.State] that lives in the table state.
type stateRow struct {
	head          curfew.Position
	compacted     curfew.Seq
	compactedHash curfew.Hash // what the first entry that is kept chains to
	horizon       time.Time
	timeHighWater time.Time
	tokenLife     time.Duration
	leaseLife     time.Duration
	everything    curfew.Seq
	audit         audit.Head
}

func beginTx(c *conn) (*tx, error) {
	st, err := readState(c)
	return &tx{c: c, original: st, state: st}, err
}

func (t *tx) finish() error {
	if t.state == t.original {
		return nil
	}
	s := t.state
	_, err := t.c.exec(`UPDATE state SET log_id = ?, head_seq = ?, head_hash = ?, compacted = ?, compacted_hash = ?, horizon = ?,
		time_high_water = ?, token_life = ?, lease_life = ?, everything = ?, audit_seq = ?, audit_hash = ?`,
		s.head.LogID, s.head.Seq, s.head.Hash, s.compacted, s.compactedHash, s.horizon,
		s.timeHighWater, s.tokenLife, s.leaseLife, s.everything, s.audit.Seq, s.audit.Hash)
	return err
}

// Commit implements [store.Writer].
func (db *DB) Commit(ctx context.Context, c store.Change) (store.Committed, error) {
	var out store.Committed
	err := db.writer.do(ctx, func(t *tx) (err error) {
		out, err = t.apply(c)
		return err
	})
	if err != nil {
		return store.Committed{}, err
	}
	return out, nil
}

// apply carries out one change. The caller undoes it if it fails.
func (t *tx) apply(c store.Change) (store.Committed, error) {
	var out store.Committed
	if err := t.require(c.RequireUsers); err != nil {
		return out, err
	}
	if c.At.After(t.state.timeHighWater) {
		t.state.timeHighWater = c.At.Truncate(time.Microsecond).UTC()
	}
	t.state.tokenLife = max(t.state.tokenLife, c.TokenLife)
	t.state.leaseLife = max(t.state.leaseLife, c.LeaseLife)
	if c.NewLogID != "" {
		t.state.head.LogID = c.NewLogID
	}
	if err := t.appendRevocations(c.Revocations); err != nil {
		return out, err
	}
	out.Head = t.state.head
	endedSeq := curfew.Seq(0)
	if len(c.Revocations) > 0 {
		endedSeq = out.Head.Seq
	}
	if err := t.applyUsers(c); err != nil {
		return out, err
	}
	ended, err := t.applySessions(c, endedSeq)
	if err != nil {
		return out, err
	}
	out.Ended = ended
	if err := t.applyKeys(c); err != nil {
		return out, err
	}
	for _, e := range c.Audit {
		if e.Count == store.CountEnded {
			e.Count = ended
		}
		if endedSeq != 0 {
			e.RevSeq = endedSeq
		}
		e.Seq = t.state.audit.Seq + 1
		e.At = e.At.Truncate(time.Microsecond)
		e.Hash = e.Chain(t.state.audit.Hash)
		if err := insertAudit(t.c, e); err != nil {
			return out, err
		}
		t.state.audit = audit.Head{Seq: e.Seq, Hash: e.Hash}
	}
	return out, nil
}

func (t *tx) require(users []store.UserVersion) error {
	for _, u := range users {
		found := false
		err := t.c.query("SELECT 1 FROM users WHERE id = ? AND version = ?",
			func(*sqlite3.Stmt) error { found = true; return nil }, u.ID, u.Version)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("user %s: %w", u.ID, store.ErrConflict)
		}
	}
	return nil
}

func (t *tx) appendRevocations(revs []curfew.Revocation) error {
	for _, r := range revs {
		r.Seq = t.state.head.Seq + 1
		r.RecordedAt = r.RecordedAt.Truncate(time.Microsecond)
		r.ExpiresAt = r.ExpiresAt.Truncate(time.Microsecond)
		r.Hash = r.Chain(t.state.head.Hash)
		if _, err := t.c.exec(`INSERT INTO revocations
			(seq, kind, target, issuer, reason, actor, recorded_at, expires_at, hash) VALUES (?,?,?,?,?,?,?,?,?)`,
			r.Seq, string(r.Kind), r.Target, r.Issuer, string(r.Reason), r.Actor, r.RecordedAt, r.ExpiresAt, r.Hash); err != nil {
			return err
		}
		t.state.head.Seq, t.state.head.Hash = r.Seq, r.Hash
		switch r.Kind {
		case curfew.KindEverything:
			t.state.everything = r.Seq
		case curfew.KindClient:
			if _, err := t.c.exec(`INSERT INTO client_epochs (client_id, epoch) VALUES (?, ?)
				ON CONFLICT (client_id) DO UPDATE SET epoch = excluded.epoch`, r.Target, r.Seq); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) applyUsers(c store.Change) error {
	for _, u := range c.InsertUsers {
		if _, err := t.c.exec(`INSERT INTO users (id, email, email_fold, username, username_fold, name, password_hash,
			roles, status, must_change, epoch, created_at, updated_at, version) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,1)`,
			u.ID, u.Email, u.EmailFold, u.Username, u.UsernameFold, u.Name, u.PasswordHash,
			joinRoles(u.Roles), string(u.Status), u.MustChange, t.state.head.Seq, u.CreatedAt, u.UpdatedAt); err != nil {
			return err
		}
	}
	for _, u := range c.UpdateUsers {
		if u.RaiseEpoch {
			u.Epoch = t.state.head.Seq
		}
		n, err := t.c.exec(`UPDATE users SET email = ?, email_fold = ?, username = ?, username_fold = ?, name = ?,
			password_hash = ?, roles = ?, status = ?, must_change = ?, epoch = max(epoch, ?), updated_at = ?, version = version + 1
			WHERE id = ? AND version = ?`,
			u.Email, u.EmailFold, u.Username, u.UsernameFold, u.Name, u.PasswordHash, joinRoles(u.Roles),
			string(u.Status), u.MustChange, u.Epoch, u.UpdatedAt, u.ID, u.Version)
		if err := changedOne(n, err, "user", u.ID); err != nil {
			return err
		}
	}
	return nil
}

// applySessions returns how many sessions EndSubjects ended.
func (t *tx) applySessions(c store.Change, endedSeq curfew.Seq) (ended int64, err error) {
	for _, u := range c.UpdateSessions {
		s := u.Session
		if u.RaiseEpoch {
			if err := t.mayRaise(s); err != nil {
				return 0, err
			}
			s.Epoch = t.state.head.Seq
		}
		switch {
		case s.Ended() && curfew.Micros(s.EndedAt) <= 0:
			return 0, fmt.Errorf("session %s: %w", s.ID, errNoTime)
		case s.Ended():
			if endedSeq > 0 {
				s.EndedSeq = endedSeq
			}
			s.ReauthAt = time.Time{}
		default:
			s.EndReason, s.EndedSeq = "", 0
		}
		if err := t.updateSession(s); err != nil {
			return 0, err
		}
	}
	if len(c.EndSubjects) > 0 && curfew.Micros(c.At) <= 0 {
		return 0, errNoTime
	}
	for _, e := range c.EndSubjects {
		n, err := t.c.exec(`UPDATE sessions SET ended_at = ?, end_reason = ?, ended_seq = ?, reauth_at = 0, version = version + 1
			WHERE subject = ? AND ended_at = 0 AND id <> ?`, c.At, string(e.Reason), endedSeq, e.Subject, e.Except)
		if err != nil {
			return 0, err
		}
		ended += n
	}
	for _, s := range c.InsertSessions {
		if _, err := t.c.exec(`INSERT INTO sessions (id, subject, client_id, scope, epoch, created_at, auth_time, reauth_at,
			last_seen_at, expires_at, ended_at, end_reason, ended_seq, device, ip, user_agent, counter, rotated_at, token_exp, cookie_hash, version)
			VALUES (?,?,?,?,?,?,?,?,?,?,0,'',0,?,?,?,?,?,?,?,1)`,
			s.ID, s.Subject, s.ClientID, s.Scope, t.state.head.Seq, s.CreatedAt, s.AuthTime, s.ReauthAt,
			s.LastSeenAt, s.ExpiresAt, s.Device, s.IP, s.UserAgent, s.Counter, s.RotatedAt, s.TokenExp, s.CookieHash); err != nil {
			return 0, err
		}
	}
	for _, touch := range c.Touch {
		if _, err := t.c.exec("UPDATE sessions SET last_seen_at = ? WHERE id = ? AND ended_at = 0 AND last_seen_at < ?",
			touch.SeenAt, touch.Session, touch.SeenAt); err != nil {
			return 0, err
		}
	}
	return ended, nil
}

// mayRaise refuses to lift a session over the revocation that has ended it. The
// epoch that was read is the row's: the update is conditional on its version.
func (t *tx) mayRaise(s curfew.Session) error {
	floor := t.state.everything
	if err := t.c.query("SELECT epoch FROM client_epochs WHERE client_id = ?", func(row *sqlite3.Stmt) error {
		floor = max(floor, seq(row, 0))
		return nil
	}, s.ClientID); err != nil {
		return err
	}
	if s.Epoch < floor {
		return fmt.Errorf("session %s began at %d, before the revocation at %d: %w", s.ID, s.Epoch, floor, store.ErrConflict)
	}
	return nil
}

// updateSession writes a session that is live. "AND ended_at = 0" is what makes
// a late write harmless: whoever still holds a session that has ended cannot
// write it back.
func (t *tx) updateSession(s curfew.Session) error {
	if s.Ended() {
		n, err := t.c.exec(`UPDATE sessions SET scope = ?, epoch = max(epoch, ?), auth_time = ?, reauth_at = ?, last_seen_at = max(last_seen_at, ?),
			ended_at = ?, end_reason = ?, ended_seq = ?, device = ?, counter = ?, rotated_at = ?, token_exp = ?, cookie_hash = ?, version = version + 1
			WHERE id = ? AND version = ? AND ended_at = 0`,
			s.Scope, s.Epoch, s.AuthTime, s.ReauthAt, s.LastSeenAt, s.EndedAt, string(s.EndReason), s.EndedSeq,
			s.Device, s.Counter, s.RotatedAt, s.TokenExp, s.CookieHash, s.ID, s.Version)
		return changedOne(n, err, "session", s.ID)
	}
	// A refresh changes nothing that is indexed. SQLite writes every index of
	// which a column is named, whether its value changes or not, so activity is
	// written only where it moves.
	n, err := t.c.exec(`UPDATE sessions SET scope = ?, epoch = max(epoch, ?), auth_time = ?, reauth_at = ?,
		device = ?, counter = ?, rotated_at = ?, token_exp = ?, cookie_hash = ?, version = version + 1
		WHERE id = ? AND version = ? AND ended_at = 0`,
		s.Scope, s.Epoch, s.AuthTime, s.ReauthAt, s.Device, s.Counter, s.RotatedAt, s.TokenExp, s.CookieHash, s.ID, s.Version)
	if err := changedOne(n, err, "session", s.ID); err != nil {
		return err
	}
	_, err = t.c.exec("UPDATE sessions SET last_seen_at = ?1 WHERE id = ?2 AND last_seen_at < ?1", s.LastSeenAt, s.ID)
	return err
}

func (t *tx) applyKeys(c store.Change) error {
	for _, k := range c.InsertKeys {
		if _, err := t.c.exec(`INSERT INTO keys (id, alg, purpose, status, public_jwk, sealed, created_at, changed_at, version)
			VALUES (?,?,?,?,?,?,?,?,1)`, k.ID, k.Alg, k.Use, string(k.Status), k.PublicJWK, k.Sealed, k.CreatedAt, k.ChangedAt); err != nil {
			return err
		}
	}
	for _, k := range c.UpdateKeys {
		n, err := t.c.exec(`UPDATE keys SET status = ?, sealed = ?, changed_at = ?, version = version + 1 WHERE id = ? AND version = ?`,
			string(k.Status), k.Sealed, k.ChangedAt, k.ID, k.Version)
		if err := changedOne(n, err, "key", k.ID); err != nil {
			return err
		}
	}
	for _, k := range c.InsertAPIKeys {
		if _, err := t.c.exec("INSERT INTO api_keys (name, kind, hash, created_at) VALUES (?,?,?,?)",
			k.Name, k.Kind, k.Hash, k.CreatedAt); err != nil {
			return err
		}
	}
	for _, name := range c.DeleteAPIKeys {
		n, err := t.c.exec("DELETE FROM api_keys WHERE name = ?", name)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("key %s: %w", name, store.ErrNotFound)
		}
	}
	return nil
}

// Compact implements [store.Writer]. The horizon and the deletion share a
// transaction, so that neither is durable without the other.
func (db *DB) Compact(ctx context.Context, horizon time.Time) (int64, error) {
	var dropped int64
	err := db.writer.do(ctx, func(t *tx) (err error) {
		dropped, err = t.compact(horizon)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("compacting the log: %w", err)
	}
	return dropped, nil
}

func (t *tx) compact(horizon time.Time) (dropped int64, err error) {
	if horizon.After(t.state.horizon) {
		t.state.horizon = horizon.Truncate(time.Microsecond).UTC()
	}
	first := t.state.head.Seq + 1 // the first entry that must stay
	if err := t.c.query("SELECT min(seq) FROM revocations WHERE expires_at > ?", func(s *sqlite3.Stmt) error {
		if s.ColumnType(0) != sqlite3.NULL {
			first = seq(s, 0)
		}
		return nil
	}, horizon); err != nil {
		return 0, err
	}
	last := first - 1
	if last <= t.state.compacted {
		return 0, nil
	}
	t.state.compacted = last
	if err := t.c.query("SELECT hash FROM revocations WHERE seq = ?", func(s *sqlite3.Stmt) error {
		t.state.compactedHash = hash(s, 0)
		return nil
	}, last); err != nil {
		return 0, err
	}
	return t.c.exec("DELETE FROM revocations WHERE seq <= ?", last)
}

// Purge implements [store.Writer].
func (db *DB) Purge(ctx context.Context, before time.Time, limit int) (int64, error) {
	var deleted int64
	err := db.writer.do(ctx, func(t *tx) error {
		limit := int64(max(limit, 0)) // a negative one is none to SQLite
		sessions, err := t.c.exec(`DELETE FROM sessions WHERE id IN
			(SELECT id FROM sessions WHERE ended_at > 0 AND ended_at < ? LIMIT ?)`, before, limit)
		if err != nil {
			return err
		}
		users, err := t.c.exec(`DELETE FROM users WHERE id IN
			(SELECT id FROM users WHERE status = 'deleted' AND updated_at < ? LIMIT ?)`, before, limit-sessions)
		deleted = sessions + users
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purging the store: %w", err)
	}
	return deleted, nil
}

func changedOne(n int64, err error, what, id string) error {
	if err != nil {
		return err
	}
	if n != 1 && !fault.On(fault.RowCountUnchecked) {
		return fmt.Errorf("%s %s: %w", what, id, store.ErrConflict)
	}
	return nil
}

func insertAudit(c *conn, e audit.Entry) error {
	_, err := c.exec(`INSERT INTO audit (seq, at, event, actor, subject, session, client_id, reason, count, rev_seq,
		ip, user_agent, detail, hash) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		e.Seq, e.At, string(e.Event), e.Actor, e.Subject, e.Session, e.ClientID, string(e.Reason), e.Count, e.RevSeq,
		e.IP, e.UserAgent, e.Detail, e.Hash)
	return err
}

func joinRoles(roles []string) string {
	roles = slices.Clone(roles)
	slices.Sort(roles)
	return strings.Join(roles, " ")
}
