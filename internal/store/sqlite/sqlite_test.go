package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/curfewhq/curfew/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	paths := map[store.Store]string{}
	open := func(t *testing.T, path string) store.Store {
		db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		paths[db] = path
		return db
	}
	storetest.Run(t, storetest.Options{
		Open: func(t *testing.T) store.Store {
			path := filepath.Join(t.TempDir(), "curfew.db")
			if err := sqlite.Create(t.Context(), path, sqlite.Options{}); err != nil {
				t.Fatal(err)
			}
			return open(t, path)
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, paths[s])
		},
	})
}
