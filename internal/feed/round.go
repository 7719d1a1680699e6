package feed

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/fault"
)

// The states of a revocation that a receipt can name.
const (
	Recorded = "recorded" // durable
	Enforced = "enforced" // no verifier accepts what it names any more
)

// round is the wait until everything up to a position is in force: until each
// verifier that had a lease when the position became the head has acknowledged
// it, or its lease is over. Logouts that arrive together share one.
type round struct {
	id    int64
	from  curfew.Seq // the first position that it covers
	to    curfew.Seq
	left  int  // verifiers that it waits for
	boot  bool // whether it waits for the leases of an earlier run
	quiet bool // not counted: nobody asked for it
	began time.Duration
	at    time.Time
	// deadline is when every lease that was given before the round is over,
	// whatever its holder has asked for since.
	deadline time.Duration
	done     chan struct{}
	receipt  Receipt
}

// Lapse is a verifier that was not waited for any longer, or not yet heard of.
type Lapse struct {
	Verifier   string
	Instance   string
	LeaseUntil time.Time // authority time
}

// Ack is a verifier that acknowledged, and how long after the beginning.
type Ack struct {
	Verifier string
	Instance string
	Took     time.Duration
}

// Receipt says how far a revocation has come.
type Receipt struct {
	Seq        curfew.Seq
	State      string
	Verifiers  int // that had a lease when it became known
	RecordedAt time.Time
	EnforcedAt time.Time
	// Unacknowledged are those whose leases had to run out, or in a receipt of
	// what is only recorded, those that are waited for and until when.
	Unacknowledged []Lapse
	// Acks are the verifiers that acknowledged; kept for small deployments.
	Acks []Ack
}

const (
	keepRounds = 256
	keepAcks   = 256 // verifiers
)

// rounds are those under way, oldest first, and the last that came to an end.
type rounds struct {
	next      int64
	enforced  curfew.Seq
	open      []*round
	closed    []*round // the last keepRounds
	halfAcked bool     // for tests that stop half-way
}

// beginRound begins the round of the head. The caller holds mu and has ended
// the leases that are over.
func (h *Hub) beginRound(quiet bool) {
	rs := &h.rounds
	now := h.cfg.Ticks.Now()
	r := &round{
		id: rs.next, quiet: quiet, from: rs.enforced + 1, to: h.head.Seq, left: h.live.Len(), boot: now < h.boot,
		began: now, at: h.cfg.Time(), deadline: max(now+h.after, h.boot), done: make(chan struct{}),
	}
	if n := len(rs.open); n > 0 {
		r.from = rs.open[n-1].to + 1
	}
	r.receipt = Receipt{Seq: r.to, State: Recorded, Verifiers: r.left, RecordedAt: r.at}
	rs.next++
	rs.open = append(rs.open, r)
	rs.halfAcked = fault.Enabled && r.left > 1
	if r.left == 0 && !r.boot {
		h.endRound(r)
		return
	}
	if len(rs.open) == 1 {
		h.prod()
	}
}

// settle says that rounds up to seq no longer count on l. The caller holds mu.
func (h *Hub) settle(l *lease, seq curfew.Seq) {
	if seq <= l.settled || !l.live {
		return // rounds do not count on whoever has no lease
	}
	rs := &h.rounds
	i := sort.Search(len(rs.open), func(i int) bool { return rs.open[i].to > l.settled })
	l.settled = seq
	var ended []*round
	for _, r := range rs.open[i:] {
		if r.to > seq {
			break
		}
		if r.id < l.joined {
			continue // began before l had a lease
		}
		if l.acked >= r.to && r.receipt.Verifiers <= keepAcks {
			r.receipt.Acks = append(r.receipt.Acks, Ack{l.verifier, l.instance, h.cfg.Ticks.Now() - r.began})
		}
		if r.left--; r.left == 0 && !r.boot {
			ended = append(ended, r)
		}
	}
	for _, r := range ended {
		h.endRound(r)
	}
}

// lapsed notes in the rounds under way that the lease of l had to run out.
func (rs *rounds) lapsed(l *lease, at time.Time) {
	for _, r := range rs.open {
		if r.id >= l.joined && r.to > l.settled && len(r.receipt.Unacknowledged) < keepAcks {
			r.receipt.Unacknowledged = append(r.receipt.Unacknowledged, Lapse{l.verifier, l.instance, at})
		}
	}
}

// expireRounds ends the rounds that have waited out every lease. The caller
// holds mu.
func (h *Hub) expireRounds(now time.Duration) {
	rs := &h.rounds
	if now >= h.boot {
		for _, r := range rs.open {
			r.boot = false
		}
		for len(rs.open) > 0 && rs.open[0].left == 0 {
			h.endRound(rs.open[0])
		}
	}
	for len(rs.open) > 0 && rs.open[0].deadline <= now {
		r := rs.open[0]
		// Verifiers that ask for leases and do not acknowledge what comes with
		// them. Those leases are not usable without it.
		for e := h.live.Front(); e != nil; e = e.Next() {
			l := e.Value.(*lease)
			if r.id >= l.joined && l.settled < r.to {
				r.receipt.Unacknowledged = append(r.receipt.Unacknowledged, Lapse{l.verifier, l.instance, h.cfg.Time()})
				l.settled = r.to
			}
		}
		h.endRound(r)
	}
}

