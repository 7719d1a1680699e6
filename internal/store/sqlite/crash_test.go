package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
)

// everyFault is the distance of the operations that fail, one per run.
var everyFault = 1

// TestCommitsAreAtomicUnderFaults runs a workload again and again, with the
// fault at each of its writes and syncs in turn. Whatever the fault, the store
// is whole afterwards: a commit that was answered is there in whole, one that
// was refused is absent in whole, and one of unknown outcome is either.
func TestCommitsAreAtomicUnderFaults(t *testing.T) {
	sqlite.SetCheckpointPages(8)
	t.Cleanup(func() { sqlite.SetCheckpointPages(2000) })
	template := filepath.Join(t.TempDir(), "template.db")
	prepare(t, template)
	step := everyFault
	if testing.Short() {
		step = max(step, 7)
	}
	for _, m := range []mode{lost, applied, forgotten, killed, cut, torn} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			fs, name := newFaultFS(t, m)
			// What is verified need not survive, so it need not be synced.
			_, quiet := newFaultFS(t, "Quiet")
			unknown := 0
			for n := 1; ; n += step {
				r := &run{fs: fs, path: copyStore(t, template), opts: sqlite.Options{VFS: name, Readers: 1}, quiet: quiet}
				fs.arm(n)
				r.work(t)
				hit := fs.wasHit()
				fs.stop(t)
				r.verify(t)
				if t.Failed() {
					t.Fatalf("with the fault at operation %d", n)
				}
				for _, o := range r.outcomes {
					if errors.Is(o.err, store.ErrUnknownOutcome) {
						unknown++
					}
				}
				if !hit {
					t.Logf("%d runs with a fault, %d commits of unknown outcome", (n-1)/step, unknown)
					break
				}
			}
			if unknown == 0 {
				t.Error("no fault hit a commit: the test shows nothing")
			}
		})
	}
}

var day = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

