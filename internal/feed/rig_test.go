package feed_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
)

const (
	issuer = "https://id.example.com"
	lease  = 3 * time.Second
)

// signer is one for all tests of a run: what it signs says nothing about feeds.
var signer = sync.OnceValue(makeSigner)

func makeSigner() *token.Signer {
	key, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		panic(err)
	}
	kid, err := token.KeyID(key.Public())
	if err != nil {
		panic(err)
	}
	s, err := token.NewSigner(kid, token.EdDSA, key)
	if err != nil {
		panic(err)
	}
	return s
}

// rig is an authority's end of the feed over a log in memory.
type rig struct {
	t      *testing.T
	signer *token.Signer
	config func(*feed.HubConfig) // of the next start
	stop   func()

	mu  sync.Mutex
	hub *feed.Hub // nil while the authority is down
	// What follows survives the authority.
	noted     time.Duration
	log       string
	entries   []curfew.Revocation // all that were ever appended
	compacted curfew.Seq
	horizon   time.Time
}

// newRig returns the rig of an authority that runs.
func newRig(t *testing.T, config ...func(*feed.HubConfig)) *rig {
	t.Helper()
	r := &rig{t: t, log: "log-1", signer: signer()}
	if len(config) > 0 {
		r.config = config[0]
	}
	r.start()
	return r
}

// start is a start of the authority: what it does not remember from its store
// it does not know.
func (r *rig) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := feed.HubConfig{
		Noted: r.noted,
		Note: func(_ context.Context, lease time.Duration) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.noted = max(r.noted, lease)
			return nil
		},
	}
	if r.config != nil {
		r.config(&c)
	}
	base := feed.Base{Log: r.log, Seq: r.compacted}
	if !r.horizon.IsZero() {
		base.Horizon = r.horizon.Unix()
	}
	if r.compacted > 0 && int(r.compacted) == len(r.entries) {
		base.Hash = r.position().Hash
	}
	hub := feed.NewHub(c, base)
	hub.Append(r.entries[r.compacted:], r.position())
	hub.Loaded()
	setKeys(hub, r.signer)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); hub.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	r.t.Cleanup(r.stop)
	r.hub = hub
}

// halt stops the authority as a crash does: nobody hears from it any more.
func (r *rig) halt() {
	r.mu.Lock()
	r.hub = nil
	r.mu.Unlock()
	r.stop()
}

func setKeys(h *feed.Hub, signers ...*token.Signer) {
	var version string
	var public []token.PublicKey
	for _, s := range signers {
		version += s.KeyID()[:8]
		public = append(public, s.Public())
	}
	h.SetKeys(issuer, "v-"+version, token.NewKeySet(public...).JWKS())
}

// restore replaces the log by another one, as a restart from a backup does.
func (r *rig) restore(log string, entries []curfew.Revocation) {
	r.halt()
	r.mu.Lock()
	r.log, r.entries = log, slices.Clone(entries)
	r.mu.Unlock()
	r.start()
}

func (r *rig) authority() *feed.Hub {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hub
}

func (r *rig) position() curfew.Position {
	p := curfew.Position{LogID: r.log}
	if n := len(r.entries); n > 0 {
		p.Seq, p.Hash = r.entries[n-1].Seq, r.entries[n-1].Hash
	}
	return p
}

func (r *rig) head() curfew.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.position()
}

// append makes entries durable and then known to the hub, all at once.
func (r *rig) append(entries ...curfew.Revocation) curfew.Seq {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.entries)
	r.entries = chained(r.entries, entries...)
	r.hub.Append(r.entries[n:len(r.entries):len(r.entries)], r.position())
	return r.position().Seq
}

// chained returns a log with more entries, which get their positions.
func chained(log []curfew.Revocation, more ...curfew.Revocation) []curfew.Revocation {
	for _, e := range more {
		var prev curfew.Hash
		if n := len(log); n > 0 {
			prev = log[n-1].Hash
		}
		e.Seq = curfew.Seq(len(log) + 1)
		if e.Reason == "" {
			e.Reason = curfew.ReasonUser
		}
		e.Hash = e.Chain(prev)
		log = append(log, e)
	}
	return log
}

