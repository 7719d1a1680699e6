package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/curfewhq/curfew/internal/store"
	"github.com/ncruces/go-sqlite3"
)

// maxBatch bounds how many changes share a transaction, and so how long the
// last of them waits for the first.
const maxBatch = 256

// job is one change on its way through the writer.
type job struct {
	run  func(*tx) error // undone by itself if it returns an error
	err  error
	done chan struct{}
}

// writer owns the only connection that writes. One goroutine runs loop.
type writer struct {
	c     *conn
	queue chan *job
	// pages is how long the WAL was after the last commit; loop owns it.
	pages int
	ckpt  *checkpointer

	// mu guards closed: nothing is sent into queue once closed is set, so loop
	// can drain it and nobody waits for an answer that never comes.
	mu     sync.RWMutex
	closed bool
	ended  chan struct{}
	err    error // of closing the connection, valid after ended
}

func startWriter(c, ckpt *conn) *writer {
	w := &writer{c: c, ckpt: startCheckpointer(ckpt), queue: make(chan *job, maxBatch), ended: make(chan struct{})}
	c.db.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error { w.pages = pages; return nil })
	go w.loop()
	return w
}

// do runs f in a durable transaction, possibly together with others. Once the
// job is queued it is carried out whatever becomes of ctx.
func (w *writer) do(ctx context.Context, f func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	j := &job{run: f, done: make(chan struct{})}
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return errClosed
	}
	// loop runs until the queue is closed, and close waits for this lock: the
	// queue gets room sooner or later.
	var late error
	select {
	case w.queue <- j:
	case <-ctx.Done():
		late = context.Cause(ctx)
	}
	w.mu.RUnlock()
	if late != nil {
		return late
	}
	<-j.done
	return j.err
}

func (w *writer) close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.ended
	return w.err
}

func (w *writer) loop() {
	defer close(w.ended)
	batch := make([]*job, 0, maxBatch)
	for j := range w.queue {
		batch = append(batch[:0], j)
	gather:
		for len(batch) < maxBatch {
			select {
			case j, ok := <-w.queue:
				if !ok {
					break gather
				}
				batch = append(batch, j)
			default:
				break gather
			}
		}
		w.commit(batch)
		for _, j := range batch {
			close(j.done)
		}
		w.checkpoint()
	}
	w.ckpt.close()
	// Leave one file behind, so that a copy of it is the whole store.
	w.c.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	w.err = w.c.close()
}

// checkpoint keeps the WAL short, after the batch has had its answers. Copying
// its pages into the store is the checkpointer's work, beside the commits. It
// never reaches the end of a WAL that keeps growing, so once in a while the
// writer copies the few pages that are left itself; the next commit then starts
// the WAL anew.
func (w *writer) checkpoint() {
	switch {
	case w.pages >= maxWALPages:
		// An error leaves the WAL as it is, and the next commit comes here again.
		w.c.db.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	case w.pages >= checkpointPages:
		w.ckpt.signal()
	}
}

// checkpointer copies the pages of the WAL into the store in the background.
type checkpointer struct {
	c    *conn
	wake chan struct{} // holds one signal
	done chan struct{}
}

func startCheckpointer(c *conn) *checkpointer {
	k := &checkpointer{c: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for range k.wake {
			c.db.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		}
	}()
	return k
}

func (k *checkpointer) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *checkpointer) close() {
	close(k.wake)
	<-k.done
	k.c.close()
}

// commit runs the batch in one transaction and sets the error of each job.
func (w *writer) commit(batch []*job) {
	fail := func(err error) {
		for _, j := range batch {
			j.err = err
		}
	}
	if err := w.begin(batch); err != nil {
		w.rollback()
		fail(classify(err))
		return
	}
	if _, err := w.c.exec("COMMIT"); err != nil {
		w.rollback()
		// A disk that is full refused a write, of a frame that the transaction
		// does not count without: no recovery will find it.
		if errors.Is(err, sqlite3.FULL) {
			for _, j := range batch {
				if j.err == nil {
					j.err = classify(err)
				}
			}
			return
		}
		// SQLite has not answered for the durability of the transaction: its
		// frames may be in the file, and a recovery may find them there.
		unknown := fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
		for _, j := range batch {
			if j.err == nil {
				j.err = unknown
			}
		}
	}
}

// begin does everything up to the commit. An error means that nothing of the
// batch can be committed; errors of single jobs are left in them.
func (w *writer) begin(batch []*job) error {
	if _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	t, err := beginTx(w.c)
	if err != nil {
		return err
	}
	for _, j := range batch {
		if _, err := w.c.exec("SAVEPOINT change"); err != nil {
			return err
		}
		before := t.state
		if j.err = classify(j.run(t)); j.err != nil {
			// A full disk or a failed read ends the whole transaction.
			if w.c.db.GetAutocommit() {
				return j.err
			}
			t.state = before
			if _, err := w.c.exec("ROLLBACK TO change"); err != nil {
				return err
			}
		}
		if _, err := w.c.exec("RELEASE change"); err != nil {
			return err
		}
	}
	return t.finish()
}

func (w *writer) rollback() {
	if !w.c.db.GetAutocommit() {
		w.c.exec("ROLLBACK")
	}
}

// classify turns an engine's error into one of the contract's.
func classify(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		store.ErrNotFound, store.ErrConflict, store.ErrExists,
		store.ErrUnknownOutcome, store.ErrUnavailable, store.ErrCompacted,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	switch {
	case errors.Is(err, sqlite3.CONSTRAINT_UNIQUE), errors.Is(err, sqlite3.CONSTRAINT_PRIMARYKEY):
		return fmt.Errorf("%w: %w", store.ErrExists, err)
	case errors.Is(err, sqlite3.FULL), errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.IOERR),
		errors.Is(err, sqlite3.CANTOPEN), errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.NOMEM),
		errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.PERM),
		errors.Is(err, sqlite3.LOCKED), errors.Is(err, sqlite3.PROTOCOL):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}
