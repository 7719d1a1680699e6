package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/google/go-cmp/cmp"
	"github.com/ncruces/go-sqlite3"
)

// snapshotDir reads all files of a directory, to show that none has changed.
func snapshotDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name()] = string(data)
		}
	}
	return out
}

// alter runs SQL on a store behind its back.
func alter(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sqlite3.Open("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if err := db.Exec(s); err != nil {
			t.Fatal(s, err)
		}
	}
}

func TestCreateNeverReplaces(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, path string){
		"Store":        prepare,
		"EmptyFile":    func(t *testing.T, path string) { write(t, path, "") },
		"Directory":    func(t *testing.T, path string) { os.Mkdir(path, 0o700) },
		"DanglingLink": func(t *testing.T, path string) { os.Symlink(filepath.Join(t.TempDir(), "gone"), path) },
		// SQLite would play the WAL of the store that was here into the new one.
		"ForgottenWAL": func(t *testing.T, path string) { write(t, path+"-wal", "left") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "curfew.db")
			make(t, path)
			before := snapshotDir(t, dir)
			for what, err := range map[string]error{
				"Create":  sqlite.Create(t.Context(), path, sqlite.Options{}),
				"Restore": sqlite.Restore(t.Context(), bytes.NewReader(backup(t)), path, sqlite.Options{}),
			} {
				if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "move it away") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if diff := cmp.Diff(before, snapshotDir(t, dir)); diff != "" {
				t.Errorf("the directory has changed: %s", diff)
			}
		})
	}
}

func TestConcurrentCreatesMakeOneStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "curfew.db")
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = sqlite.Create(t.Context(), path, sqlite.Options{}) })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
	}
	if files := snapshotDir(t, dir); made != 1 || len(files) != 1 {
		t.Errorf("%d stores were made, %d files are left", made, len(files))
	}
	check(t, path)
}

func TestOpenNeverCreates(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none.db"), filepath.Join(dir, "none", "none.db")} {
		_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "check the data directory") {
			t.Errorf("Open: %v", err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("Open has made %v", files)
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnusableFileIsRefusedAndUntouched(t *testing.T) {
	cutTo := func(n func(size int) int) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			prepare(t, path)
			data, _ := os.ReadFile(path)
			write(t, path, string(data[:n(len(data))]))
		}
	}
	const newer = "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)"
	for name, test := range map[string]struct {
		make   func(t *testing.T, path string)
		want   error
		advice string
	}{
		"Empty":      {func(t *testing.T, path string) { write(t, path, "") }, sqlite.ErrDamaged, "curfew restore"},
		"Text":       {func(t *testing.T, path string) { write(t, path, strings.Repeat("hello\n", 100)) }, sqlite.ErrNotCurfew, "choose another"},
		"ShortText":  {func(t *testing.T, path string) { write(t, path, "hi") }, sqlite.ErrNotCurfew, "choose another"},
		"HeaderOnly": {cutTo(func(int) int { return 60 }), sqlite.ErrDamaged, "curfew restore"},
		"OnePage":    {cutTo(func(int) int { return 4096 }), sqlite.ErrDamaged, "curfew restore"},
		"OneByteOff": {cutTo(func(n int) int { return n - 1 }), sqlite.ErrDamaged, "curfew restore"},
		"OtherDatabase": {
			func(t *testing.T, path string) { alter(t, path, "CREATE TABLE t (a)") },
			sqlite.ErrNotCurfew, "choose another",
		},
		"NoSchema": {
			func(t *testing.T, path string) {
				alter(t, path, "PRAGMA application_id = 0x43524657", "CREATE TABLE t (a)")
			},
			sqlite.ErrNotCurfew, "choose another",
		},
		"Newer": {
			func(t *testing.T, path string) { prepare(t, path); alter(t, path, newer) },
			sqlite.ErrNewer, "newer binary",
		},
		"NewerInWAL": {
			func(t *testing.T, path string) {
				other := filepath.Join(t.TempDir(), "other.db")
				prepare(t, other)
				db, err := sqlite3.Open("file:" + other)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if err := db.Exec(newer); err != nil {
					t.Fatal(err)
				}
				for _, suffix := range []string{"", "-wal"} { // as after a crash
					data, err := os.ReadFile(other + suffix)
					if err != nil {
						t.Fatal(err)
					}
					write(t, path+suffix, string(data))
				}
			},
			sqlite.ErrNewer, "newer binary",
		},
		"Directory": {func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, sqlite.ErrNotCurfew, "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "curfew.db")
			test.make(t, path)
			before := snapshotDir(t, dir)
			_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.advice) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open: got %v, want %v with the advice %q", err, test.want, test.advice)
			}
			after := snapshotDir(t, dir)
			delete(after, "curfew.db-shm") // holds nothing that is not made anew
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the directory has changed: %.300s", diff)
			}
		})
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if err := sqlite.Create(t.Context(), filepath.Join(file, "curfew.db"), sqlite.Options{}); err == nil {
		t.Error("Create in a file")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "curfew.db")
	prepare(t, path)
	// The WAL cannot be made where a directory has its name, not even by root.
	if err := os.Mkdir(path+"-wal", 0o700); err != nil {
		t.Fatal(err)
	}
	refused := func(t *testing.T) {
		t.Helper()
		_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "must be able to write") {
			t.Errorf("Open: %v", err)
		}
	}
	refused(t)
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	check(t, path)
	t.Run("ReadOnly", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere")
		}
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(dir, 0o700)
		refused(t)
	})
}