// endRound makes a round and all before it enforced: what has settled with a
// later position has settled with an earlier one. The caller holds mu.
func (h *Hub) endRound(last *round) {
	rs := &h.rounds
	for len(rs.open) > 0 && rs.open[0].to <= last.to {
		r := rs.open[0]
		rs.open = rs.open[1:]
		rs.enforced = r.to
		r.receipt.State, r.receipt.EnforcedAt = Enforced, h.cfg.Time()
		if !r.quiet {
			h.cfg.Enforced(h.cfg.Ticks.Now() - r.began)
		}
		if rs.closed = append(rs.closed, r); len(rs.closed) > 2*keepRounds {
			rs.closed = append([]*round(nil), rs.closed[keepRounds:]...)
		}
		close(r.done)
	}
	if h.owed && rs.enforced >= h.shown {
		h.show() // everybody is back
	}
}

// Wait returns when everything up to seq is in force. The caller must have seen
// seq appended. Its error is ctx's.
func (h *Hub) Wait(ctx context.Context, seq curfew.Seq) (Receipt, error) {
	h.mu.Lock()
	r := h.roundOf(seq)
	receipt := h.status(seq, r)
	h.mu.Unlock()
	if receipt.State == Enforced {
		return receipt, nil
	}
	if r == nil {
		return receipt, fmt.Errorf("revocation %d is not known to the feed", seq)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return receipt, fmt.Errorf("waiting until revocation %d is enforced: %w", seq, context.Cause(ctx))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status(seq, r), nil
}

// Status says how far the revocation at seq has come.
func (h *Hub) Status(seq curfew.Seq) Receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status(seq, h.roundOf(seq))
}

// roundOf returns the round that covers seq, or nil.
func (h *Hub) roundOf(seq curfew.Seq) *round {
	rs := &h.rounds
	for _, list := range [][]*round{rs.open, rs.closed} {
		i := sort.Search(len(list), func(i int) bool { return list[i].to >= seq })
		if i < len(list) && list[i].from <= seq {
			return list[i]
		}
	}
	return nil
}

// status is the receipt of seq, whose round is r. The caller holds mu.
func (h *Hub) status(seq curfew.Seq, r *round) Receipt {
	if r == nil {
		// Of what was loaded at the start, or ended long ago, or nothing at all.
		out := Receipt{Seq: seq, State: Recorded}
		if seq <= h.head.Seq && len(h.rounds.open) == 0 && h.cfg.Ticks.Now() >= h.boot {
			out.State = Enforced
		}
		if seq <= h.rounds.enforced {
			out.State = Enforced
		}
		return out
	}
	out := r.receipt
	out.Seq = seq
	out.Acks = append([]Ack(nil), out.Acks...)
	out.Unacknowledged = append([]Lapse(nil), out.Unacknowledged...)
	if out.State == Enforced {
		return out
	}
	now, at := h.cfg.Ticks.Now(), h.cfg.Time()
	for e := h.live.Front(); e != nil && len(out.Unacknowledged) < keepAcks; e = e.Next() {
		l := e.Value.(*lease)
		if r.id >= l.joined && l.settled < r.to {
			until := min(l.expires, r.deadline)
			out.Unacknowledged = append(out.Unacknowledged, Lapse{l.verifier, l.instance, at.Add(until - now)})
		}
	}
	return out
}

// Verifier is what a hub knows of one verifier process.
type Verifier struct {
	Name     string
	Instance string
	Live     bool
	Applied  curfew.Seq
	Lag      curfew.Seq // entries that it has not acknowledged
	Since    time.Time
	PolledAt time.Time
	Lease    time.Duration // that is left, by the authority's reckoning
}

// Live returns how many verifiers have a lease.
func (h *Hub) Live() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lapse(h.cfg.Ticks.Now())
	return h.live.Len()
}

// Verifiers lists the verifiers that have a lease, and those that lost it not
// long ago.
func (h *Hub) Verifiers() []Verifier {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Ticks.Now()
	h.lapse(now)
	out := make([]Verifier, 0, len(h.leases))
	for _, l := range h.leases {
		if l.released {
			continue
		}
		v := Verifier{
			Name: l.verifier, Instance: l.instance, Live: l.live, Applied: l.acked,
			Lag: max(0, h.head.Seq-l.acked), Since: l.since, PolledAt: l.polled,
		}
		if l.live {
			v.Lease = l.expires - now
		}
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].Instance < out[j].Instance
	})
	return out
}
