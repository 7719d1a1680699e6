package feed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/verify"
	"github.com/curfewhq/curfew/internal/wiretest"
	"github.com/google/go-cmp/cmp"
)

// player plays one dialogue with a real Follower. It answers for the clocks and
// for the transport, and has the follower do one thing at a time.
type player struct {
	t        *testing.T
	follower *feed.Follower
	verifier *verify.Verifier
	tokens   map[string]wiretest.Token
	now      feed.Instant

	calls   chan call // what the follower asks the transport for
	idle    chan error
	pending *call

	confirmed time.Time
	stale     error
}

// call is a request that waits for its answer.
type call struct {
	poll   *feed.Poll // nil for a snapshot
	answer chan answer
}

type answer struct {
	body []byte
	err  error
}

func (p *player) ask(poll *feed.Poll) ([]byte, error) {
	c := call{poll, make(chan answer, 1)}
	p.calls <- c
	a := <-c.answer
	return a.body, a.err
}

// Poll implements [feed.Transport].
func (p *player) Poll(_ context.Context, poll *feed.Poll) ([]byte, error) { return p.ask(poll) }

// Snapshot implements [feed.Transport].
func (p *player) Snapshot(context.Context) (io.ReadCloser, error) {
	body, err := p.ask(nil)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(&reader{body}), nil
}

// reader hands out a byte at a time: no reader may count on more.
type reader struct{ rest []byte }

func (r *reader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	b[0], r.rest = r.rest[0], r.rest[1:]
	return 1, nil
}

// begin has the follower do f, and returns what it asks for first.
func (p *player) begin(f func() error) *call {
	p.idle = make(chan error, 1)
	go func() { p.idle <- f() }()
	return p.next()
}

// next returns the follower's next request, or nil when it is done.
func (p *player) next() *call {
	select {
	case c := <-p.calls:
		return &c
	case <-p.idle:
		return nil
	}
}

func TestVectors(t *testing.T) {
	tokens := wiretest.Tokens()
	for _, v := range wiretest.All() {
		t.Run(v.Name, func(t *testing.T) {
			p := &player{t: t, tokens: tokens, calls: make(chan call), now: feed.Instant{Wall: v.WallUS * 1000}}
			p.verifier = verify.New(verify.Config{
				Audience: v.Audience, Denylist: denylist.New(), CacheSize: 64,
				Clock: func() (time.Time, error) { return p.follower.Now() },
			})
			p.follower = feed.NewFollower(feed.FollowerConfig{
				Transport: p, Target: target{p.verifier}, Now: func() feed.Instant { return p.now },
			})
			for i, s := range v.Steps {
				if !p.play(s) || t.Failed() {
					t.Fatalf("step %d, at %d µs. %s", i, s.AtUS, v.Why)
				}
			}
		})
	}
}

func (p *player) play(s wiretest.Step) bool {
	forward := s.AtUS*1000 - p.now.Mono
	p.now.Mono += forward
	p.now.Wall += forward
	switch {
	case s.Poll != nil:
		p.abandon()
		return p.sends(p.begin(func() error { return p.follower.Step(p.t.Context()) }), s.Poll)
	case s.Confirm != nil:
		p.abandon()
		p.stale = errors.New("not answered")
		return p.sends(p.begin(func() error {
			p.confirmed, p.stale = p.follower.Confirm(p.t.Context())
			return p.stale
		}), s.Confirm)
	case s.Close != nil:
		p.abandon()
		return p.sends(p.begin(func() error { return p.follower.Close(p.t.Context()) }), s.Close)
	case s.Snapshot:
		if p.pending == nil || p.pending.poll != nil {
			p.t.Error("it does not ask for a snapshot")
			return false
		}
	case s.Lost:
		p.answer(nil, errors.New("lost"))
	case s.Reply != nil:
		p.reply(s.Reply)
	case s.Check != nil:
		for name, want := range s.Check {
			_, err := p.verifier.Check(p.token(name))
			p.verdict(name, err, want)
		}
	case s.StrictCheck != nil:
		for name, want := range s.StrictCheck {
			err := p.stale
			if err == nil {
				_, err = p.verifier.CheckAt(p.token(name), p.confirmed)
			} else {
				err = fmt.Errorf("%w: %w", curfew.ErrStale, err)
			}
			p.verdict(name, err, want)
		}
	case s.Active != nil:
		for _, name := range s.Active {
			c, err := p.verifier.Check(p.token(name))
			if err != nil {
				p.t.Errorf("%s: %v", name, err)
				return false
			}
			p.follower.Seen(c.Session)
		}
	default:
		p.now.Wall += s.WallJumpUS * 1000
	}
	return true
}

// abandon gives up a request that is never answered.
func (p *player) abandon() {
	for p.pending != nil {
		p.answer(nil, errors.New("never answered"))
	}
}

func (p *player) token(name string) string {
	raw, ok := p.tokens[name]
	if !ok {
		p.t.Fatalf("no token %s", name)
	}
	return raw.Text
}

// sends compares a request with what is expected of it.
func (p *player) sends(c *call, want wiretest.Expected) bool {
	p.pending = c
	if c == nil || c.poll == nil {
		p.t.Error("it sends no poll")
		return false
	}
	text, err := json.Marshal(c.poll)
	if err != nil {
		p.t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(text, &got); err != nil {
		p.t.Fatal(err)
	}
	if !curfew.ValidID(c.poll.Instance) || c.poll.Instance != p.follower.Instance() {
		p.t.Errorf("instance %q", c.poll.Instance)
	}
	for name, value := range want {
		if string(value) == "null" {
			if got[name] != nil {
				p.t.Errorf("%s is %s, want none", name, got[name])
			}
			continue
		}
		var a, b any
		if got[name] != nil {
			if err := json.Unmarshal(got[name], &a); err != nil {
				p.t.Fatal(err)
			}
		}
		if err := json.Unmarshal(value, &b); err != nil {
			p.t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			p.t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
	}
	return !p.t.Failed()
}

// answer lets the follower go on until it asks again or is done.
func (p *player) answer(body []byte, err error) {
	if p.pending == nil {
		p.t.Fatal("nothing is asked")
	}
	p.pending.answer <- answer{body, err}
	p.pending = p.next()
}

func (p *player) reply(r *wiretest.Reply) {
	var body []byte
	if p.pending != nil && p.pending.poll != nil {
		body = r.Bytes(p.pending.poll.Poll, p.pending.poll.Confirm)
	} else {
		body = r.Bytes(0, "")
	}
	switch r.Status {
	case 200, 204:
		p.answer(body, nil)
	case 409:
		p.answer(nil, feed.ErrSnapshotRequired)
	case 401:
		p.answer(nil, feed.ErrInvalidKey)
	default:
		p.answer(nil, fmt.Errorf("status %d", r.Status))
	}
}

func (p *player) verdict(name string, err error, want wiretest.Verdict) {
	got := wiretest.OK
	switch {
	case errors.Is(err, curfew.ErrStale):
		got = wiretest.Stale
	case errors.Is(err, curfew.ErrRevoked):
		got = wiretest.Revoked
	case errors.Is(err, curfew.ErrExpired):
		got = wiretest.Expired
	case err != nil:
		got = wiretest.Invalid
	}
	if got != want {
		p.t.Errorf("%s is %s (%v), want %s", name, got, err, want)
	}
}
