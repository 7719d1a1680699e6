package sim

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/store"
)

// durable is what survives the authority: its store. A change is in it or not,
// and once it is it stays.
type durable struct {
	w *world

	mu      sync.Mutex
	history int // counts the logs, from 0

	logID      string
	entries    []curfew.Revocation // all that were ever appended to this log
	compacted  curfew.Seq
	horizon    time.Time
	highWater  time.Time
	leaseLife  time.Duration
	everything curfew.Seq
	clients    map[string]curfew.Seq
	subjects   map[string]curfew.Seq
	sessions   map[string]*session
	keys       []keyRow
}

type session struct {
	id, subject, client string
	epoch               curfew.Seq
	tokenExp            int64
	ended               bool
}

type keyRow struct {
	n      int // of the pool
	status store.KeyStatus
}

func newStore(w *world) *durable {
	return &durable{
		w: w, logID: logName(0), clients: map[string]curfew.Seq{}, subjects: map[string]curfew.Seq{},
		sessions: map[string]*session{}, keys: []keyRow{{0, store.KeyActive}, {1, store.KeyAnnounced}},
	}
}

func logName(n int) string { return "log-" + string(rune('a'+n)) }

// copy returns a backup. The caller holds no lock.
func (s *durable) copy() *durable {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &durable{
		w: s.w, history: s.history, logID: s.logID, entries: slices.Clip(s.entries), compacted: s.compacted, horizon: s.horizon,
		highWater: s.highWater, leaseLife: s.leaseLife, everything: s.everything, clients: maps.Clone(s.clients),
		subjects: maps.Clone(s.subjects), sessions: map[string]*session{}, keys: slices.Clone(s.keys),
	}
	for id, row := range s.sessions {
		kept := *row
		out.sessions[id] = &kept
	}
	return out
}

// restore puts a backup in place of what is there. It is followed by what
// internal/authority does after a restore.
func (s *durable) restore(b *durable, now time.Time) (history int, head curfew.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history++
	s.logID = logName(s.history)
	s.entries, s.compacted, s.horizon, s.highWater = b.entries, b.compacted, b.horizon, b.highWater
	s.everything, s.clients, s.subjects = b.everything, maps.Clone(b.clients), maps.Clone(b.subjects)
	s.leaseLife = max(b.leaseLife, maxLease)
	s.sessions = map[string]*session{}
	for id, row := range b.sessions {
		kept := *row
		s.sessions[id] = &kept
	}
	rows := slices.Clone(b.keys)
	now = later(now, s.highWater)
	expires := now.Add(maxLife + time.Second)
	more := []curfew.Revocation{{Kind: curfew.KindEverything, Reason: curfew.ReasonRestored, RecordedAt: now, ExpiresAt: expires}}
	for i, k := range rows {
		if k.status == store.KeyRevoked || k.status == store.KeyRetired {
			continue
		}
		rows[i].status = store.KeyRevoked
		more = append(more, curfew.Revocation{
			Kind: curfew.KindKey, Target: pool()[k.n].KeyID(), Reason: curfew.ReasonRestored, RecordedAt: now, ExpiresAt: expires,
		})
	}
	// Keys of after the backup are not in it, so new ones must be others.
	next := len(s.keys)
	s.keys = append(rows, s.keys[len(rows):]...)
	for i := len(rows); i < len(s.keys); i++ {
		s.keys[i].status = store.KeyRetired
	}
	s.keys = append(s.keys, keyRow{next, store.KeyActive}, keyRow{next + 1, store.KeyAnnounced})
	s.highWater = now
	for _, e := range more {
		s.append(e)
	}
	return s.history, s.head().Seq
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *durable) head() curfew.Position {
	p := curfew.Position{LogID: s.logID}
	if n := len(s.entries); n > 0 {
		p.Seq, p.Hash = s.entries[n-1].Seq, s.entries[n-1].Hash
	}
	return p
}

// append adds an entry to the log. The caller holds mu.
func (s *durable) append(e curfew.Revocation) curfew.Revocation {
	p := s.head()
	e.Seq = p.Seq + 1
	e.Hash = e.Chain(p.Hash)
	s.entries = append(s.entries, e)
	switch e.Kind {
	case curfew.KindEverything:
		s.everything = e.Seq
	case curfew.KindClient:
		s.clients[e.Target] = e.Seq
	case curfew.KindSubject:
		s.subjects[e.Target] = e.Seq
	}
	s.w.seen.commit(commit{at: s.w.now(), history: s.history, entry: e})
	return e
}

// dead reports whether a session counts no more. The caller holds mu.
func (s *durable) dead(row *session) bool {
	return row.ended || row.epoch < s.everything || row.epoch < s.clients[row.client] || row.epoch < s.subjects[row.subject]
}

// change is one commit.
func (s *durable) change(at time.Time, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.highWater = later(s.highWater, at)
	f()
}

// compact drops what no token can need.
func (s *durable) compact(horizon time.Time) curfew.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.horizon = later(s.horizon, horizon)
	for int(s.compacted) < len(s.entries) && !s.entries[s.compacted].ExpiresAt.After(horizon) {
		s.compacted++
	}
	return s.compacted
}

var errStore = errors.New("the store is down")

// Revocations implements revlog.Source.
func (s *durable) Revocations(_ context.Context, after curfew.Seq, limit int) ([]curfew.Revocation, error) {
	d := s.w.dice(forRead, s.w.at())
	time.Sleep(d.between(20*time.Microsecond, 2*time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w.on[storeErrors] && d.chance(0.05) && !s.w.isCalm() {
		return nil, errStore
	}
	if after < s.compacted {
		return nil, store.ErrCompacted
	}
	rest := s.entries[min(int(after), len(s.entries)):]
	return slices.Clip(rest[:min(limit, len(rest))]), nil
}

// State implements revlog.Source.
func (s *durable) State(context.Context) (store.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.State{
		Head: s.head(), Compacted: s.compacted, Horizon: s.horizon, TimeHighWater: s.highWater, LeaseLife: s.leaseLife,
		Everything: s.everything, Clients: maps.Clone(s.clients),
	}, nil
}
