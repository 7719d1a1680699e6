package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/curfewhq/curfew/internal/feed"
)

const (
	up = iota
	down
)

// network is what lies between the guards and the authority.
type network struct {
	mu   sync.Mutex
	cuts [guards][2]time.Duration // until when a direction is cut
}

func (n *network) cut(guard, direction int, until time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[guard][direction] = max(n.cuts[guard][direction], until)
}

func (n *network) clear(guard, direction int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[guard][direction] = 0
}

func (n *network) open(guard, direction int, at time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[guard][direction] <= at
}

// delay is how long a message takes, and lost whether it arrives.
func (w *world) delay(d *dice) (delay time.Duration, lost bool) {
	if w.isCalm() {
		return d.between(100*time.Microsecond, 5*time.Millisecond), false
	}
	delay = d.between(w.fast, w.slow)
	if d.chance(w.pTail) {
		delay += min(d.about(time.Second), 8*time.Second)
	}
	return delay, d.chance(w.pLoss)
}

// link is the transport of one process of a guard.
type link struct {
	p *process

	mu     sync.Mutex
	newest [2]*call // poll, and confirmation
}

// call is a request that waits for its answer.
type call struct {
	answers chan answer
	mu      sync.Mutex
	over    bool
}

type answer struct {
	body []byte
	err  error
}

var (
	errTimeout = errors.New("no answer")
	errRefused = errors.New("connection refused")
	errDead    = errors.New("this process is dead")
)

// give hands an answer to whoever waits for it and reports whether somebody
// does.
func (c *call) give(a answer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.over = true
	c.answers <- a // there is room for one
	return true
}

// Poll implements feed.Transport.
func (l *link) Poll(ctx context.Context, p *feed.Poll) ([]byte, error) {
	kind := forPoll
	switch {
	case p.Release:
		kind = forRelease
	case p.Confirm != "":
		kind = forConfirm
	}
	l.p.gate(kind)
	w, g := l.p.w, l.p.g
	at := w.at()
	c := &call{answers: make(chan answer, 1)}
	if !p.Release {
		l.mu.Lock()
		l.newest[kind-forPoll] = c
		l.mu.Unlock()
	}
	copies := uint64(1)
	if w.dice(kind, uint64(g.id), at).chance(w.pDouble) && !w.isCalm() {
		copies = 2
	}
	for i := range copies {
		q := *p
		q.Instance = l.p.instance // random ones would make each run another
		w.spawn(func() { l.carry(c, &q, w.dice(forCarry, kind, uint64(g.id), at, i)) })
	}
	a := l.await(ctx, c, time.Duration(p.WaitMS)*time.Millisecond+time.Second)
	l.p.gate(kind)
	if !l.p.gone() {
		w.tracef("guard %d: poll %d at %d: %v", g.id, p.Poll, p.Seq, a.err)
	}
	return a.body, a.err
}

// await waits for an answer as long as a client does.
func (l *link) await(ctx context.Context, c *call, limit time.Duration) answer {
	t := time.NewTimer(l.p.g.clock.real(limit))
	defer t.Stop()
	var a answer
	select {
	case a = <-c.answers:
		return a
	case <-t.C:
		a.err = errTimeout
	case <-ctx.Done():
		a.err = ctx.Err()
	case <-l.p.ctx.Done():
		a.err = errDead
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return a
}

// carry takes one copy of a poll to the authority and its answer back.
func (l *link) carry(c *call, p *feed.Poll, d *dice) {
	w, g := l.p.w, l.p.g
	auth := l.deliver(c, d)
	if auth == nil {
		return
	}
	grant, err := auth.hub.Poll(auth.ctx, g.name(), p)
	if auth.isDead() {
		if d.chance(0.5) {
			c.give(answer{err: io.ErrUnexpectedEOF})
		}
		return
	}
	a := answer{err: err}
	if grant != nil {
		a.body = grant.Append(nil)
		if w.on[tornAnswers] && d.chance(0.03) && !w.isCalm() {
			a.body = a.body[:d.below(len(a.body))]
		}
	}
	delay, lost := w.delay(d)
	if lost || !w.sleep(delay) || !w.net.open(g.id, down, w.now()) {
		return
	}
	if c.give(a) || !w.on[strayAnswers] || !d.chance(0.5) || w.isCalm() {
		return
	}
	// Something in between hands an answer to another question.
	l.mu.Lock()
	other := l.newest[d.below(2)]
	l.mu.Unlock()
	if other != nil && other.give(a) {
		w.seen.count(func(s *summary) { s.Strays++ })
	}
}

// deliver takes a request to the authority and returns it, or nil. Where nobody
// listens there, the answer says so, or there is none.
func (l *link) deliver(c *call, d *dice) *authority {
	w, g := l.p.w, l.p.g
	delay, lost := w.delay(d)
	if lost || !w.sleep(delay) || !w.net.open(g.id, up, w.now()) {
		return nil
	}
	if w.isCalm() && l.p.gone() {
		return nil
	}
	if a := w.up(); a != nil {
		return a
	}
	delay, lost = w.delay(d)
	if !lost && w.sleep(delay) && w.net.open(g.id, down, w.now()) {
		c.give(answer{err: errRefused})
	}
	return nil
}

// Snapshot implements feed.Transport.
func (l *link) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	l.p.gate(forSnapshot)
	w, g := l.p.w, l.p.g
	c := &call{answers: make(chan answer, 1)}
	d := w.dice(forSnapshot, uint64(g.id), w.at())
	w.spawn(func() {
		auth := l.deliver(c, d)
		if auth == nil {
			return
		}
		var b bytes.Buffer
		if _, err := auth.hub.Snapshot().WriteTo(&b); err != nil {
			w.t.Errorf("writing a snapshot: %v", err)
		}
		text := b.Bytes()
		if w.on[tornAnswers] && d.chance(0.1) && !w.isCalm() {
			text = text[:d.below(len(text))]
		}
		delay, lost := w.delay(d)
		if !lost && w.sleep(delay) && w.net.open(g.id, down, w.now()) {
			c.give(answer{body: text})
		}
	})
	a := l.await(ctx, c, 5*time.Second)
	l.p.gate(forSnapshot)
	if !l.p.gone() {
		w.tracef("guard %d: snapshot of %d bytes, %v", g.id, len(a.body), a.err)
	}
	w.seen.count(func(s *summary) {
		if a.err == nil {
			s.Snapshots++
		}
	})
	if a.err != nil {
		return nil, a.err
	}
	return io.NopCloser(bytes.NewReader(a.body)), nil
}
