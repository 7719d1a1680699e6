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
	"github.com/curfewhq/curfew/internal/store"
	"github.com/ncruces/go-sqlite3"
)

const (
	defaultPage  = 100
	defaultAudit = 1000
)

var errNoState = fmt.Errorf("%w: the state row is missing", ErrDamaged)

// snapshot runs f in a read transaction: everything it reads is from the same
// moment.
func (c *conn) snapshot(f func() error) (err error) {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer func() {
		if _, end := c.exec("ROLLBACK"); end != nil && !c.db.GetAutocommit() {
			err = errors.Join(err, fmt.Errorf("ending a read: %w", end))
		}
	}()
	return f()
}

const stateColumns = `log_id, head_seq, head_hash, compacted, compacted_hash, horizon, time_high_water,
	token_life, everything, audit_seq, audit_hash, lease_life`

func readState(c *conn) (st stateRow, err error) {
	err = errNoState
	if e := c.query("SELECT "+stateColumns+" FROM state WHERE id = 1", func(s *sqlite3.Stmt) error {
		err = nil
		st = stateRow{
			head:          curfew.Position{LogID: s.ColumnText(0), Seq: seq(s, 1), Hash: hash(s, 2)},
			compacted:     seq(s, 3),
			compactedHash: hash(s, 4),
			horizon:       instant(s, 5),
			timeHighWater: instant(s, 6),
			tokenLife:     time.Duration(s.ColumnInt64(7)) * time.Microsecond,
			everything:    seq(s, 8),
			audit:         audit.Head{Seq: s.ColumnInt64(9), Hash: hash(s, 10)},
			leaseLife:     time.Duration(s.ColumnInt64(11)) * time.Microsecond,
		}
		return nil
	}); e != nil {
		return stateRow{}, e
	}
	return st, err
}

// fullState reads the state with the epochs of the clients. The caller is in a
// read transaction.
func fullState(c *conn) (store.State, error) {
	st, err := readState(c)
	if err != nil {
		return store.State{}, err
	}
	out := store.State{
		Head: st.head, Compacted: st.compacted, Horizon: st.horizon, TimeHighWater: st.timeHighWater,
		TokenLife: st.tokenLife, LeaseLife: st.leaseLife, Everything: st.everything, AuditHead: st.audit,
	}
	err = c.query("SELECT client_id, epoch FROM client_epochs", func(s *sqlite3.Stmt) error {
		if out.Clients == nil {
			out.Clients = map[string]curfew.Seq{}
		}
		out.Clients[s.ColumnText(0)] = seq(s, 1)
		return nil
	})
	return out, err
}

// State implements [store.Reader].
func (db *DB) State(ctx context.Context) (out store.State, err error) {
	err = db.readers.do(ctx, func(c *conn) error {
		return c.snapshot(func() (err error) {
			out, err = fullState(c)
			return err
		})
	})
	return out, err
}

const userColumns = `id, email, email_fold, username, username_fold, name, password_hash, roles, status,
	must_change, epoch, created_at, updated_at, version`

func scanUser(s *sqlite3.Stmt, u *store.User) {
	*u = store.User{
		ID: s.ColumnText(0), Email: s.ColumnText(1), EmailFold: s.ColumnText(2),
		Username: s.ColumnText(3), UsernameFold: s.ColumnText(4), Name: s.ColumnText(5),
		PasswordHash: s.ColumnText(6), Roles: strings.Fields(s.ColumnText(7)), Status: store.UserStatus(s.ColumnText(8)),
		MustChange: s.ColumnBool(9), Epoch: seq(s, 10), CreatedAt: instant(s, 11), UpdatedAt: instant(s, 12),
		Version: s.ColumnInt64(13),
	}
	if len(u.Roles) == 0 {
		u.Roles = nil
	}
}

// User implements [store.Reader].
func (db *DB) User(ctx context.Context, id string) (store.User, error) {
	u, err := readOne(ctx, db, "SELECT "+userColumns+" FROM users WHERE id = ?", scanUser, id)
	if err != nil {
		return u, fmt.Errorf("user %s: %w", id, err)
	}
	return u, nil
}

