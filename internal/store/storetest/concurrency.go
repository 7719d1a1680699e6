package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

var concurrencyTests = map[string]func(*testing.T, *harness){
	"OneOfTwoWritersWins":                 oneOfTwoWritersWins,
	"OneOfManyRefreshesWins":              oneOfManyRefreshesWins,
	"LogoutBeatsConcurrentRefreshes":      logoutBeatsRefreshes,
	"LogIsDenseAndInOrderForReaders":      logIsDenseForReaders,
	"FailedChangeHarmsNoOther":            failedChangeHarmsNoOther,
	"CancelledCallersLoseNoCommit":        cancelledCallersLoseNoCommit,
	"ReadSeesTheCommitThatWasAnswered":    readSeesAnsweredCommit,
	"CloseCarriesOutWhatWasHandedOver":    closeCarriesOut,
	"CompactionIsInvisibleToOrderedReads": compactionAndReaders,
}

// together runs f n times at once and waits.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func oneOfTwoWritersWins(t *testing.T, h *harness) {
	h.begin("u")
	for range 20 {
		read := h.user("u")
		errs := make([]error, 2)
		together(2, func(i int) {
			u := read
			u.Name = fmt.Sprint("writer ", i)
			_, errs[i] = h.Commit(h.ctx, store.Change{UpdateUsers: []store.UserUpdate{{User: u}}})
		})
		winner := slices.Index(errs, nil)
		if winner < 0 || !errors.Is(errs[1-winner], store.ErrConflict) {
			t.Fatalf("two writers on one version: %v", errs)
		}
		if got := h.user("u"); got.Name != fmt.Sprint("writer ", winner) || got.Version != read.Version+1 {
			t.Fatalf("writer %d won, the user is %+v", winner, got)
		}
	}
}

func oneOfManyRefreshesWins(t *testing.T, h *harness) {
	h.begin("u", "s")
	for range 10 {
		read := h.sess("s")
		var won, other atomic.Int64
		together(64, func(int) {
			next := read
			next.Counter++
			_, err := h.Commit(h.ctx, store.Change{
				At: at(1), UpdateSessions: []store.SessionUpdate{{Session: next}},
				Audit: []audit.Entry{{At: at(1), Event: audit.TokenRefreshed, Session: "s"}},
			})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrConflict):
				other.Add(1)
			}
		})
		if won.Load() != 1 || other.Load() != 0 {
			t.Fatalf("%d refreshes won, %d failed otherwise", won.Load(), other.Load())
		}
		if got := h.sess("s"); got.Counter != read.Counter+1 || got.Version != read.Version+1 {
			t.Fatalf("after %+v: %+v", read, got)
		}
	}
	same(t, "audit entries", len(h.audit(store.AuditFilter{Event: audit.TokenRefreshed})), 10)
}

func logoutBeatsRefreshes(t *testing.T, h *harness) {
	for round := range 10 {
		id := fmt.Sprint("s", round)
		h.begin("u", id)
		together(9, func(i int) {
			if i == 0 {
				// One statement of the logout suffices: it needs no version.
				if _, err := h.Commit(h.ctx, endAll("u", "")); err != nil {
					t.Errorf("logout: %v", err)
				}
				return
			}
			for { // refresh until told that the session is over
				s, err := h.Session(h.ctx, id)
				if err != nil {
					t.Errorf("Session: %v", err)
					return
				}
				if s.Ended() {
					return
				}
				s.Counter++
				if _, err := h.Commit(h.ctx, store.Change{At: at(1), UpdateSessions: []store.SessionUpdate{{Session: s}}}); err != nil && !errors.Is(err, store.ErrConflict) {
					t.Errorf("refresh: %v", err)
					return
				}
			}
		})
		if s := h.sess(id); !s.Ended() || s.EndedSeq == 0 {
			t.Fatalf("session survived its logout: %+v", s)
		}
	}
}

