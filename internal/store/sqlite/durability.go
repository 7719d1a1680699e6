package sqlite

import (
	"context"
	"fmt"

	"github.com/curfewhq/curfew/internal/store"
	"github.com/ncruces/go-sqlite3"
)

var _ store.Durable = (*DB)(nil)

// Durability implements [store.Durable]. It asks the connection that commits,
// since synchronous is a setting of the connection and not of the file.
func (db *DB) Durability(ctx context.Context) (store.Durability, error) {
	out := store.Durability{Engine: "sqlite", Settings: map[string]string{}}
	err := db.writer.do(ctx, func(t *tx) error {
		for pragma, names := range map[string]map[string]string{
			"journal_mode": nil,
			"synchronous":  {"0": "off", "1": "normal", "2": "full", "3": "extra"},
		} {
			err := t.c.query("PRAGMA "+pragma, func(s *sqlite3.Stmt) error {
				value := s.ColumnText(0)
				if name := names[value]; name != "" {
					value = name
				}
				out.Settings[pragma] = value
				return nil
			})
			if err != nil {
				return fmt.Errorf("reading %s: %w", pragma, err)
			}
		}
		return nil
	})
	if err != nil {
		return store.Durability{}, err
	}
	// The same settings as Open asks for.
	if mode, sync := out.Settings["journal_mode"], out.Settings["synchronous"]; mode != "wal" || sync != "full" {
		out.Problem = fmt.Sprintf("journal_mode is %s and synchronous is %s: the log needs wal and full", mode, sync)
	}
	return out, nil
}
