package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/gofrs/flock"
)

const (
	storeFile    = "curfew.db"
	keyFile      = "master.key"
	lockFile     = "lock"
	operatorFile = "operator.key"
)

// home is the data directory of one authority, locked against a second one.
type home struct {
	dir   string
	store string // path of the SQLite file
	locks []*flock.Flock
}

// openHome makes the data directory where it is missing, and locks it. Two
// authorities on one store would each enforce what was logged out at the other
// too late.
func openHome(c config.Config, logger *slog.Logger) (*home, error) {
	path, err := storePath(c)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, unusable(c.Data, err)
	}
	info, err := os.Stat(c.Data)
	if err != nil {
		return nil, unusable(c.Data, err)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		logger.Warn("other users can write to the data directory and replace the keys in it; make it private with chmod 700", "dir", c.Data)
	}
	h := &home{dir: c.Data, store: path}
	if err := h.lock(filepath.Join(c.Data, lockFile), "data directory "+c.Data); err != nil {
		return nil, err
	}
	// The store by itself too: another data directory may be set to use it.
	if err := h.lock(path+".lock", "store "+path); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *home) lock(path, what string) error {
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return unusable(filepath.Dir(path), err)
	}
	if !ok {
		return fmt.Errorf("%s is in use by another curfew that is running; stop that one, or choose another directory with --data", what)
	}
	h.locks = append(h.locks, l)
	return nil
}

// close releases the locks. The files stay: removing one would let a third
// process lock another file of the same name.
func (h *home) close() {
	for _, l := range h.locks {
		_ = l.Unlock() // the end of the process releases it too
	}
}

func unusable(dir string, err error) error {
	return fmt.Errorf("cannot use data directory %s: %w; choose another with --data, or let the user that runs curfew write there", dir, err)
}

// storePath returns the file of the store.
func storePath(c config.Config) (string, error) {
	scheme, rest, isURL := strings.Cut(c.Store, ":")
	switch {
	case c.Store == "":
		return filepath.Join(c.Data, storeFile), nil
	case isURL && scheme == "sqlite":
		return strings.TrimPrefix(rest, "//"), nil
	case isURL && strings.HasPrefix(rest, "//"):
		return "", fmt.Errorf("store: %q is not supported; this version keeps its store in a SQLite file: give its path", scheme+"://")
	}
	return c.Store, nil
}

// openStore opens the store, or makes a new one with a master key where there
// is none, and returns the key that opens what is sealed in it.
func (h *home) openStore(ctx context.Context, c config.Config, logger *slog.Logger) (*sqlite.DB, seal.Key, error) {
	db, err := sqlite.Open(ctx, h.store, sqlite.Options{})
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return nil, seal.Key{}, err
	}
	// The key before the store: a crash in between leaves a key without a
	// store, which is nothing, and not a store whose key was never written.
	key, err := h.masterKey(ctx, c, db)
	if err != nil {
		if db != nil {
			db.Close()
		}
		return nil, key, err
	}
	if !fresh {
		return db, key, nil
	}
	if err := sqlite.Create(ctx, h.store, sqlite.Options{}); err != nil {
		return nil, key, err
	}
	logger.Info("made a new store", "file", h.store)
	db, err = sqlite.Open(ctx, h.store, sqlite.Options{})
	return db, key, err
}

// masterKey returns the configured key, or that of the data directory. It makes
// one only where nothing is sealed yet: a new key opens nothing of an old store.
func (h *home) masterKey(ctx context.Context, c config.Config, db *sqlite.DB) (seal.Key, error) {
	if c.MasterKey != "" {
		return seal.Parse(c.MasterKey)
	}
	path := filepath.Join(h.dir, keyFile)
	if db == nil {
		return seal.LoadOrCreate(path)
	}
	key, err := seal.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return key, fmt.Errorf("reading the keys: %w", err)
	}
	for _, k := range keys {
		if len(k.Sealed) > 0 {
			return key, fmt.Errorf("master key %s is missing, and the store %s was sealed with it; %s", path, h.store, keyAdvice)
		}
	}
	return seal.LoadOrCreate(path)
}

const keyAdvice = "bring the key back (the file master.key, or CURFEW_MASTER_KEY_FILE); if it is lost, " +
	"move the store away and restore a backup with 'curfew restore', which makes new keys and logs everybody out"

// writePrivate makes a file that only its owner can read and that is either
// whole or not there. It never replaces one.
func writePrivate(path string, content []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return Place(tmp.Name(), path)
}

// Place gives the file tmp the name path in the same directory, for good, and
// fails with [fs.ErrExist] where that is taken.
func Place(tmp, path string) error {
	if err := os.Link(tmp, path); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	} else if err != nil {
		// Some file systems have no links.
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
	} else if err := os.Remove(tmp); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