// check opens the store at path and checks it.
func check(t *testing.T, path string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Check(t.Context()), db.Close()); err != nil {
		t.Error(err)
	}
}

func backup(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curfew.db")
	prepare(t, path)
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var buf bytes.Buffer
	if err := db.Backup(t.Context(), &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestBackupIsAMomentOfTheStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "curfew.db")
	prepare(t, path)
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := db.Commit(t.Context(), store.Change{
				At:          day,
				Revocations: []curfew.Revocation{{Kind: curfew.KindEverything, RecordedAt: day, ExpiresAt: day}},
				Audit:       []audit.Entry{{At: day, Event: audit.SessionLogout}},
			}); err != nil {
				t.Errorf("Commit: %v", err)
			}
		}
	})
	for range 5 {
		before, _ := db.State(ctx)
		var buf bytes.Buffer
		if err := db.Backup(ctx, &buf); err != nil {
			t.Fatal(err)
		}
		after, _ := db.State(ctx)
		for name, put := range map[string]func(path string) error{
			"restored": func(path string) error {
				return sqlite.Restore(ctx, bytes.NewReader(buf.Bytes()), path, sqlite.Options{})
			},
			"by hand": func(path string) error { return os.WriteFile(path, buf.Bytes(), 0o600) },
		} {
			to := filepath.Join(t.TempDir(), "copy.db")
			if err := put(to); err != nil {
				t.Fatal(name, err)
			}
			copied, err := sqlite.Open(ctx, to, sqlite.Options{})
			if err != nil {
				t.Fatal(name, err)
			}
			st, err := copied.State(ctx)
			if err != nil || st.Head.Seq < before.Head.Seq || st.Head.Seq > after.Head.Seq || st.Head.LogID != before.Head.LogID {
				t.Errorf("%s: head %+v of the copy, %+v before and %+v after: %v", name, st.Head, before.Head, after.Head, err)
			}
			if err := errors.Join(copied.Check(ctx), copied.Close()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	stop()
	wg.Wait()
	if err := db.Backup(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("Backup that was cancelled: %v", err)
	}
	if err := db.Backup(t.Context(), brokenPipe{}); !errors.Is(err, errInjected) {
		t.Errorf("Backup to a broken pipe: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if files := snapshotDir(t, dir); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
	if err := db.Backup(t.Context(), io.Discard); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Backup of a closed store: %v", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errInjected }

func TestRestoreRefusesABrokenBackup(t *testing.T) {
	good := backup(t)
	edited := func(statements ...string) []byte {
		path := filepath.Join(t.TempDir(), "b.db")
		write(t, path, string(good))
		alter(t, path, statements...)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	garbled := bytes.Clone(good)
	copy(garbled[4096:], bytes.Repeat([]byte{0xa5}, 3*4096))
	for name, test := range map[string]struct {
		data []byte
		want error // nil is any
	}{
		"Empty":    {nil, sqlite.ErrDamaged},
		"Text":     {[]byte(strings.Repeat("hello", 99)), sqlite.ErrNotCurfew},
		"Cut":      {good[:len(good)-1], sqlite.ErrDamaged},
		"Garbled":  {garbled, sqlite.ErrDamaged},
		"Newer":    {edited("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)"), sqlite.ErrNewer},
		"Tampered": {edited("UPDATE audit SET detail = 'x' WHERE seq = 1"), audit.ErrBroken},
		"NoState":  {edited("DELETE FROM state"), sqlite.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := sqlite.Restore(t.Context(), bytes.NewReader(test.data), filepath.Join(dir, "curfew.db"), sqlite.Options{})
			if !errors.Is(err, test.want) {
				t.Errorf("Restore: got %v, want %v", err, test.want)
			}
			if files := snapshotDir(t, dir); len(files) != 0 {
				t.Errorf("%d files are left", len(files))
			}
		})
	}
}

func TestCheckFindsWhatIsBroken(t *testing.T) {
	for name, test := range map[string]struct{ sql, want string }{
		"RevocationChanged":   {"UPDATE revocations SET target = 'x' WHERE seq = 2", "revocation 2 was changed"},
		"RevocationMissing":   {"DELETE FROM revocations WHERE seq = 2", "revocation 3 does not follow 1"},
		"FirstMissing":        {"DELETE FROM revocations WHERE seq = 1", "revocation 2 does not follow 0"},
		"LastMissing":         {"DELETE FROM revocations WHERE seq = 3", "the log ends at revocation 2"},
		"AuditChanged":        {"UPDATE audit SET actor = 'x'", "entry 1 was changed"},
		"AuditMissing":        {"DELETE FROM audit", "it ends at entry 0"},
		"SessionAhead":        {"UPDATE sessions SET epoch = 9", "session s: epoch 9 is ahead of the head 3"},
		"UserAhead":           {"UPDATE users SET epoch = 9", "epoch 9 is ahead"},
		"EverythingAhead":     {"UPDATE state SET everything = 9", "everything at 9 is ahead"},
		"EndedWithoutLog":     {"UPDATE sessions SET ended_at = 1, end_reason = 'user'", "session s: ended without a revocation"},
		"EndedWithoutReason":  {"UPDATE sessions SET ended_at = 1, ended_seq = 1", "session s: ended without a reason"},
		"EndedAhead":          {"UPDATE sessions SET ended_at = 1, ended_seq = 9, end_reason = 'user'", "ended by revocation 9"},
		"LiveWithReason":      {"UPDATE sessions SET end_reason = 'user'", "session s: live, yet"},
		"EverythingForgotten": {"UPDATE revocations SET kind = 'everything' WHERE seq = 3", "the epoch is only 0"},
		"ClientForgotten":     {"UPDATE revocations SET kind = 'client' WHERE seq = 3", "of client old: the epoch is only 0"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "curfew.db")
			prepare(t, path)
			db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Commit(t.Context(), store.Change{InsertSessions: []curfew.Session{{ID: "s", TokenExp: day}}}); err != nil {
				t.Fatal(err)
			}
			if err := db.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			alter(t, path, test.sql)
			if err := db.Check(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Check: got %v, want %q", err, test.want)
			}
		})
	}
}

// TestStoreIsOneFileAfterClose lets an operator copy a store that is not
// running.
func TestStoreIsOneFileAfterClose(t *testing.T) {
	dir := t.TempDir()
	prepare(t, filepath.Join(dir, "curfew.db"))
	if files := snapshotDir(t, dir); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
}