// UserByLogin implements [store.Reader].
func (db *DB) UserByLogin(ctx context.Context, login string) (store.User, error) {
	// The second condition of each part is what lets SQLite use the partial
	// index, and what keeps the empty login from matching anybody.
	u, err := readOne(ctx, db, `SELECT `+userColumns+` FROM users WHERE email_fold = ?1 AND email_fold <> ''
		UNION ALL SELECT `+userColumns+` FROM users WHERE username_fold = ?1 AND username_fold <> '' LIMIT 1`,
		scanUser, login)
	if err != nil {
		return u, fmt.Errorf("user with login %q: %w", login, err)
	}
	return u, nil
}

// Users implements [store.Reader].
func (db *DB) Users(ctx context.Context, page store.Page) ([]store.User, error) {
	return readAll(ctx, db, "SELECT "+userColumns+" FROM users WHERE id > ? AND status <> 'deleted' ORDER BY id LIMIT ?",
		scanUser, page.After, limitOr(page.Limit, defaultPage))
}

const sessionColumns = `id, subject, client_id, scope, epoch, created_at, auth_time, reauth_at, last_seen_at, expires_at,
	ended_at, end_reason, ended_seq, device, ip, user_agent, counter, rotated_at, token_exp, version, cookie_hash`

func scanSession(s *sqlite3.Stmt, out *curfew.Session) {
	*out = curfew.Session{
		ID: s.ColumnText(0), Subject: s.ColumnText(1), ClientID: s.ColumnText(2), Scope: s.ColumnText(3),
		Epoch: seq(s, 4), CreatedAt: instant(s, 5), AuthTime: instant(s, 6), ReauthAt: instant(s, 7),
		LastSeenAt: instant(s, 8), ExpiresAt: instant(s, 9), EndedAt: instant(s, 10),
		EndReason: curfew.Reason(s.ColumnText(11)), EndedSeq: seq(s, 12), Device: s.ColumnText(13),
		IP: s.ColumnText(14), UserAgent: s.ColumnText(15), Counter: s.ColumnInt64(16),
		RotatedAt: instant(s, 17), TokenExp: instant(s, 18), Version: s.ColumnInt64(19), CookieHash: s.ColumnText(20),
	}
}

// Session implements [store.Reader].
func (db *DB) Session(ctx context.Context, id string) (curfew.Session, error) {
	s, err := readOne(ctx, db, "SELECT "+sessionColumns+" FROM sessions WHERE id = ?", scanSession, id)
	if err != nil {
		return s, fmt.Errorf("session %s: %w", id, err)
	}
	return s, nil
}

// where gathers conditions. Its SQL depends on which conditions there are and
// never on their values, so there are few statements to prepare.
type where struct {
	sql  strings.Builder
	args []any
}

func (w *where) and(cond string, args ...any) {
	if w.sql.Len() == 0 {
		w.sql.WriteString(" WHERE ")
	} else {
		w.sql.WriteString(" AND ")
	}
	w.sql.WriteString(cond)
	w.args = append(w.args, args...)
}

func sessionWhere(f store.SessionFilter) *where {
	w := &where{}
	if f.Subject != "" {
		w.and("subject = ?", f.Subject)
	}
	if f.ClientID != "" {
		w.and("client_id = ?", f.ClientID)
	}
	if f.IP != "" {
		w.and("ip = ?", f.IP)
	}
	if f.Live {
		w.and("ended_at = 0")
	}
	if !f.SeenBefore.IsZero() {
		w.and("last_seen_at < ?", f.SeenBefore)
	}
	if !f.ExpiredAt.IsZero() {
		w.and("expires_at <= ?", f.ExpiredAt)
	}
	if !f.CreatedBefore.IsZero() {
		w.and("created_at < ?", f.CreatedBefore)
	}
	if f.EpochBelow != 0 {
		w.and("epoch < ?", f.EpochBelow)
	}
	return w
}

// Sessions implements [store.Reader].
func (db *DB) Sessions(ctx context.Context, f store.SessionFilter) ([]curfew.Session, error) {
	w := sessionWhere(f)
	if f.After != "" {
		w.and("id > ?", f.After)
	}
	order := " ORDER BY id"
	if f.AnyOrder {
		order = ""
	}
	return readAll(ctx, db, "SELECT "+sessionColumns+" FROM sessions"+w.sql.String()+order+" LIMIT ?",
		scanSession, append(w.args, limitOr(f.Limit, defaultPage))...)
}