// revoke ends a session.
func (r *rig) revoke(sid string) curfew.Seq { return r.append(ending(sid)) }

func ending(sid string) curfew.Revocation {
	return curfew.Revocation{
		Kind: curfew.KindSession, Target: sid, ExpiresAt: time.Now().Add(10 * time.Minute),
	}
}

// wait returns the receipt of an enforced position, and how long it took.
func (r *rig) wait(seq curfew.Seq) (feed.Receipt, time.Duration) {
	r.t.Helper()
	began := time.Now()
	receipt, err := r.authority().Wait(r.t.Context(), seq)
	if err != nil || receipt.State != feed.Enforced {
		r.t.Errorf("receipt of %d: %+v, %v", seq, receipt, err)
	}
	return receipt, time.Since(began)
}

func (r *rig) claims(sid string) curfew.Claims {
	return curfew.Claims{
		Issuer: issuer, Audience: []string{"curfew"}, Subject: "u", ClientID: "web", ID: curfew.NewID(), Session: sid,
		Iat: time.Now().Unix(), Exp: time.Now().Add(10 * time.Minute).Unix(), Ver: r.head().Seq,
	}
}

func (r *rig) token(sid string) string { return r.sign(r.claims(sid)) }

func (r *rig) sign(c curfew.Claims) string {
	r.t.Helper()
	raw, err := r.signer.Sign(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// direct is a transport without a network. A test can cut it, and see or
// replace what goes through.
type direct struct {
	rig  *rig
	name string

	mu  sync.Mutex
	cut bool
	// before is told of each poll, and answered of each answer, which it may
	// replace. They are called without a lock.
	before   func(*feed.Poll)
	answered func(p *feed.Poll, body []byte, err error) ([]byte, error)
	snapshot func([]byte) []byte
}

var (
	errCut  = errors.New("the link is cut")
	errDown = errors.New("the authority is down")
)

func (d *direct) set(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = cut
}

func (d *direct) hook(set func(*direct)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	set(d)
}

func (d *direct) state() (cut bool, before func(*feed.Poll), answered func(*feed.Poll, []byte, error) ([]byte, error), snapshot func([]byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut, d.before, d.answered, d.snapshot
}

func (d *direct) Poll(ctx context.Context, p *feed.Poll) ([]byte, error) {
	cut, before, answered, _ := d.state()
	if cut {
		return nil, errCut
	}
	if before != nil {
		before(p)
	}
	body, err := d.rig.poll(ctx, d.name, p)
	if answered != nil {
		body, err = answered(p, body, err)
	}
	if cut, _, _, _ := d.state(); cut {
		return nil, errCut
	}
	return body, err
}

// poll asks the authority that runs now.
func (r *rig) poll(ctx context.Context, name string, p *feed.Poll) ([]byte, error) {
	hub := r.authority()
	if hub == nil {
		return nil, errDown
	}
	g, err := hub.Poll(ctx, name, p)
	if err != nil || g == nil {
		return nil, err
	}
	return g.Append(nil), nil
}

func (d *direct) Snapshot(context.Context) (io.ReadCloser, error) {
	cut, _, _, snapshot := d.state()
	hub := d.rig.authority()
	switch {
	case cut:
		return nil, errCut
	case hub == nil:
		return nil, errDown
	}
	text := snapshotText(hub)
	if snapshot != nil {
		text = snapshot(text)
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

func snapshotText(h *feed.Hub) []byte {
	var b bytes.Buffer
	if _, err := h.Snapshot().WriteTo(&b); err != nil {
		panic(err) // a Buffer takes everything
	}
	return b.Bytes()
}

// service is a verifier: a follower and the check.
type service struct {
	*feed.Follower
	*verify.Verifier
	link  *direct
	stop  func() // of Run
	pause func() // in the middle of a check, before it asks for the time
	set   atomic.Pointer[denylist.Set]
}

// target hands on what a follower learns.
type target struct{ v *verify.Verifier }

func (t target) Replace(s *denylist.Set)                     { t.v.Replace(s) }
func (t target) SetIssuer(issuer string, keys *token.KeySet) { t.v.SetIssuer(issuer, keys) }
func (t target) Applied([]curfew.Revocation)                 {}

// witness is the target of a service. It keeps the denylist for a test to see.
type witness struct {
	target
	s *service
}

func (t witness) Replace(set *denylist.Set) {
	t.s.set.Store(set)
	t.target.Replace(set)
}

// Applied must find in the denylist what it is told of.
func (t witness) Applied(entries []curfew.Revocation) {
	for _, e := range entries {
		if e.Kind == curfew.KindSession && e.Issuer == "" && !t.s.denied(e.Target) {
			panic("applied, but not in the denylist: " + e.Target)
		}
	}
}

func (s *service) denied(sid string) bool {
	return s.set.Load().Check(denylist.Levels{Session: sid, Ver: 1 << 60}) != nil
}

// idle returns a service that does not poll by itself.
func (r *rig) idle(name string, config ...func(*feed.FollowerConfig)) *service {
	s := &service{link: &direct{rig: r, name: name}, stop: func() {}}
	s.Verifier = verify.New(verify.Config{
		Audience: "curfew", Denylist: denylist.New(), CacheSize: 64,
		Clock: func() (time.Time, error) {
			if s.pause != nil {
				s.pause()
			}
			return s.Follower.Now()
		},
	})
	c := feed.FollowerConfig{Transport: s.link, Target: witness{target{s.Verifier}, s}}
	for _, set := range config {
		set(&c)
	}
	s.Follower = feed.NewFollower(c)
	return s
}

// service returns a service that runs and has a lease.
func (r *rig) service(name string, config ...func(*feed.FollowerConfig)) *service {
	s := r.idle(name, config...)
	s.run(r.t)
	<-s.Ready()
	return s
}

func (s *service) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	s.stop = func() { cancel(); <-done }
	t.Cleanup(s.stop)
}

// step makes one poll by hand, which must succeed.
func (s *service) step(t *testing.T) {
	t.Helper()
	if err := s.Step(t.Context()); err != nil {
		t.Fatalf("poll: %v", err)
	}
}

func (s *service) applied() curfew.Seq { return s.Status().Position.Seq }

func (r *rig) want(s *service, raw string, want error) {
	r.t.Helper()
	if _, err := s.Check(raw); !errors.Is(err, want) {
		r.t.Errorf("check: %v, want %v", err, want)
	}
}

// clock is the clock of a verifier that a test turns.
type clock struct {
	mu sync.Mutex
	at feed.Instant
}

func newClock() *clock { return &clock{at: feed.Instant{Mono: 1e9, Wall: time.Now().UnixNano()}} }

func (c *clock) now() feed.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// turn moves what each of the two clocks shows.
func (c *clock) turn(mono, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at.Mono += int64(mono)
	c.at.Wall += int64(wall)
}

func withClock(c *clock) func(*feed.FollowerConfig) {
	return func(f *feed.FollowerConfig) { f.Now = c.now }
}

// ticks is a clock that runs at another rate than real time. 0.99 is slow by
// 1 %.
type ticks struct {
	start time.Time
	rate  float64
}

func (k ticks) Now() time.Duration { return time.Duration(float64(time.Since(k.start)) * k.rate) }

func (k ticks) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(time.Duration(float64(d)/k.rate) + 1)
	return t.C, func() { t.Stop() }
}

// instant is the same clock at a verifier.
func (k ticks) instant() feed.Instant {
	d := int64(k.Now())
	return feed.Instant{Mono: d, Wall: k.start.UnixNano() + d}
}
