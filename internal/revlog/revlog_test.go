package revlog_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/revlog"
	"github.com/curfewhq/curfew/internal/store"
)

// source is a log in memory.
type source struct {
	mu        sync.Mutex
	entries   []curfew.Revocation // all that were ever appended
	compacted curfew.Seq
	err       error
	reads     int
}

func (s *source) append(sids ...string) curfew.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sid := range sids {
		var prev curfew.Hash
		if n := len(s.entries); n > 0 {
			prev = s.entries[n-1].Hash
		}
		r := curfew.Revocation{
			Seq: curfew.Seq(len(s.entries) + 1), Kind: curfew.KindSession, Target: sid,
			Reason: curfew.ReasonUser, ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Microsecond),
		}
		r.Hash = r.Chain(prev)
		s.entries = append(s.entries, r)
	}
	return curfew.Seq(len(s.entries))
}

func (s *source) Revocations(_ context.Context, after curfew.Seq, limit int) ([]curfew.Revocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.err != nil {
		return nil, s.err
	}
	if after < s.compacted {
		return nil, store.ErrCompacted
	}
	rest := s.entries[after:]
	return rest[:min(limit, len(rest))], nil
}

func (s *source) State(context.Context) (store.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := store.State{Compacted: s.compacted}
	if n := len(s.entries); n > 0 {
		st.Head = curfew.Position{LogID: "log", Seq: s.entries[n-1].Seq, Hash: s.entries[n-1].Hash}
	}
	return st, s.err
}

func open(t *testing.T, src *source) (*revlog.Log, *denylist.Set) {
	t.Helper()
	deny := denylist.New()
	l, err := revlog.Open(t.Context(), src, deny, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l, deny
}

func denied(d *denylist.Set, sid string) bool { return d.Check(denylist.Levels{Session: sid}) != nil }

func TestOpenHasWhatWasRevokedBefore(t *testing.T) {
	src := &source{}
	src.append("a", "b")
	l, deny := open(t, src)
	if !denied(deny, "a") || !denied(deny, "b") || denied(deny, "c") || l.Position().Seq != 2 {
		t.Errorf("position %v", l.Position())
	}
}

// Progress must not overtake data: whoever waited finds the entry in force.
func TestWaitReturnsWhenTheEntryIsInForce(t *testing.T) {
	src := &source{}
	l, deny := open(t, src)
	var wg sync.WaitGroup
	for _, sid := range strings.Split("abcdefghijklmnop", "") {
		wg.Go(func() {
			seq := src.append(sid)
			if err := l.Wait(t.Context(), seq); err != nil {
				t.Error(err)
			}
			if !denied(deny, sid) {
				t.Errorf("%s is accepted after the wait for %d", sid, seq)
			}
		})
	}
	wg.Wait()
	if got := l.Position(); got.Seq != 16 || got.Hash != src.entries[15].Hash {
		t.Errorf("position %v", got)
	}
}

func TestWaitPastTheEndIsAnErrorNotAPromise(t *testing.T) {
	l, _ := open(t, &source{})
	if err := l.Wait(t.Context(), 1); err == nil {
		t.Error("an entry that does not exist is in force")
	}
}

func TestRunFollowsWithoutASignalAndOutlivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		l, deny := open(t, src)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.Run(ctx) }()

		src.append("unsignalled")
		time.Sleep(2 * time.Second)
		if !denied(deny, "unsignalled") {
			t.Error("an entry that nobody signalled is not in force after two seconds")
		}
		src.mu.Lock()
		src.err, src.reads = errors.New("disk"), 0
		src.mu.Unlock()
		src.append("later")
		for range 100 {
			l.Wake()
		}
		time.Sleep(10 * time.Second)
		src.mu.Lock()
		if src.reads > 40 {
			t.Errorf("%d reads in ten seconds of failure", src.reads)
		}
		src.err = nil
		src.mu.Unlock()
		time.Sleep(2 * time.Second)
		if !denied(deny, "later") {
			t.Error("the follower has not recovered")
		}
		cancel()
		<-done
	})
}

// Nothing may be lost at the compaction boundary.
func TestAFollowerBehindTheCompactionStartsFromWhatIsKept(t *testing.T) {
	src := &source{}
	src.append("a")
	l, deny := open(t, src)
	src.append("b", "c", "d")
	src.mu.Lock()
	src.compacted = 2
	src.mu.Unlock()
	if err := l.Wait(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if !denied(deny, "c") || !denied(deny, "d") {
		t.Error("an entry after the compaction is missing")
	}
	if l.Position().LogID != "log" {
		t.Errorf("position %v", l.Position())
	}
}

func TestAnEntryThatDoesNotFollowIsRefused(t *testing.T) {
	src := &source{}
	src.append("a")
	l, deny := open(t, src)
	src.append("b", "c")
	src.entries[1].Target = "somebody else" // the hash no longer fits
	if err := l.Wait(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "does not follow") {
		t.Errorf("wait: %v", err)
	}
	if denied(deny, "somebody else") || l.Position().Seq != 1 {
		t.Errorf("a forged entry was applied; position %v", l.Position())
	}
}
