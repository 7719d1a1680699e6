package sqlite

import "testing"

// SetCheckpointPages makes stores that are opened from now on merge their WAL
// after n pages.
func SetCheckpointPages(n int) { maxWALPages = n }

// WeakenSync turns the syncs of the connection that commits off.
func WeakenSync(t *testing.T, db *DB) {
	t.Helper()
	// Not within a transaction, where SQLite ignores it: nothing is queued now.
	if err := db.writer.c.db.Exec("PRAGMA synchronous=OFF"); err != nil {
		t.Fatal(err)
	}
}
