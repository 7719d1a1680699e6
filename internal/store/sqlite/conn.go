package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/ncruces/go-sqlite3"
)

// conn is a connection with its prepared statements. It is used by one
// goroutine at a time.
type conn struct {
	db    *sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
}

func connect(dsn string, pragmas ...string) (*conn, error) {
	db, err := sqlite3.Open(dsn)
	if err != nil {
		return nil, err
	}
	c := &conn{db: db, stmts: map[string]*sqlite3.Stmt{}}
	// Plans must not depend on what is bound: where they do, SQLite prepares
	// the statement again at every call, which costs more than running it.
	if _, err := db.Config(sqlite3.DBCONFIG_ENABLE_QPSG, true); err != nil {
		c.close()
		return nil, fmt.Errorf("fixing query plans: %w", err)
	}
	for _, p := range pragmas {
		if err := db.Exec("PRAGMA " + p); err != nil {
			c.close()
			return nil, fmt.Errorf("setting %s: %w", p, err)
		}
	}
	return c, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.Close()
	}
	return c.db.Close()
}

func (c *conn) prepare(sql string, args []any) (*sqlite3.Stmt, error) {
	s, ok := c.stmts[sql]
	if !ok {
		var err error
		if s, _, err = c.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, fmt.Errorf("preparing %q: %w", sql, err)
		}
		c.stmts[sql] = s
	}
	for i, a := range args {
		if err := bind(s, i+1, a); err != nil {
			return nil, fmt.Errorf("binding parameter %d of %q: %w", i+1, sql, err)
		}
	}
	return s, nil
}

// exec runs one statement and returns how many rows it changed.
func (c *conn) exec(sql string, args ...any) (int64, error) {
	s, err := c.prepare(sql, args)
	if err != nil {
		return 0, err
	}
	if err := s.Exec(); err != nil {
		return 0, err
	}
	return c.db.Changes(), nil
}

// query calls row for each row of the result.
func (c *conn) query(sql string, row func(*sqlite3.Stmt) error, args ...any) error {
	s, err := c.prepare(sql, args)
	if err != nil {
		return err
	}
	for s.Step() {
		if err := row(s); err != nil {
			s.Reset()
			return err
		}
	}
	if err := s.Err(); err != nil {
		s.Reset()
		return err
	}
	return s.Reset()
}

func bind(s *sqlite3.Stmt, i int, a any) error {
	switch a := a.(type) {
	case string:
		return s.BindText(i, a)
	case int:
		return s.BindInt(i, a)
	case int64:
		return s.BindInt64(i, a)
	case curfew.Seq:
		return s.BindInt64(i, int64(a))
	case bool:
		return s.BindBool(i, a)
	case time.Time:
		return s.BindInt64(i, curfew.Micros(a))
	case time.Duration:
		return s.BindInt64(i, a.Microseconds())
	case []byte:
		if a == nil {
			a = []byte{}
		}
		return s.BindBlob(i, a)
	case curfew.Hash:
		return s.BindBlob(i, a[:])
	}
	return fmt.Errorf("no binding for %T", a)
}

// pool lends connections to readers.
type pool struct {
	free  chan *conn
	size  int
	done  chan struct{}
	close func()
}

func newPool(n int, open func() (*conn, error)) (*pool, error) {
	p := &pool{free: make(chan *conn, n), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() {
		close(p.done)
		for range p.size {
			(<-p.free).close() // waits for the borrowed ones
		}
	})
	for range n {
		c, err := open()
		if err != nil {
			p.close()
			return nil, err
		}
		p.free <- c
		p.size++
	}
	return p, nil
}

func (p *pool) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// do calls f with a connection that nobody else uses meanwhile.
func (p *pool) do(ctx context.Context, f func(*conn) error) error {
	if p.closed() {
		return errClosed
	}
	select {
	case c := <-p.free:
		defer func() { p.free <- c }()
		return classify(f(c))
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.done:
		return errClosed
	}
}