// CountSessions implements [store.Reader].
func (db *DB) CountSessions(ctx context.Context, f store.SessionFilter) (int64, error) {
	w := sessionWhere(f)
	return readOne(ctx, db, "SELECT count(*) FROM sessions"+w.sql.String(),
		func(s *sqlite3.Stmt, n *int64) { *n = s.ColumnInt64(0) }, w.args...)
}

const revocationColumns = "seq, kind, target, issuer, reason, actor, recorded_at, expires_at, hash"

func scanRevocation(s *sqlite3.Stmt, r *curfew.Revocation) {
	*r = curfew.Revocation{
		Seq: seq(s, 0), Kind: curfew.Kind(s.ColumnText(1)), Target: s.ColumnText(2), Issuer: s.ColumnText(3),
		Reason: curfew.Reason(s.ColumnText(4)), Actor: s.ColumnText(5), RecordedAt: instant(s, 6),
		ExpiresAt: instant(s, 7), Hash: hash(s, 8),
	}
}

// Revocations implements [store.Reader]. It is on the path of every logout, so
// it is one statement where it finds what follows after; only where it does not,
// the state says whether that is compacted or still to come.
func (db *DB) Revocations(ctx context.Context, after curfew.Seq, limit int) (out []curfew.Revocation, err error) {
	if limit <= 0 {
		limit = 0
	}
	err = db.readers.do(ctx, func(c *conn) error {
		if err := collect(c, &out, scanRevocation, "SELECT "+revocationColumns+" FROM revocations WHERE seq > ? ORDER BY seq LIMIT ?",
			after, limit); err != nil {
			return err
		}
		if len(out) > 0 && out[0].Seq == after+1 {
			return nil
		}
		out = nil
		return mustBeKept(c, max(after, after+1)) // after may be the last number there is
	})
	return out, err
}

// mustBeKept fails if the entry at n was compacted away.
func mustBeKept(c *conn, n curfew.Seq) error {
	var compacted curfew.Seq
	if err := c.query("SELECT compacted FROM state WHERE id = 1", func(s *sqlite3.Stmt) error {
		compacted = seq(s, 0)
		return nil
	}); err != nil {
		return err
	}
	if n <= compacted {
		return fmt.Errorf("revocation %d: %w up to %d", n, store.ErrCompacted, compacted)
	}
	return nil
}

// Snapshot implements [store.Reader].
func (db *DB) Snapshot(ctx context.Context) (st store.State, out []curfew.Revocation, err error) {
	err = db.readers.do(ctx, func(c *conn) error {
		return c.snapshot(func() error {
			if st, err = fullState(c); err != nil {
				return err
			}
			return collect(c, &out, scanRevocation, "SELECT "+revocationColumns+" FROM revocations ORDER BY seq")
		})
	})
	return st, out, err
}

// Revocation implements [store.Reader].
func (db *DB) Revocation(ctx context.Context, n curfew.Seq) (out curfew.Revocation, err error) {
	err = db.readers.do(ctx, func(c *conn) error {
		return c.snapshot(func() error {
			if n > 0 {
				if err := mustBeKept(c, n); err != nil {
					return err
				}
			}
			found := false
			err := c.query("SELECT "+revocationColumns+" FROM revocations WHERE seq = ?", func(s *sqlite3.Stmt) error {
				found = true
				scanRevocation(s, &out)
				return nil
			}, n)
			if err == nil && !found {
				err = fmt.Errorf("revocation %d: %w", n, store.ErrNotFound)
			}
			return err
		})
	})
	return out, err
}

// Keys implements [store.Reader].
func (db *DB) Keys(ctx context.Context) ([]store.Key, error) {
	return readAll(ctx, db, `SELECT id, alg, purpose, status, public_jwk, sealed, created_at, changed_at, version
		FROM keys ORDER BY id`, func(s *sqlite3.Stmt, k *store.Key) {
		*k = store.Key{
			ID: s.ColumnText(0), Alg: s.ColumnText(1), Use: s.ColumnText(2), Status: store.KeyStatus(s.ColumnText(3)),
			PublicJWK: blob(s, 4), Sealed: blob(s, 5), CreatedAt: instant(s, 6), ChangedAt: instant(s, 7),
			Version: s.ColumnInt64(8),
		}
	})
}

