package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
)

// growth is what the store file gains with each logout and each refresh: the
// log entry, the audit entry, and pages that are only partly full. The server is
// stopped before the file is looked at, so that the WAL is empty.
func (b *bench) growth() error {
	const clients = 16
	for _, kind := range []string{"logout", "refresh"} {
		if err := b.start(true, true); err != nil {
			return err
		}
		all, err := b.sessions(b.enough(clients))
		if err != nil {
			return err
		}
		before, err := b.storeSize()
		if err != nil {
			return err
		}
		steps := logoutSteps(all, clients, byAccessToken)
		if kind == "refresh" {
			steps = refreshSteps(all, clients)
		}
		var n atomic.Int64 // the warm-up counts here
		if _, err := b.round("growth", clients, func(i int) func(*conn) error {
			step := steps(i)
			return func(c *conn) error {
				err := step(c)
				if err == nil {
					n.Add(1)
				}
				return err
			}
		}); err != nil {
			return err
		}
		after, err := b.storeSize()
		if err != nil {
			return err
		}
		b.add(result{
			Scenario: "growth", What: "store growth of a " + kind, Path: fmt.Sprintf("%d of them; file of %d MiB before", n.Load(), before>>20),
			Value: fmt.Sprintf("%d bytes", (after-before)/max(n.Load(), 1)),
		})
	}
	return nil
}

// storeSize restarts the server and returns what its store is in between.
func (b *bench) storeSize() (int64, error) {
	if err := b.stop(); err != nil {
		return 0, err
	}
	info, err := os.Stat(filepath.Join(b.setup.Dir, "curfew.db"))
	if err != nil {
		return 0, err
	}
	return info.Size(), b.start(false, true)
}

const (
	million = 1_000_000
	// liveRevocations is how many logouts a second for ten minutes leave, at
	// 166 a second.
	liveRevocations = 100_000
)

// million is the binary that users run, with a store that has grown: what it
// holds in memory when nobody calls, and how long it takes to be ready.
func (b *bench) million() error {
	if err := b.stop(); err != nil {
		return err
	}
	if _, err := os.Stat("cmd/curfew"); err != nil {
		return errors.New("run it in the root of the repository, where cmd/curfew is")
	}
	binary := filepath.Join(b.dir, "curfew")
	build := exec.CommandContext(b.ctx, "go", "build", "-o", binary, "./cmd/curfew")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binary: %w: %s", err, text)
	}
	data := filepath.Join(b.dir, "million")
	// The first start makes the store and its keys.
	if err := b.binaryRows(binary, data, "an empty store", 1, false); err != nil {
		return err
	}
	start := time.Now()
	size, err := fill(b.ctx, filepath.Join(data, "curfew.db"), million)
	if err != nil {
		return fmt.Errorf("filling the store: %w", err)
	}
	b.add(result{
		Scenario: "million", What: "bulk insert", Path: fmt.Sprintf("1,000,000 sessions by store.Commit, 5,000 a time; file of %d MiB", size>>20),
		Rate: million / time.Since(start).Seconds(), Low: million / time.Since(start).Seconds(), High: million / time.Since(start).Seconds(),
	})
	if err := b.binaryRows(binary, data, "1,000,000 live sessions", b.opts.rounds, true); err != nil {
		return err
	}
	if err := addRevocations(b.ctx, filepath.Join(data, "curfew.db"), liveRevocations); err != nil {
		return fmt.Errorf("filling the log: %w", err)
	}
	return b.binaryRows(binary, data, "1,000,000 live sessions and 100,000 live revocations", b.opts.rounds, false)
}