func logIsDenseForReaders(t *testing.T, h *harness) {
	const writers, each = 12, 25
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	var readers sync.WaitGroup
	for _, limit := range []int{3, 1000} {
		readers.Go(func() {
			var at curfew.Seq
			var prev curfew.Hash
			for final := false; !final; {
				final = ctx.Err() != nil // one more round after the last commit
				st, err := h.State(h.ctx)
				if err != nil {
					t.Errorf("State: %v", err)
					return
				}
				for at < st.Head.Seq {
					revs, err := h.Revocations(h.ctx, at, limit)
					if err != nil || len(revs) == 0 {
						t.Errorf("head is %d, Revocations after %d: %d entries, %v", st.Head.Seq, at, len(revs), err)
						return
					}
					if prev, err = verifyChain(revs, at, prev); err != nil {
						t.Errorf("reader after %d: %v", at, err)
						return
					}
					at = revs[len(revs)-1].Seq
				}
				if at == st.Head.Seq && prev != st.Head.Hash {
					t.Errorf("the head's hash is not that of entry %d", at)
				}
			}
		})
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			st, revs, err := h.Snapshot(h.ctx)
			if err != nil {
				t.Errorf("Snapshot: %v", err)
				return
			}
			if last, err := verifyChain(revs, 0, curfew.Hash{}); err != nil || last != st.Head.Hash || len(revs) != int(st.Head.Seq) {
				t.Errorf("Snapshot of %d entries with head %d: %v", len(revs), st.Head.Seq, err)
				return
			}
		}
	})

	heads := make([]map[curfew.Seq]int, writers)
	together(writers, func(w int) {
		heads[w] = map[curfew.Seq]int{}
		for i := range each {
			n := 1 + (w+i)%3
			var c store.Change
			for range n {
				c.Revocations = append(c.Revocations, revoke(curfew.KindSession, fmt.Sprintf("%d/%d", w, i)))
			}
			out, err := h.Commit(h.ctx, c)
			if err != nil {
				t.Errorf("Commit: %v", err)
				return
			}
			heads[w][out.Head.Seq] = n
			// The entries are in place, together, when Commit answers.
			revs, err := h.Revocations(h.ctx, out.Head.Seq-curfew.Seq(n), n)
			if err != nil || len(revs) != n || revs[n-1].Hash != out.Head.Hash {
				t.Errorf("entries of the commit at %d: %v, %v", out.Head.Seq, revs, err)
				return
			}
			for _, r := range revs {
				if r.Target != c.Revocations[0].Target {
					t.Errorf("entry %d of another change amid those of one", r.Seq)
				}
			}
		}
	})
	stop()
	readers.Wait()

	covered := map[curfew.Seq]bool{}
	for _, hs := range heads {
		for head, n := range hs {
			for i := range n {
				covered[head-curfew.Seq(i)] = true
			}
		}
	}
	if head := h.state().Head.Seq; len(covered) != int(head) {
		t.Errorf("commits answered for %d positions, the head is %d", len(covered), head)
	}
}

func failedChangeHarmsNoOther(t *testing.T, h *harness) {
	const n = 120
	h.begin("u")
	version := h.user("u").Version
	errs := make([]error, n)
	together(n, func(i int) {
		id := fmt.Sprintf("s%03d", i)
		c := store.Change{
			At: at(1), RequireUsers: []store.UserVersion{{ID: "u", Version: version}},
			InsertSessions: []curfew.Session{aSession(id, "u")},
			Revocations:    []curfew.Revocation{revoke(curfew.KindToken, id)},
			Audit:          []audit.Entry{{At: at(1), Event: audit.LoginSucceeded, Session: id}},
		}
		switch i % 4 {
		case 1: // fails at once
			c.RequireUsers[0].Version++
		case 2: // fails after it has written
			c.DeleteAPIKeys = []string{"none"}
		case 3: // fails by a constraint, after it has written
			c.InsertSessions = append(c.InsertSessions, c.InsertSessions[0])
		}
		_, errs[i] = h.Commit(h.ctx, c)
	})
	kept := map[string]bool{}
	for i, err := range errs {
		want := []error{nil, store.ErrConflict, store.ErrNotFound, store.ErrExists}[i%4]
		if !errors.Is(err, want) {
			t.Errorf("change %d: got %v, want %v", i, err, want)
		}
		if want == nil {
			kept[fmt.Sprintf("s%03d", i)] = true
		}
	}
	c := h.contents()
	same(t, "sessions", len(c.Sessions), len(kept))
	same(t, "revocations", len(c.Revocations), len(kept))
	same(t, "audit entries", len(h.audit(store.AuditFilter{Event: audit.LoginSucceeded})), len(kept))
	for i, s := range c.Sessions {
		if r := c.Revocations[i]; !kept[s.ID] || !kept[r.Target] {
			t.Errorf("a change that failed left session %s or revocation %s", s.ID, r.Target)
		}
	}
}

