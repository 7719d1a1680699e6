package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// Backup implements [store.Reader]. The copy is a store of its own: it can be
// put in place with [Restore], or by hand.
func (db *DB) Backup(ctx context.Context, w io.Writer) error {
	if err := db.backup(ctx, w); err != nil {
		return classify(fmt.Errorf("backing up the store: %w", err))
	}
	return nil
}

func (db *DB) backup(ctx context.Context, w io.Writer) (err error) {
	if db.readers.closed() {
		return errClosed
	}
	// Beside the store, where there is room for a store if anywhere, and where
	// nobody else may read.
	f, err := os.CreateTemp(dirOf(db.path), filepath.Base(db.path)+".backup-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), removeStore(f.Name())) }()
	if err := db.vacuumInto(ctx, f.Name()); err != nil {
		return err
	}
	// By name: SQLite has written to the file behind this descriptor's back.
	copied, err := os.Open(f.Name())
	if err != nil {
		return err
	}
	defer copied.Close()
	_, err = io.Copy(w, contextReader{ctx, copied})
	return err
}

// vacuumInto writes a copy with a connection of its own: the readers may not
// write, not even elsewhere, and the writer has other things to do.
func (db *DB) vacuumInto(ctx context.Context, path string) error {
	c, err := connect(dsn(db.path, db.opts), "busy_timeout=5000", "temp_store=MEMORY")
	if err != nil {
		return err
	}
	defer c.close()
	c.db.SetInterrupt(ctx)
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := c.exec("VACUUM INTO ?", abs); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return makeWAL(path, db.opts)
}

// makeWAL marks a file as one in WAL mode, which a copy by VACUUM is not. The
// mark is the only thing that is written; there is no WAL afterwards.
func makeWAL(path string, opts Options) error {
	c, err := connect(dsn(path, opts), "journal_mode=WAL", "synchronous=FULL")
	if err != nil {
		return err
	}
	return c.close()
}

// Restore makes a new store at path to from a backup. Like [Create] it never
// replaces a file, and the store appears when it is whole: a backup that is cut
// short, damaged, of another kind or of a newer version leaves nothing behind.
//
// It restores what was, no more. Declaring everything that was issued before
// void is the business of the caller.
func Restore(ctx context.Context, from io.Reader, to string, opts Options) error {
	err := build(to, func(tmp *os.File) error {
		if _, err := io.Copy(tmp, contextReader{ctx, from}); err != nil {
			return fmt.Errorf("copying the backup: %w", err)
		}
		if err := inspect(tmp.Name()); err != nil {
			return err
		}
		if err := checkIntegrity(ctx, tmp.Name(), opts); err != nil {
			return err
		}
		if err := makeWAL(tmp.Name(), opts); err != nil {
			return err
		}
		db, err := open(ctx, tmp.Name(), opts)
		if err != nil {
			return err
		}
		return errors.Join(db.Check(ctx), db.Close())
	})
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotCurfew) || errors.Is(err, ErrNewer) {
		return fmt.Errorf("restoring store %s: the backup cannot be used: %w; nothing was changed, take another backup", to, err)
	}
	if err != nil {
		return fmt.Errorf("restoring store %s: %w", to, err)
	}
	return nil
}

// checkIntegrity reads every page, before anything that a broken page could
// mislead.
func checkIntegrity(ctx context.Context, path string, opts Options) error {
	c, err := connect(dsn(path, opts), "query_only=ON")
	if err != nil {
		return err
	}
	defer c.close()
	c.db.SetInterrupt(ctx)
	var broken error
	err = checkPages(c, func(err error) {
		if broken == nil {
			broken = err
		}
	})
	if errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return errors.Join(err, broken)
}

// build lets f make a store in a temporary file and puts that at path, where no
// file may be, or leaves nothing behind.
func build(path string, f func(tmp *os.File) error) (err error) {
	if err := mustBeFree(path); err != nil {
		return err
	}
	// The name is new, so that two that build at the same time do not get at
	// each other's files.
	tmp, err := os.CreateTemp(dirOf(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tmp.Close(), removeStore(tmp.Name())) }()
	if err := f(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if _, err := os.Lstat(tmp.Name() + "-wal"); err == nil {
		return fmt.Errorf("%s-wal was not merged into the store", tmp.Name())
	}
	if err := place(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(path)
}

// mustBeFree refuses a path that is taken. A WAL without its store is taken as
// well: SQLite would play what is in it into the new store.
func mustBeFree(path string) error {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		switch _, err := os.Lstat(path + suffix); {
		case err == nil && suffix == "":
			return fmt.Errorf("%w; it is never replaced: move it away first, or choose another data directory", fs.ErrExist)
		case err == nil:
			return fmt.Errorf("%s%s: %w; it belongs to a store that was here: bring that back, or move it away too", path, suffix, fs.ErrExist)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// place gives tmp the name path and never replaces a file that another process
// has made meanwhile, which is what a link has over a rename.
func place(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// Some file systems have no links.
	if err := mustBeFree(path); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// removeStore removes a temporary store and what SQLite keeps beside it.
func removeStore(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// contextReader stops reading when its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
