package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/ncruces/go-sqlite3"
)

// invariants are queries that must find nothing. Each returns one text per
// broken row.
var invariants = []string{
	`SELECT format('session %s: epoch %d is ahead of the head %d', sessions.id, epoch, head_seq)
		FROM sessions, state WHERE epoch > head_seq`,
	`SELECT format('user %s: epoch %d is ahead of the head %d', users.id, epoch, head_seq)
		FROM users, state WHERE epoch > head_seq`,
	`SELECT format('client %s: epoch %d is ahead of the head %d', client_id, epoch, head_seq)
		FROM client_epochs, state WHERE epoch > head_seq`,
	`SELECT format('the revocation of everything at %d is ahead of the head %d', everything, head_seq)
		FROM state WHERE everything > head_seq`,
	`SELECT format('compacted up to %d, ahead of the head %d', compacted, head_seq)
		FROM state WHERE compacted > head_seq`,
	`SELECT format('session %s: ended by revocation %d, ahead of the head %d', sessions.id, ended_seq, head_seq)
		FROM sessions, state WHERE ended_seq > head_seq`,
	`SELECT format('session %s: ended without a revocation while a token of it was good', id)
		FROM sessions WHERE ended_at > 0 AND ended_seq = 0 AND token_exp > ended_at`,
	`SELECT format('session %s: ended without a reason', id) FROM sessions WHERE ended_at > 0 AND end_reason = ''`,
	`SELECT format('session %s: live, yet with a reason or a position of its end', id)
		FROM sessions WHERE ended_at = 0 AND (end_reason <> '' OR ended_seq <> 0)`,
	`SELECT format('revocation %d of everything: the epoch is only %d', max(seq), everything)
		FROM revocations, state WHERE kind = 'everything' GROUP BY everything HAVING max(seq) > everything`,
	`SELECT format('revocation %d of client %s: the epoch is only %d', max(seq), target, coalesce(epoch, 0))
		FROM revocations LEFT JOIN client_epochs ON client_id = target
		WHERE kind = 'client' GROUP BY target HAVING max(seq) > coalesce(epoch, 0)`,
}

// maxProblems bounds the report: after a broken file, more of the same helps
// nobody.
const maxProblems = 50

// Check implements [store.Store].
func (db *DB) Check(ctx context.Context) error {
	return db.readers.do(ctx, func(c *conn) error {
		defer c.db.SetInterrupt(c.db.SetInterrupt(ctx))
		var problems []error
		report := func(err error) {
			if len(problems) < maxProblems {
				problems = append(problems, err)
			}
		}
		err := c.snapshot(func() error {
			if err := checkPages(c, report); err != nil {
				return err
			}
			st, err := readState(c)
			if err != nil {
				return err
			}
			if err := checkLog(c, st, report); err != nil {
				return err
			}
			if err := checkAudit(c, st, report); err != nil {
				return err
			}
			for _, sql := range invariants {
				if err := c.query(sql, func(s *sqlite3.Stmt) error {
					report(errors.New(s.ColumnText(0)))
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			report(fmt.Errorf("reading the store: %w", err))
		}
		return errors.Join(problems...)
	})
}

func checkPages(c *conn, report func(error)) error {
	return c.query("PRAGMA integrity_check", func(s *sqlite3.Stmt) error {
		if msg := s.ColumnText(0); msg != "ok" {
			report(fmt.Errorf("%w: %s", ErrDamaged, msg))
		}
		return nil
	})
}

// checkLog verifies that the entries are dense, that they chain from the last
// one that was compacted away, and that they end at the head.
func checkLog(c *conn, st stateRow, report func(error)) error {
	last, prev, broken := st.compacted, st.compactedHash, false
	err := c.query("SELECT "+revocationColumns+" FROM revocations ORDER BY seq", func(s *sqlite3.Stmt) error {
		var r curfew.Revocation
		scanRevocation(s, &r)
		switch {
		case r.Seq != last+1:
			report(fmt.Errorf("revocation %d does not follow %d", r.Seq, last))
			broken = true
		case r.Chain(prev) != r.Hash:
			report(fmt.Errorf("revocation %d was changed, or does not follow %d", r.Seq, last))
			broken = true
		}
		if !r.Kind.Valid() {
			report(fmt.Errorf("revocation %d is of unknown kind %q", r.Seq, r.Kind))
		}
		last, prev = r.Seq, r.Hash
		return nil
	})
	if err != nil {
		return err
	}
	if !broken && (last != st.head.Seq || prev != st.head.Hash) {
		report(fmt.Errorf("the log ends at revocation %d, the head is %d, or their hashes differ", last, st.head.Seq))
	}
	return nil
}

func checkAudit(c *conn, st stateRow, report func(error)) error {
	v := audit.NewVerifier(audit.Head{})
	var broken error
	err := c.query("SELECT "+auditColumns+" FROM audit ORDER BY seq", func(s *sqlite3.Stmt) error {
		if broken == nil { // everything after the first break would be reported too
			var e audit.Entry
			scanAudit(s, &e)
			broken = v.Add(e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if broken == nil {
		broken = v.End(st.audit)
	}
	if broken != nil {
		report(broken)
	}
	return nil
}