func cancelledCallersLoseNoCommit(t *testing.T, h *harness) {
	const n = 200
	var sessions []string
	for i := range n {
		sessions = append(sessions, fmt.Sprintf("s%03d", i))
	}
	h.begin("u", sessions...)
	errs := make([]error, n)
	together(n, func(i int) {
		ctx, cancel := context.WithCancel(h.ctx)
		s, err := h.Session(h.ctx, sessions[i])
		if err != nil {
			t.Error(err)
		}
		go cancel() // some in time, some not
		_, errs[i] = h.Commit(ctx, end(s))
	})
	for i, err := range errs {
		s := h.sess(sessions[i])
		switch {
		case err == nil && !s.Ended():
			t.Errorf("the commit that ended %s was answered and lost", s.ID)
		case errors.Is(err, context.Canceled) && s.Ended():
			t.Errorf("the commit that ended %s was carried out and answered with %v", s.ID, err)
		case err != nil && !errors.Is(err, context.Canceled):
			t.Errorf("Commit: %v", err)
		}
	}
}

func readSeesAnsweredCommit(t *testing.T, h *harness) {
	h.begin("u")
	together(16, func(i int) {
		for k := range 10 {
			id := fmt.Sprintf("s%d-%d", i, k)
			if _, err := h.Commit(h.ctx, store.Change{InsertSessions: []curfew.Session{aSession(id, "u")}}); err != nil {
				t.Errorf("Commit: %v", err)
				return
			}
			s, err := h.Session(h.ctx, id)
			if err != nil {
				t.Errorf("read after the commit: %v", err)
				return
			}
			if _, err := h.Commit(h.ctx, end(s)); err != nil {
				t.Errorf("Commit: %v", err)
				return
			}
			if s, err = h.Session(h.ctx, id); err != nil || !s.Ended() {
				t.Errorf("read after the logout: %+v, %v", s, err)
				return
			}
		}
	})
}

func closeCarriesOut(t *testing.T, h *harness) {
	const n = 100
	errs := make([]error, n)
	together(n+1, func(i int) {
		if i == n {
			if err := h.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			return
		}
		_, errs[i] = h.Commit(h.ctx, store.Change{InsertSessions: []curfew.Session{aSession(fmt.Sprintf("s%03d", i), "u")}})
	})
	h.reopen()
	for i, err := range errs {
		_, read := h.Session(h.ctx, fmt.Sprintf("s%03d", i))
		switch {
		case err == nil && read != nil:
			t.Errorf("commit %d was answered and lost: %v", i, read)
		case errors.Is(err, store.ErrUnavailable) && !errors.Is(read, store.ErrNotFound):
			t.Errorf("commit %d was refused and carried out: %v", i, read)
		case err != nil && !errors.Is(err, store.ErrUnavailable):
			t.Errorf("commit %d: %v", i, err)
		}
	}
}

// compactionAndReaders has followers read while the log is compacted under
// them: they get either an unbroken run of entries or ErrCompacted.
func compactionAndReaders(t *testing.T, h *harness) {
	const n = 200
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var pos curfew.Seq
			for ctx.Err() == nil {
				revs, err := h.Revocations(h.ctx, pos, 7)
				if errors.Is(err, store.ErrCompacted) {
					st, kept, err := h.Snapshot(h.ctx)
					if err != nil || curfew.Seq(len(kept)) != st.Head.Seq-st.Compacted {
						t.Errorf("Snapshot of %d entries, compacted %d, head %d: %v", len(kept), st.Compacted, st.Head.Seq, err)
						return
					}
					pos = st.Head.Seq
					continue
				}
				if err != nil {
					t.Errorf("Revocations: %v", err)
					return
				}
				for i, r := range revs {
					if r.Seq != pos+curfew.Seq(i)+1 {
						t.Errorf("gap: %d after %d", r.Seq, pos)
						return
					}
				}
				pos += curfew.Seq(len(revs))
			}
		})
	}
	for i := range n {
		h.appendExpiring(curfew.KindSession, i)
		if i%5 == 0 {
			must(h.Compact(h.ctx, at(i-2)))(t)
		}
	}
	stop()
	readers.Wait()
	same(t, "head", h.state().Head.Seq, curfew.Seq(n))
}
