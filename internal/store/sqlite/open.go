package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/fault"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks the files of Curfew in the SQLite header ("CRFW").
const applicationID = 0x43524657

// How long the WAL grows before its pages are copied into the file in the
// background, and before the writer waits for that. Variables, because tests of
// crashes need many checkpoints, at predictable places.
var (
	checkpointPages = 1000
	maxWALPages     = 8000
)

const sqliteMagic = "SQLite format 3\x00"

var (
	// ErrNotCurfew is a file that is not a Curfew store.
	ErrNotCurfew = errors.New("not a Curfew store")
	// ErrDamaged is a store that was cut short.
	ErrDamaged = errors.New("store file is damaged")
	// ErrNewer is a store that a newer version of Curfew wrote.
	ErrNewer = errors.New("store was written by a newer version of Curfew")

	errClosed = fmt.Errorf("%w: closed", store.ErrUnavailable)
)

// Options tune a store. The zero value is what the binary uses.
type Options struct {
	// Readers is the number of connections for reading; 0 means 4.
	Readers int
	// VFS names a registered SQLite file system; empty is the operating
	// system's. Tests inject I/O faults with it.
	VFS string
}

// DB is an open store. It implements [store.Store].
type DB struct {
	path    string
	opts    Options
	readers *pool
	writer  *writer
}

var _ store.Store = (*DB)(nil)

// Create makes a new store at path. It fails with an error that wraps
// [fs.ErrExist] if there is a file already. The file appears at path when it is
// whole, so that a crash leaves no half of a store behind.
func Create(ctx context.Context, path string, opts Options) error {
	err := build(path, func(tmp *os.File) error { return initialise(ctx, tmp.Name(), opts) })
	if err != nil {
		return fmt.Errorf("creating store %s: %w", path, err)
	}
	return nil
}

func initialise(ctx context.Context, path string, opts Options) error {
	c, err := connect(dsn(path, opts), fmt.Sprintf("application_id=%d", applicationID), "journal_mode=WAL", "synchronous=FULL")
	if err != nil {
		return err
	}
	return errors.Join(fill(ctx, c, path, opts), c.close())
}

func fill(ctx context.Context, c *conn, path string, opts Options) error {
	if err := migrate(ctx, path, opts); err != nil {
		return err
	}
	now := time.Now()
	created := audit.Entry{Seq: 1, At: now.Truncate(time.Microsecond), Event: audit.StoreCreated, Actor: "system"}
	created.Hash = created.Chain(curfew.Hash{})
	if err := insertAudit(c, created); err != nil {
		return err
	}
	if _, err := c.exec(`INSERT INTO state (id, log_id, head_seq, head_hash, compacted, compacted_hash, horizon, time_high_water,
		token_life, everything, audit_seq, audit_hash) VALUES (1, ?, 0, ?, 0, ?, 0, ?, 0, 0, 1, ?)`,
		curfew.NewID(), curfew.Hash{}, curfew.Hash{}, now, created.Hash); err != nil {
		return err
	}
	_, _, err := c.db.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	return err
}

// Open opens the store at path and brings its schema up to date. It never
// creates: a missing file is an error that wraps [fs.ErrNotExist]. A file that
// is not a whole store of this version or an older one is left untouched.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	db, err := open(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, advise(path, err))
	}
	return db, nil
}

func open(ctx context.Context, path string, opts Options) (*DB, error) {
	if err := inspect(path); err != nil {
		return nil, err
	}
	pending, err := checkVersion(path, opts)
	if err != nil {
		return nil, err
	}
	if pending {
		if err := migrate(ctx, path, opts); err != nil {
			return nil, err
		}
	}
	wc, err := connect(dsn(path, opts), "busy_timeout=5000", "synchronous=FULL",
		"wal_autocheckpoint=0", "cache_size=-8000", "temp_store=MEMORY")
	if err != nil {
		return nil, err
	}
	if err := ready(wc, path); err != nil {
		wc.close()
		return nil, err
	}
	if opts.Readers == 0 {
		opts.Readers = 4
	}
	readers, err := newPool(opts.Readers, func() (*conn, error) {
		return connect(dsn(path, opts), "busy_timeout=5000", "query_only=ON", "cache_size=-2000", "temp_store=MEMORY")
	})
	if err != nil {
		wc.close()
		return nil, err
	}
	ckpt, err := connect(dsn(path, opts), "busy_timeout=5000", "synchronous=FULL", "wal_autocheckpoint=0", "cache_size=-200")
	if err != nil {
		readers.close()
		wc.close()
		return nil, err
	}
	return &DB{path: path, opts: opts, readers: readers, writer: startWriter(wc, ckpt)}, nil
}

// ready makes sure that the first commit will be durable and find its state.
func ready(c *conn, path string) error {
	if err := mustBeDurable(c); err != nil {
		return err
	}
	if fault.On(fault.AnswerBeforeSync) {
		if _, err := c.exec("PRAGMA synchronous=OFF"); err != nil {
			return err
		}
	}
	if _, err := readState(c); err != nil {
		return err
	}
	// Reading has made the WAL. SQLite syncs its contents with each commit, but
	// not its name: without this a power failure could take the whole file.
	return syncDir(path)
}