func prepare(t *testing.T, path string) {
	ctx := t.Context()
	if err := sqlite.Create(ctx, path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := db.Commit(ctx, store.Change{
			At: day, InsertUsers: []store.User{{ID: fmt.Sprint("u", i), Status: store.UserActive}},
			Revocations: []curfew.Revocation{{Kind: curfew.KindSession, Target: "old", RecordedAt: day, ExpiresAt: day}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyStore(t *testing.T, from string) string {
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "curfew.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run is one life of a store until it stops.
type run struct {
	fs    *faultFS
	path  string
	opts  sqlite.Options
	quiet string // file system to verify on

	mu       sync.Mutex
	outcomes []outcome
}

// outcome is a commit and how it was answered.
type outcome struct {
	id    string
	err   error
	after bool // the fault was over before it began
}

func (r *run) work(t *testing.T) {
	ctx := t.Context()
	for phase := range 2 {
		db, err := sqlite.Open(ctx, r.path, r.opts)
		if err != nil {
			if !r.fs.wasHit() {
				t.Errorf("Open without a fault: %v", err)
			}
			return
		}
		for i := range 2 {
			r.commit(ctx, db, fmt.Sprintf("p%d-%d", phase, i))
		}
		if _, err := db.Compact(ctx, day); err != nil && !r.fs.wasHit() {
			t.Errorf("Compact without a fault: %v", err)
		}
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { r.commit(ctx, db, fmt.Sprintf("p%d-c%d", phase, i)) })
		}
		wg.Wait()
		if r.fs.mode == forgotten && phase == 1 {
			r.fs.stop(t) // the power fails before the store is closed
		}
		db.Close()
	}
}

// commit makes a change of many parts that all carry the id.
func (r *run) commit(ctx context.Context, db *sqlite.DB, id string) {
	o := outcome{id: id, after: r.fs.wasHit()}
	name := ""
	if id == "p0-0" {
		name = strings.Repeat("x", 20_000) // has the next checkpoint lengthen the file
	}
	rev := curfew.Revocation{Kind: curfew.KindClient, Target: id, RecordedAt: day, ExpiresAt: day.AddDate(1, 0, 0)}
	_, o.err = db.Commit(ctx, store.Change{
		At:             day,
		InsertUsers:    []store.User{{ID: "u" + id, EmailFold: id, Name: name, Status: store.UserActive}},
		InsertSessions: []curfew.Session{{ID: "dead" + id, Subject: "u" + id}},
		Revocations:    []curfew.Revocation{rev, rev},
		Audit:          []audit.Entry{{At: day, Event: audit.SessionLogout, Detail: id}},
	})
	if o.err == nil {
		_, o.err = db.Commit(ctx, r.second(id))
		r.add(outcome{id: id, after: o.after})
		o.id = "end" + id
	}
	r.add(o)
}

// second ends the session of the first change, without knowing its version.
func (r *run) second(id string) store.Change {
	return store.Change{
		At:          day,
		EndSubjects: []store.EndSubject{{Subject: "u" + id, Reason: curfew.ReasonUserAll}},
		Revocations: []curfew.Revocation{{Kind: curfew.KindSubject, Target: "end" + id, RecordedAt: day, ExpiresAt: day.AddDate(1, 0, 0)}},
		Audit:       []audit.Entry{{At: day, Event: audit.SessionLogout, Detail: "end" + id, Count: store.CountEnded}},
	}
}

func (r *run) add(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes = append(r.outcomes, o)
}

func (r *run) verify(t *testing.T) {
	ctx := t.Context()
	db, err := sqlite.Open(ctx, r.path, sqlite.Options{VFS: r.quiet, Readers: 1})
	if err != nil {
		t.Errorf("Open after the fault: %v", err)
		return
	}
	defer db.Close()
	if err := db.Check(ctx); err != nil {
		t.Errorf("Check after the fault: %v", err)
	}
	st, revs, err := db.Snapshot(ctx)
	if err != nil {
		t.Error(err)
	}
	entries, err := db.Audit(ctx, store.AuditFilter{})
	if err != nil {
		t.Error(err)
	}
	for _, o := range r.outcomes {
		parts, want := 0, 0
		for _, rev := range revs {
			if rev.Target == o.id {
				parts++
			}
		}
		for _, e := range entries {
			if e.Detail == o.id {
				parts++
			}
		}
		if first, isEnd := cutEnd(o.id); isEnd {
			want = 3
			if s, err := db.Session(ctx, "dead"+first); err == nil && s.Ended() {
				parts++
			}
		} else {
			want = 6
			if st.Clients[o.id] != 0 {
				parts++
			}
			if _, err := db.Session(ctx, "dead"+o.id); err == nil {
				parts++
			}
			if _, err := db.UserByLogin(ctx, o.id); err == nil {
				parts++
			}
		}
		switch {
		case o.err == nil && parts != want:
			t.Errorf("commit %s was answered; %d of its %d parts are there", o.id, parts, want)
		case errors.Is(o.err, store.ErrUnknownOutcome) && parts != 0 && parts != want:
			t.Errorf("commit %s of unknown outcome: %d of its %d parts are there", o.id, parts, want)
		case errors.Is(o.err, store.ErrUnavailable) && parts != 0:
			t.Errorf("commit %s was refused (%v); %d of its %d parts are there", o.id, o.err, parts, want)
		case o.err != nil && !errors.Is(o.err, store.ErrUnknownOutcome) && !errors.Is(o.err, store.ErrUnavailable):
			t.Errorf("commit %s: %v is none of the contract's errors", o.id, o.err)
		}
		if transient := r.fs.mode == lost || r.fs.mode == applied || r.fs.mode == forgotten; transient && o.after && o.err != nil {
			t.Errorf("commit %s failed when the fault was over: %v", o.id, o.err)
		}
	}
	if _, err := db.Commit(ctx, store.Change{At: day, Revocations: []curfew.Revocation{{Kind: curfew.KindEverything}}}); err != nil {
		t.Errorf("Commit after the fault: %v", err)
	}
	if err := db.Check(ctx); err != nil {
		t.Errorf("Check after a commit after the fault: %v", err)
	}
}

func cutEnd(id string) (string, bool) {
	if len(id) > 3 && id[:3] == "end" {
		return id[3:], true
	}
	return "", false
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	fs, name := newFaultFS(t, lost)
	path := filepath.Join(t.TempDir(), "curfew.db")
	prepare(t, path)
	ctx := t.Context()
	db, err := sqlite.Open(ctx, path, sqlite.Options{VFS: name})
	if err != nil {
		t.Fatal(err)
	}
	before, err := db.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	change := store.Change{At: day, Revocations: []curfew.Revocation{{Kind: curfew.KindEverything}}}
	for range 2 {
		fs.setFull(true)
		if _, err := db.Commit(ctx, change); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("Commit on a full disk: got %v, want %v", err, store.ErrUnavailable)
		}
		if st, err := db.State(ctx); err != nil || st.Head != before.Head {
			t.Errorf("State on a full disk: %+v, %v", st.Head, err)
		}
		fs.setFull(false)
		out, err := db.Commit(ctx, change)
		if err != nil {
			t.Errorf("Commit when there is space again: %v", err)
		}
		before.Head = out.Head
	}
	if err := db.Check(ctx); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
