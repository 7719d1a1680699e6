package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/store/sqlite"
)

// Restored says what a restore has left to be done.
type Restored struct {
	Store     string
	MasterKey string // path of the master key that will be made; empty if there is one
}

// Restore puts the backup at from in place of a store that is not there, with
// everything that was issued before declared void. The authority must not run.
func Restore(ctx context.Context, c config.Config, from string, logger *slog.Logger) (Restored, error) {
	backup, err := os.Open(from)
	if err != nil {
		return Restored{}, fmt.Errorf("backup: %w", err)
	}
	defer backup.Close()
	h, err := openHome(c, logger)
	if err != nil {
		return Restored{}, err
	}
	defer h.close()
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if _, err := os.Lstat(h.store + suffix); !errors.Is(err, fs.ErrNotExist) {
			return Restored{}, fmt.Errorf("there is a store already (%s); it is never replaced: move it away first, or choose another directory with --data", h.store+suffix)
		}
	}
	// Under another name until it is safe: a crash must not leave a store in
	// place in which old tokens still count.
	tmp := h.store + ".restoring"
	if err := removeStore(tmp); err != nil {
		return Restored{}, err
	}
	if err := restore(ctx, backup, tmp, c.Feed.Lease); err != nil {
		return Restored{}, errors.Join(err, removeStore(tmp))
	}
	if err := Place(tmp, h.store); err != nil {
		return Restored{}, errors.Join(err, removeStore(tmp))
	}
	out := Restored{Store: h.store}
	key := filepath.Join(h.dir, keyFile)
	if _, err := os.Lstat(key); errors.Is(err, fs.ErrNotExist) && c.MasterKey == "" {
		out.MasterKey = key
	}
	return out, nil
}

// restore takes lease for the longest that was given since the backup.
func restore(ctx context.Context, backup *os.File, to string, lease time.Duration) error {
	if err := sqlite.Restore(ctx, backup, to, sqlite.Options{}); err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, to, sqlite.Options{})
	if err != nil {
		return err
	}
	if err := errors.Join(authority.AfterRestore(ctx, db, lease), db.Close()); err != nil {
		return err
	}
	if _, err := os.Lstat(to + "-wal"); err == nil {
		return fmt.Errorf("%s-wal was not merged into the store", to)
	}
	return nil
}

func removeStore(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// AddOperator makes an operator key in a store that no authority is serving,
// for an operator who has lost the last one. Who can write the data directory
// is an operator anyway.
func AddOperator(ctx context.Context, c config.Config, name string, logger *slog.Logger) (secret string, err error) {
	if path, err := storePath(c); err != nil {
		return "", err
	} else if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no store: %w; give the directory of the authority with --data", err)
	}
	h, err := openHome(c, logger)
	if err != nil {
		return "", err
	}
	defer h.close()
	// No token is issued here, so the issuer is of no consequence.
	db, auth, err := h.openAuthority(ctx, c, "offline", logger, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return auth.CreateAPIKey(ctx, name, authority.KindOperator, authority.System, authority.Origin{})
}