// APIKeys implements [store.Reader].
func (db *DB) APIKeys(ctx context.Context) ([]store.APIKey, error) {
	return readAll(ctx, db, "SELECT name, kind, hash, created_at FROM api_keys ORDER BY name",
		func(s *sqlite3.Stmt, k *store.APIKey) {
			*k = store.APIKey{Name: s.ColumnText(0), Kind: s.ColumnText(1), Hash: blob(s, 2), CreatedAt: instant(s, 3)}
		})
}

const auditColumns = `seq, at, event, actor, subject, session, client_id, reason, count, rev_seq, ip, user_agent, detail, hash`

func scanAudit(s *sqlite3.Stmt, e *audit.Entry) {
	*e = audit.Entry{
		Seq: s.ColumnInt64(0), At: instant(s, 1), Event: audit.Event(s.ColumnText(2)), Actor: s.ColumnText(3),
		Subject: s.ColumnText(4), Session: s.ColumnText(5), ClientID: s.ColumnText(6),
		Reason: curfew.Reason(s.ColumnText(7)), Count: s.ColumnInt64(8), RevSeq: seq(s, 9),
		IP: s.ColumnText(10), UserAgent: s.ColumnText(11), Detail: s.ColumnText(12), Hash: hash(s, 13),
	}
}

// Audit implements [store.Reader].
func (db *DB) Audit(ctx context.Context, f store.AuditFilter) ([]audit.Entry, error) {
	w := &where{}
	if f.After > 0 {
		w.and("seq > ?", f.After)
	}
	if f.Subject != "" {
		w.and("subject = ?", f.Subject)
	}
	if f.Session != "" {
		w.and("session = ?", f.Session)
	}
	if f.Event != "" {
		w.and("event = ?", string(f.Event))
	}
	if !f.Since.IsZero() {
		w.and("at >= ?", f.Since)
	}
	if !f.Until.IsZero() {
		w.and("at < ?", f.Until)
	}
	order := " ORDER BY seq LIMIT ?"
	if f.Newest {
		order = " ORDER BY seq DESC LIMIT ?"
	}
	out, err := readAll(ctx, db, "SELECT "+auditColumns+" FROM audit"+w.sql.String()+order,
		scanAudit, append(w.args, limitOr(f.Limit, defaultAudit))...)
	if f.Newest {
		slices.Reverse(out)
	}
	return out, err
}

// readOne reads the first row, or fails with [store.ErrNotFound].
func readOne[T any](ctx context.Context, db *DB, sql string, scan func(*sqlite3.Stmt, *T), args ...any) (T, error) {
	var out T
	found := false
	err := db.readers.do(ctx, func(c *conn) error {
		return c.query(sql, func(s *sqlite3.Stmt) error {
			found = true
			scan(s, &out)
			return nil
		}, args...)
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return out, err
}

func readAll[T any](ctx context.Context, db *DB, sql string, scan func(*sqlite3.Stmt, *T), args ...any) (out []T, err error) {
	err = db.readers.do(ctx, func(c *conn) error { return collect(c, &out, scan, sql, args...) })
	return out, err
}

func collect[T any](c *conn, out *[]T, scan func(*sqlite3.Stmt, *T), sql string, args ...any) error {
	return c.query(sql, func(s *sqlite3.Stmt) error {
		var row T
		scan(s, &row)
		*out = append(*out, row)
		return nil
	}, args...)
}

func limitOr(limit, other int) int {
	if limit <= 0 {
		return other
	}
	return limit
}

func seq(s *sqlite3.Stmt, col int) curfew.Seq { return curfew.Seq(s.ColumnInt64(col)) }

func instant(s *sqlite3.Stmt, col int) time.Time { return curfew.FromMicros(s.ColumnInt64(col)) }

func hash(s *sqlite3.Stmt, col int) (h curfew.Hash) {
	copy(h[:], s.ColumnRawBlob(col))
	return h
}

// blob copies, because SQLite reuses its memory; an empty one is nil, as it was
// in the row that was written.
func blob(s *sqlite3.Stmt, col int) []byte {
	if raw := s.ColumnRawBlob(col); len(raw) > 0 {
		return slices.Clone(raw)
	}
	return nil
}