// binaryRows starts the binary some times and adds the medians.
func (b *bench) binaryRows(binary, data, with string, rounds int, held bool) error {
	var ready, idle []time.Duration
	var resident []int64
	for range rounds {
		s, err := b.startBinary(binary, data)
		if err != nil {
			return err
		}
		ready, resident, idle = append(ready, s.ready), append(resident, s.resident), append(idle, s.idle)
	}
	slices.Sort(resident)
	rss := resident[(len(resident)-1)/2]
	const path = "curfew serve, from exec to 200 at /readyz; the file is in the page cache; "
	cold := result{Scenario: "million", What: "cold start", Path: path + with, P50: median(ready)}
	memory := result{Scenario: "million", What: "resident, idle", Path: "curfew serve, 5 s after the start; " + with, Value: fmt.Sprintf("%.1f MB", float64(rss)/1e6)}
	if held {
		cold = cold.target("< 300 ms", cold.P50 < 300*time.Millisecond)
	}
	memory = memory.target("< 40 MB", rss < 40e6)
	b.add(cold)
	b.add(memory)
	b.add(result{
		Scenario: "million", What: "processor, idle", Path: "curfew serve with its sweeper and log; " + with,
		Value: fmt.Sprintf("%.1f %%", 100*median(idle).Seconds()/idleFor.Seconds()),
	})
	return nil
}

// started is what one start of the binary showed.
type started struct {
	ready    time.Duration
	resident int64
	idle     time.Duration // processor time in idleFor
}

const idleFor = 5 * time.Second

func (b *bench) startBinary(binary, data string) (out started, err error) {
	addr, err := freeAddr()
	if err != nil {
		return out, err
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, "serve", "--data", data, "--listen", addr)
	cmd.Stdout, cmd.Stderr = &log, &log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return out, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case waitErr := <-exited:
			if err == nil && waitErr != nil {
				err = fmt.Errorf("curfew serve: %w: %s", waitErr, log.String())
			}
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			err = errors.Join(err, errors.New("curfew serve does not stop"))
		}
	}()
	for {
		if isReady("http://" + addr + "/readyz") {
			break
		}
		select {
		case waitErr := <-exited:
			exited <- nil
			return out, fmt.Errorf("curfew serve ended: %w: %s", waitErr, log.String())
		case <-b.ctx.Done():
			return out, context.Cause(b.ctx)
		case <-time.After(time.Millisecond):
		}
		if time.Since(begin) > time.Minute {
			return out, errors.New("curfew serve is not ready after a minute")
		}
	}
	out.ready = time.Since(begin)
	busy := processTime(cmd.Process.Pid)
	time.Sleep(idleFor)
	out.idle = processTime(cmd.Process.Pid) - busy
	out.resident = residentBytes(cmd.Process.Pid)
	return out, nil
}

func isReady(url string) bool {
	r, err := http.Get(url)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	io.Copy(io.Discard, r.Body)
	return r.StatusCode == http.StatusOK
}

// freeAddr returns an address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// batch is how many rows share a commit of the bulk insert.
const batch = 5000

// fill inserts live sessions, five to a user, and returns the size of the file.
// They come in order of id, as an import would sort them; rows that came in the
// order of logins would lie in more pages.
func fill(ctx context.Context, path string, n int) (size int64, err error) {
	st, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = curfew.NewID()
	}
	slices.Sort(ids)
	now := time.Now()
	var subject string
	for first := 0; first < n; first += batch {
		c := store.Change{At: now}
		for i := first; i < min(first+batch, n); i++ {
			if i%5 == 0 {
				subject = curfew.NewID()
			}
			began := now.Add(-time.Duration(i) * time.Second)
			c.InsertSessions = append(c.InsertSessions, curfew.Session{
				ID: ids[i], Subject: subject, ClientID: "web", CreatedAt: began, AuthTime: began, LastSeenAt: began,
				ExpiresAt: now.Add(30 * 24 * time.Hour), Device: "Firefox on Linux", IP: "192.0.2.1", UserAgent: userAgent,
				Counter: 1, RotatedAt: began, TokenExp: now.Add(10 * time.Minute),
			})
		}
		if _, err := st.Commit(ctx, c); err != nil {
			return 0, err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// addRevocations appends entries that no verifier may forget yet.
func addRevocations(ctx context.Context, path string, n int) (err error) {
	st, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	now := time.Now()
	for first := 0; first < n; first += batch {
		c := store.Change{At: now}
		for range min(batch, n-first) {
			c.Revocations = append(c.Revocations, curfew.Revocation{
				Kind: curfew.KindSession, Target: curfew.NewID(), Reason: curfew.ReasonUser, Actor: "user:" + curfew.NewID(),
				RecordedAt: now, ExpiresAt: now.Add(time.Hour),
			})
		}
		if _, err := st.Commit(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
