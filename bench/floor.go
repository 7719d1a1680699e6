package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/ncruces/go-sqlite3"
)

// disk measures what everything durable is bounded by.
func (b *bench) disk() error {
	took, err := syncTimes(b.dir, 3000)
	if err != nil {
		return err
	}
	b.add(result{
		Scenario: "disk", What: "sync of 4 KiB", Path: "overwrite and fdatasync of one file, alone", Clients: 1,
		P50: median(took), P99: percentile(took, 99), Max: percentile(took, 100),
	})
	return nil
}

// syncTimes overwrites blocks of a file as SQLite does with its log, which it
// begins again from the front: nothing but data has to reach the disk.
func syncTimes(dir string, n int) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	const blocks = 1024
	block := make([]byte, 4096)
	rand.Read(block)
	for i := range blocks {
		if _, err := f.WriteAt(block, int64(i)*4096); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	for i := range n {
		block[0] = byte(i)
		if _, err := f.WriteAt(block, int64(i%blocks)*4096); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := datasync(f); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// floor measures the same driver with the least that a logout or a refresh
// could write: one row changed, one row appended, in one synced transaction.
// No HTTP, no signature, no indexes, no hash chains.
func (b *bench) floor() error {
	for _, callers := range []int{1, 64} {
		var rounds []measured
		for round := range b.opts.rounds {
			dir := filepath.Join(b.dir, fmt.Sprintf("floor-%d-%d", callers, round))
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			m, err := groupCommit(filepath.Join(dir, "floor.db"), callers, b.length())
			if err != nil {
				return err
			}
			rounds = append(rounds, m)
		}
		path := "in process: update a row, append a row, commit, sync"
		if callers > 1 {
			path += "; those who wait share a transaction"
		}
		b.add(summarize(result{Scenario: "floor", What: "SQLite floor", Path: path, Clients: callers}, rounds))
	}
	return nil
}

const floorSchema = `CREATE TABLE s (id TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL, rest BLOB NOT NULL) WITHOUT ROWID;
	CREATE TABLE l (seq INTEGER PRIMARY KEY, target TEXT NOT NULL, hash BLOB NOT NULL);`

const floorRows = 20_000

func groupCommit(path string, callers int, length time.Duration) (m measured, err error) {
	db, err := sqlite3.Open("file:" + path)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2000; PRAGMA cache_size=-8000;" + floorSchema); err != nil {
		return m, err
	}
	var stmts [3]*sqlite3.Stmt
	for i, sql := range []string{
		"UPDATE s SET n = n + 1 WHERE id = ?", "INSERT INTO l (target, hash) VALUES (?, ?)",
		"INSERT INTO s VALUES (?, 0, zeroblob(250))",
	} {
		if stmts[i], _, err = db.Prepare(sql); err != nil {
			return m, err
		}
		defer stmts[i].Close()
	}
	ids := make([]string, floorRows)
	if err := db.Exec("BEGIN"); err != nil {
		return m, err
	}
	for i := range ids {
		ids[i] = curfew.NewID()
		if err := errors.Join(stmts[2].BindText(1, ids[i]), stmts[2].Exec()); err != nil {
			return m, err
		}
	}
	if err := db.Exec("COMMIT"); err != nil {
		return m, err
	}

	type job struct {
		id   string
		done chan error
	}
	queue := make(chan job, callers)
	var writer sync.WaitGroup
	writer.Go(func() {
		hash := make([]byte, 32)
		var batch []job
		for j := range queue {
			batch = append(batch[:0], j)
			for more := true; more; {
				select {
				case j, more = <-queue:
					if more {
						batch = append(batch, j)
					}
				default:
					more = false
				}
			}
			err := db.Exec("BEGIN IMMEDIATE")
			for _, j := range batch {
				err = errors.Join(err, stmts[0].BindText(1, j.id), stmts[0].Exec(),
					stmts[1].BindText(1, j.id), stmts[1].BindBlob(2, hash), stmts[1].Exec())
			}
			err = errors.Join(err, db.Exec("COMMIT"))
			for _, j := range batch {
				j.done <- err
			}
		}
	})

	took := make([][]time.Duration, callers)
	errs := make([]error, callers)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			done := make(chan error, 1)
			for n := i; time.Since(start) < length; n += callers {
				begin := time.Now()
				queue <- job{ids[n%len(ids)], done}
				if errs[i] = <-done; errs[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	m.elapsed = time.Since(start)
	close(queue)
	writer.Wait()
	for _, t := range took {
		m.took = append(m.took, t...)
	}
	return m, errors.Join(errs...)
}
