package rig

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// SwarmEnv is the variable that holds the SwarmSetup of a process with many
// verifiers or subscribers.
const SwarmEnv = "BENCH_SWARM"

// The kinds of members of a swarm.
const (
	Verifiers   = "verifiers"   // the least that speaks the feed's protocol
	Followers   = "followers"   // the library's own end of the feed
	Subscribers = "subscribers" // the least that speaks to Redis
	GoRedis     = "go-redis"    // subscribers with go-redis
)

// Channel is where subscribers of Redis listen. Each message begins with its
// number.
const Channel = "revocations"

// SwarmSetup is what a swarm is started with.
type SwarmSetup struct {
	Kind  string
	Addr  string // of the authority or of Redis
	Key   string `json:",omitempty"` // of the verifiers
	Count int
}

// SwarmCommand is what the measuring program asks of a swarm.
type SwarmCommand struct {
	Mark   bool `json:",omitempty"` // note from now on what arrives when
	Report bool `json:",omitempty"` // what was noted, and note no more
}

// SwarmReply is the answer; the first comes unasked, when all are there.
type SwarmReply struct {
	// Last is when the last member had a position, in nanoseconds since 1970:
	// First, First+1, …
	First int64   `json:",omitempty"`
	Last  []int64 `json:",omitempty"`
	Err   string  `json:",omitempty"`
}

// Swarm gathers what arrives at its members.
type Swarm struct {
	marking atomic.Bool
	members []*Member

	mu  sync.Mutex
	err error
}

// NewSwarm returns a Swarm of n members.
func NewSwarm(n int) *Swarm {
	s := &Swarm{members: make([]*Member, n)}
	for i := range s.members {
		s.members[i] = &Member{swarm: s}
	}
	return s
}

// Member returns a member.
func (s *Swarm) Member(i int) *Member { return s.members[i] }

// Fail keeps the first failure of a member, for which there is no figure.
func (s *Swarm) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// Err returns the first failure.
func (s *Swarm) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Member notes when it has arrived at which position. Nothing is shared with
// the others while that counts.
type Member struct {
	swarm *Swarm
	begun bool // used by the member alone
	mu    sync.Mutex
	notes []mark
}

type mark struct{ at, pos int64 }

// Arrived says that the member has come from one position to another.
func (m *Member) Arrived(from, to int64) {
	if !m.swarm.marking.Load() {
		m.begun = false
		return
	}
	now := time.Now().UnixNano()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.begun {
		m.begun = true
		m.notes = append(m.notes, mark{now, from}) // complete from here on
	}
	if from != to {
		m.notes = append(m.notes, mark{now, to})
	}
}

// Serve answers the measuring program until standard input ends.
func (s *Swarm) Serve() error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := out.Encode(SwarmReply{}); err != nil {
		return err
	}
	for {
		var c SwarmCommand
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r SwarmReply
		switch {
		case c.Mark:
			s.marking.Store(true)
		case c.Report:
			s.marking.Store(false)
			r.First, r.Last = lastArrivals(s.take())
		}
		if err := s.Err(); err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func (s *Swarm) take() [][]mark {
	out := make([][]mark, len(s.members))
	for i, m := range s.members {
		m.mu.Lock()
		out[i], m.notes = m.notes, nil
		m.mu.Unlock()
	}
	return out
}

// lastArrivals returns for each position when the last member had it. Positions
// before the first mark of some member are not known and left out, and so are
// those that some member never had.
func lastArrivals(all [][]mark) (first int64, last []int64) {
	first, end := int64(0), int64(1<<62)
	for _, m := range all {
		if len(m) == 0 {
			return 0, nil
		}
		first, end = max(first, m[0].pos+1), min(end, m[len(m)-1].pos)
	}
	if len(all) == 0 || end < first {
		return 0, nil
	}
	last = make([]int64, end-first+1)
	for _, m := range all {
		i := 0
		for pos := first; pos <= end; pos++ {
			for m[i].pos < pos {
				i++
			}
			last[pos-first] = max(last[pos-first], m[i].at)
		}
	}
	return first, last
}