// advise adds to an error what the operator can do about it.
func advise(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; check the data directory, or create a store first", err)
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("%w; run the newer binary, or restore a backup made before the upgrade", err)
	case errors.Is(err, ErrNotCurfew):
		return fmt.Errorf("%w; choose another data directory, or move the file away", err)
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w; restore a backup with 'curfew restore'", err)
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		return fmt.Errorf("%w: %w; restore a backup with 'curfew restore'", ErrDamaged, err)
	case errors.Is(err, sqlite3.CANTOPEN), errors.Is(err, sqlite3.READONLY), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w; the user that runs curfew must be able to write the file and to create files in %s",
			store.ErrUnavailable, err, dirOf(path))
	}
	return classify(err)
}

// mustBeDurable refuses a connection whose commits could be lost in a power
// failure (guarantee, assumption A4).
func mustBeDurable(c *conn) error {
	var mode string
	var synchronous int
	if err := c.query("PRAGMA journal_mode", func(s *sqlite3.Stmt) error { mode = s.ColumnText(0); return nil }); err != nil {
		return err
	}
	if err := c.query("PRAGMA synchronous", func(s *sqlite3.Stmt) error { synchronous = s.ColumnInt(0); return nil }); err != nil {
		return err
	}
	if mode != "wal" || synchronous != 2 {
		return fmt.Errorf("journal_mode=%s, synchronous=%d: the log needs wal and 2 (FULL); restore the file with 'curfew restore', which sets them", mode, synchronous)
	}
	return nil
}

// Close implements [store.Store].
func (db *DB) Close() error {
	// Readers first: the last checkpoint needs the file for itself.
	db.readers.close()
	if err := db.writer.close(); err != nil {
		return fmt.Errorf("closing store %s: %w", db.path, err)
	}
	return nil
}

// inspect looks at the header of the file without SQLite, which might write.
func inspect(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is a directory or a device", ErrNotCurfew)
	}
	head := make([]byte, 100)
	n, err := io.ReadFull(f, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file is empty", ErrDamaged)
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case !bytes.HasPrefix(head[:n], []byte(sqliteMagic)[:min(n, len(sqliteMagic))]):
		return ErrNotCurfew
	case n < len(head):
		return fmt.Errorf("%w: it has only %d bytes", ErrDamaged, n)
	case binary.BigEndian.Uint32(head[68:]) != applicationID:
		return fmt.Errorf("%w but another SQLite database", ErrNotCurfew)
	}
	if hasWAL(path) {
		// A crash during a checkpoint leaves a file that is short of pages, and
		// all of them in the WAL: SQLite makes it whole, and notices if not.
		return nil
	}
	pageSize := int64(binary.BigEndian.Uint16(head[16:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	if pages := int64(binary.BigEndian.Uint32(head[28:])); info.Size() < pages*pageSize {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), pages*pageSize)
	}
	return nil
}

// hasWAL reports whether there are commits that are not in the file itself yet.
func hasWAL(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

// checkVersion reports whether the schema is to be migrated. If it refuses the
// store, it leaves its files as they are.
func checkVersion(path string, opts Options) (pending bool, err error) {
	known, err := latestMigration()
	if err != nil {
		return false, err
	}
	c, err := connect(dsn(path, opts), "busy_timeout=5000", "query_only=ON")
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil && hasWAL(path) {
			// The last connection would merge the WAL into the file.
			c.db.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true)
		}
		c.close()
	}()
	migrated := false
	if err := c.query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'goose_db_version'",
		func(*sqlite3.Stmt) error { migrated = true; return nil }); err != nil {
		return false, fmt.Errorf("reading the schema: %w", err)
	}
	if !migrated {
		return false, fmt.Errorf("%w: it has no schema version", ErrNotCurfew)
	}
	var version int64
	if err := c.query("SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied",
		func(s *sqlite3.Stmt) error { version = s.ColumnInt64(0); return nil }); err != nil {
		return false, fmt.Errorf("reading the schema version: %w", err)
	}
	if version > known {
		return false, fmt.Errorf("%w: its schema is %d, this binary knows up to %d", ErrNewer, version, known)
	}
	return version < known, nil
}

func migrate(ctx context.Context, path string, opts Options) error {
	sqlDB, err := sqlOpen(path, opts)
	if err != nil {
		return err
	}
	defer sqlDB.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, sqlDB, files, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if pending, err := provider.HasPending(ctx); err != nil || !pending {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", err)
	}
	return nil
}

func latestMigration() (int64, error) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, err
	}
	return goose.NumericComponent(files[len(files)-1].Name())
}

func sqlOpen(path string, opts Options) (*sql.DB, error) {
	return driver.Open(dsn(path, opts))
}

// dsn names an existing file: without mode=rwc SQLite creates nothing.
func dsn(path string, opts Options) string {
	q := url.Values{"mode": {"rw"}}
	if opts.VFS != "" {
		q.Set("vfs", opts.VFS)
	}
	return "file:" + strings.ReplaceAll(url.PathEscape(path), "%2F", "/") + "?" + q.Encode()
}

func syncDir(path string) error {
	dir, err := os.Open(dirOf(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, os.PathSeparator); i >= 0 {
		return path[:i+1]
	}
	return "."
}
