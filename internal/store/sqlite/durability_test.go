package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/google/go-cmp/cmp"
)

func TestDurabilityIsThatOfTheConnectionThatCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curfew.db")
	if err := sqlite.Create(t.Context(), path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	before, err := db.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := store.Durability{Engine: "sqlite", Settings: map[string]string{"journal_mode": "wal", "synchronous": "full"}}
	got, err := db.Durability(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// Asking changes nothing.
	after, err := db.State(t.Context())
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("%v (-before +after):\n%s", err, diff)
	}
	// A setting that is lowered behind the back of the store is seen.
	sqlite.WeakenSync(t, db)
	if got, err := db.Durability(t.Context()); err != nil || got.Settings["synchronous"] != "off" || got.Problem == "" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Durability(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
}
