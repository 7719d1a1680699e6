package feed

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/fault"
	"github.com/curfewhq/curfew/internal/fresh"
	"github.com/curfewhq/curfew/internal/token"
)

// Transport carries polls to the authority. Its errors wrap
// [ErrSnapshotRequired], [ErrInvalidKey] or [ErrBadPoll] where the authority
// said so; after any other error the follower tries again.
type Transport interface {
	// Poll sends p and returns the body of the grant.
	Poll(ctx context.Context, p *Poll) ([]byte, error)
	// Snapshot returns the text of a snapshot. The caller closes it.
	Snapshot(ctx context.Context) (io.ReadCloser, error)
}

// Target is told what a follower learns, in the order in which it must become
// visible. Its methods must not block.
type Target interface {
	// Replace puts another denylist in place. Work that was accepted under the
	// old one must be judged again.
	Replace(set *denylist.Set)
	// SetIssuer puts a key set in place.
	SetIssuer(issuer string, keys *token.KeySet)
	// Applied says that entries are in the denylist.
	Applied(entries []curfew.Revocation)
}

// FollowerConfig is what a Follower works with.
type FollowerConfig struct {
	Transport Transport
	Target    Target
	// Now reads the clocks; nil means those of this process.
	Now func() Instant
	// Sleep waits between failed polls; nil means time.
	Sleep func(ctx context.Context, d time.Duration)
	// MaxEntries bounds the denylist. A verifier that would need more is stale.
	// 0 means 20 million.
	MaxEntries int
	Logger     *slog.Logger // nil = discard
}

// Follower is the verifier's end of the feed. Its methods may be called
// concurrently.
type Follower struct {
	cfg      FollowerConfig
	instance string
	lease    atomic.Pointer[grantLease]
	hold     atomic.Int64 // nanoseconds that a poll may be held
	report   atomic.Bool  // whether activity is wanted

	// mu makes one of polls, confirmations and closing at a time change what
	// follows. It is never held during a call.
	mu      sync.Mutex
	closed  bool
	poll    int64 // of the newest poll
	log     string
	applied curfew.Seq
	hash    string
	keys    string
	set     *denylist.Set
	late    []curfew.Revocation // of a seeded bug only
	heard   Instant             // of the last grant
	failure error               // of the last poll; nil if it was answered
	floor   int64               // authority time that has been told, nanoseconds

	first     chan struct{} // closed at the first lease
	firstOnce sync.Once
	confirms  fresh.Group[struct{}, time.Time]
	seen      seen
}

// grantLease is the right to answer. But for its floor it is immutable.
type grantLease struct {
	sent Instant
	d    int64 // nanoseconds
	base int64 // authority time when the poll arrived, nanoseconds since 1970
	// floor keeps authority time from going back: from one lease to the next,
	// and when the wall clock jumps forward and back again.
	floor atomic.Int64
}

// jump is from when on the wall clock counts as having jumped. Below it the two
// clocks only tick differently.
const jump = int64(time.Millisecond)

// now returns authority time at a reading within the lease.
func (l *grantLease) now(at Instant) int64 {
	t := l.base + at.Mono - l.sent.Mono
	if wall := l.base + at.Wall - l.sent.Wall; wall > t+jump {
		t = wall
		for old := l.floor.Load(); old < t && !l.floor.CompareAndSwap(old, t); old = l.floor.Load() {
		}
	}
	return max(t, l.floor.Load())
}

// Errors that say why a verifier is stale. All wrap [curfew.ErrStale].
var (
	errCold   = fmt.Errorf("%w: it has not heard from the authority yet", curfew.ErrStale)
	errLapsed = fmt.Errorf("%w: its lease ran out", curfew.ErrStale)
	errClosed = fmt.Errorf("%w: it was closed", curfew.ErrStale)
	errFull   = fmt.Errorf("%w: more revocations than it may hold", curfew.ErrStale)
)

// NewFollower returns a Follower that is stale until Run has its first lease.
func NewFollower(cfg FollowerConfig) *Follower {
	if cfg.Now == nil {
		cfg.Now = Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.MaxEntries <= 0 {
		cfg.MaxEntries = 20_000_000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Follower{cfg: cfg, instance: curfew.NewID(), set: denylist.New(), first: make(chan struct{})}
	f.seen.now = cfg.Now
	cfg.Target.Replace(f.set)
	return f
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Instance is the random name of this process at the authority.
func (f *Follower) Instance() string { return f.instance }

// Ready is closed when there has been a lease.
func (f *Follower) Ready() <-chan struct{} { return f.first }

// Now returns authority time, or an error that wraps [curfew.ErrStale] if the
// lease is over. It is the Clock of a [verify.Verifier].
func (f *Follower) Now() (time.Time, error) {
	// The deadline before the clock, and both before the denylist (rule 4).
	l := f.lease.Load()
	if l == nil {
		return time.Time{}, errCold
	}
	at := f.cfg.Now()
	if at.since(l.sent) >= l.d {
		return time.Time{}, errLapsed
	}
	return time.Unix(0, l.now(at)), nil
}

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

// Run polls until ctx is done.
func (f *Follower) Run(ctx context.Context) error {
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		err := f.Step(ctx)
		if ctx.Err() != nil {
			break
		}
		f.noteFailure(err)
		if err == nil {
			backoff = 0
			continue
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		f.cfg.Logger.Warn("polling the authority failed", "err", err, "retry_in", backoff)
		f.cfg.Sleep(ctx, backoff)
	}
	return ctx.Err()
}

func (f *Follower) noteFailure(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = err
}

// Step is one poll and what follows from its answer. Run calls it; tests that
// drive a follower by hand do too.
func (f *Follower) Step(ctx context.Context) error {
	p, sent, ok := f.compose()
	if !ok {
		return errClosed
	}
	body, err := f.cfg.Transport.Poll(ctx, p)
	if errors.Is(err, ErrSnapshotRequired) {
		f.seen.giveBack(p.Seen, sent)
		return f.takeSnapshot(ctx)
	}
	if err == nil {
		_, err = f.accept(p, sent, body)
	}
	if err != nil {
		f.seen.giveBack(p.Seen, sent)
	}
	return err
}

// compose makes the next poll and notes when it is sent: the lease that it
// brings counts from there (rule 1). ok is false when the follower is closed.
func (f *Follower) compose() (p *Poll, sent Instant, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.poll++
	p = &Poll{
		Instance: f.instance, Poll: f.poll, Log: f.log, Seq: f.applied, Hash: f.hash, Keys: f.keys,
		WaitMS: f.hold.Load() / 1e6,
	}
	if l := f.lease.Load(); l == nil || f.cfg.Now().since(l.sent) >= l.d/2 {
		p.WaitMS = 0 // what is needed now is a lease
	}
	if f.report.Load() {
		p.Seen = f.seen.take()
	}
	return p, f.cfg.Now(), !f.closed
}

// accept takes a grant in: entries, keys and horizon first, the lease after
// them, the position last. Nothing of a grant that is not whole is used.
func (f *Follower) accept(p *Poll, sent Instant, body []byte) (*Grant, error) {
	received := f.cfg.Now()
	g, entries, err := ParseGrant(body)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(g.Keys)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errClosed
	}
	if err := f.fits(p, g, entries); err != nil {
		return nil, err
	}
	// A confirmation that was answered meanwhile may have brought some already.
	if skip := min(int(f.applied-p.Seq), len(entries)); skip > 0 {
		entries = entries[skip:]
	}
	f.set.Forget(time.Unix(g.Horizon, 0))
	if fault.On(fault.PurgeByWallClock) {
		f.set.DropWithoutHorizon(time.Unix(0, received.Wall))
	}
	if f.set.Len()+len(entries) > f.cfg.MaxEntries {
		f.drop()
		return nil, errFull
	}
	if fault.On(fault.AckBeforeApply) {
		entries, f.late = f.late, entries
	}
	for i := range entries {
		f.set.Apply(entries[i])
	}
	// Keys are new compared with those that were asked with. If others came
	// meanwhile, these may be older; the next poll tells.
	if keys != nil && p.Keys == f.keys {
		f.cfg.Target.SetIssuer(g.Keys.Issuer, keys)
		f.keys = g.Keys.Version
	}
	if fault.On(fault.LeaseFromReceipt) {
		sent = received
	}
	f.report.Store(g.ReportSeen) // before the lease: activity counts from the first
	f.extend(sent, g)
	f.log, f.heard = g.Log, received
	if g.Seq >= f.applied {
		f.applied, f.hash = g.Seq, g.Hash
	}
	if len(entries) > 0 {
		f.cfg.Target.Applied(entries)
	}
	return g, nil
}

// fits reports whether g answers p, and whether what is in the denylist can be
// continued with its entries. The caller holds mu.
func (f *Follower) fits(p *Poll, g *Grant, entries []curfew.Revocation) error {
	switch {
	case g.Poll != p.Poll || p.Confirm == "" && g.Poll != f.poll:
		// Something between us and the authority answered another question. A
		// lease counted from the sending of this one would be too long.
		return fmt.Errorf("%w: it answers poll %d, not %d", ErrBadAnswer, g.Poll, p.Poll)
	case g.Confirm != p.Confirm:
		return fmt.Errorf("%w: it confirms another request", ErrBadAnswer)
	case g.Log == "" || f.log != "" && g.Log != f.log || p.Log != f.log && f.log != "" && p.Log != "":
		return fmt.Errorf("%w: it is about another log", ErrBadAnswer)
	case len(entries) > 0 && entries[0].Seq != p.Seq+1,
		len(entries) == 0 && g.Seq != p.Seq && !fault.On(fault.GrantWithoutMissed):
		return fmt.Errorf("%w: a gap between %d and %d", ErrBadAnswer, p.Seq, g.Seq)
	case f.applied < p.Seq:
		return fmt.Errorf("%w: overtaken by a snapshot of another log", ErrBadAnswer)
	}
	return nil
}

// extend puts the lease of g in force, which carries everything up to its head.
// The caller holds mu.
func (f *Follower) extend(sent Instant, g *Grant) {
	if g.Confirm != "" {
		return // it says nothing about leases
	}
	if g.LeaseUS == 0 || f.keys == "" {
		f.drop()
		return
	}
	f.raiseFloor()
	next := &grantLease{sent: sent, d: g.LeaseUS * 1000, base: g.TimeUS * 1000}
	next.floor.Store(f.floor)
	f.lease.Store(next)
	f.hold.Store(g.LeaseUS * 1000 / 3)
	f.firstOnce.Do(func() { close(f.first) })
}

// raiseFloor notes up to when authority time has been told, so that it never
// goes back. The caller holds mu.
func (f *Follower) raiseFloor() {
	if l := f.lease.Load(); l != nil {
		at := f.cfg.Now()
		f.floor = max(f.floor, l.floor.Load())
		if at.since(l.sent) < l.d {
			f.floor = max(f.floor, l.now(at))
		} else {
			f.floor = max(f.floor, l.base+l.d)
		}
	}
}

// drop gives the lease up. The caller holds mu.
func (f *Follower) drop() {
	f.raiseFloor()
	f.lease.Store(nil)
}

func parseKeys(k *Keys) (*token.KeySet, error) {
	if k == nil {
		return nil, nil
	}
	if k.Version == "" || k.Issuer == "" {
		return nil, fmt.Errorf("%w: a key set without version or issuer", ErrBadAnswer)
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(k.Set, &set); err != nil {
		return nil, fmt.Errorf("%w: key set: %w", ErrBadAnswer, err)
	}
	var public []token.PublicKey
	for _, raw := range set.Keys {
		// A key of a kind that is not known here verifies nothing here.
		if key, err := token.ParseJWK(raw); err == nil {
			public = append(public, key)
		}
	}
	return token.NewKeySet(public...), nil
}

// takeSnapshot builds another denylist and puts it in place of the old one. It
// brings no lease: the poll after it does.
func (f *Follower) takeSnapshot(ctx context.Context) error {
	f.mu.Lock()
	log, applied, had := f.log, f.applied, f.keys
	f.mu.Unlock()
	body, err := f.cfg.Transport.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	defer body.Close()
	h, set, err := readSnapshot(body, f.cfg.MaxEntries)
	if err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	keys, err := parseKeys(h.Keys)
	if err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if log != f.log || applied != f.applied && h.Seq < f.applied {
		// Something newer has come since it was asked for. It would take us back
		// in time.
		return fmt.Errorf("%w: a snapshot at %d came too late", ErrBadAnswer, h.Seq)
	}
	// A store that was put back by copying files keeps the name of its log.
	if f.log != "" && (h.Log != f.log || h.Seq < f.applied || h.Seq == f.applied && h.Hash != f.hash) {
		// Keys and denylist of two logs do not go together: no verdict until
		// the lease of the new one.
		f.drop()
	}
	// The horizon never falls, also in another log: tokens that were dead stay
	// dead.
	if old := f.set.Horizon(); old.After(time.Unix(h.Horizon, 0)) {
		set.Forget(old)
	}
	if keys != nil && had == f.keys {
		f.cfg.Target.SetIssuer(h.Keys.Issuer, keys)
		f.keys = h.Keys.Version
	}
	// Within one log the old lease runs on: what it was good for is in the new
	// list too.
	f.cfg.Target.Replace(set)
	f.set, f.log, f.applied, f.hash, f.late = set, h.Log, h.Seq, h.Hash, nil
	return nil
}

// readSnapshot reads line by line: a long log is never in memory as text.
func readSnapshot(body io.Reader, limit int) (*SnapshotHeader, *denylist.Set, error) {
	r := bufio.NewReaderSize(body, 1<<16)
	first, err := readLine(r, maxHeader)
	if err != nil {
		return nil, nil, err
	}
	var h SnapshotHeader
	if err := json.Unmarshal(first, &h); err != nil {
		return nil, nil, fmt.Errorf("%w: first line: %w", ErrBadAnswer, err)
	}
	if h.Log == "" || h.Entries < 0 || int64(h.Seq) < h.Entries {
		return nil, nil, fmt.Errorf("%w: %d entries up to %d", ErrBadAnswer, h.Entries, h.Seq)
	}
	if h.Entries > int64(limit) {
		return nil, nil, errFull
	}
	set := denylist.New()
	set.Reserve(int(min(h.Entries, maxReserve)))
	set.Floors(h.Everything, h.Clients)
	for seq := h.Seq - curfew.Seq(h.Entries) + 1; seq <= h.Seq; seq++ {
		text, err := readLine(r, maxLine)
		if err != nil {
			return nil, nil, err
		}
		e, _, err := parseLine(string(text))
		if err != nil {
			return nil, nil, err
		}
		if e.Seq != seq {
			return nil, nil, fmt.Errorf("%w: entry %d in place of %d", ErrBadAnswer, e.Seq, seq)
		}
		set.Apply(e)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		return nil, nil, fmt.Errorf("%w: more than the %d entries it announces", ErrBadAnswer, h.Entries)
	}
	set.SetWatermark(h.Seq)
	set.Forget(time.Unix(h.Horizon, 0))
	return &h, set, nil
}

const (
	maxLine = 1 << 16
	// maxReserve bounds what is set aside for entries that were only announced.
	maxReserve = 2_000_000
)

// readLine returns a line with its end, valid until the next read.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	long := append([]byte(nil), line...)
	for errors.Is(err, bufio.ErrBufferFull) && len(long) <= limit {
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: cut off: %w", ErrBadAnswer, err)
	}
	return long, nil
}

// Close ends the lease at once, so that nothing is accepted any more, and tells
// the authority, so that no logout waits for it (rule 12).
func (f *Follower) Close(ctx context.Context) error {
	f.mu.Lock()
	was := f.closed
	f.closed = true
	f.drop()
	f.poll++
	p := &Poll{Instance: f.instance, Poll: f.poll, Release: true}
	f.mu.Unlock()
	if was {
		return nil
	}
	if _, err := f.cfg.Transport.Poll(ctx, p); err != nil {
		return fmt.Errorf("releasing the lease: %w", err)
	}
	return nil
}

// Status says where a follower stands.
type Status struct {
	Instance string
	Position curfew.Position
	Lease    time.Duration // that is left; 0 or less means stale
	Heard    time.Duration // since the last answer; negative if there was none
	Entries  int
	Err      error // of the last poll, nil if it was answered
}

// Status returns where the follower stands now.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now()
	s := Status{
		Instance: f.instance, Position: curfew.Position{LogID: f.log, Seq: f.applied},
		Entries: f.set.Len(), Err: f.failure, Heard: -1,
	}
	if f.hash != "" {
		s.Position.Hash.UnmarshalText([]byte(f.hash)) // zero if it is none
	}
	if f.log != "" {
		s.Heard = time.Duration(now.since(f.heard))
	}
	if l := f.lease.Load(); l != nil {
		s.Lease = time.Duration(l.d - now.since(l.sent))
	}
	return s
}

// Confirm asks the authority for everything that is new and returns authority
// time, by a round trip that begins after Confirm was called. It needs no lease
// and no clock. Calls that arrive during a round trip share the next one.
func (f *Follower) Confirm(ctx context.Context) (time.Time, error) {
	at, err := f.confirms.Do(ctx, struct{}{}, func() (time.Time, error) {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		defer cancel()
		return f.confirm(ctx)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: asking the authority: %w", curfew.ErrStale, err)
	}
	return at, nil
}

const confirmTimeout = 3 * time.Second

// confirm is one round trip, with a text that nobody can have seen before: an
// answer that was kept somewhere confirms nothing.
func (f *Follower) confirm(ctx context.Context) (time.Time, error) {
	for range 3 {
		f.mu.Lock()
		p := &Poll{
			Instance: f.instance, Poll: f.poll, Log: f.log, Seq: f.applied, Hash: f.hash, Keys: f.keys, Confirm: rand.Text(),
		}
		closed := f.closed
		f.mu.Unlock()
		if closed {
			return time.Time{}, errClosed
		}
		body, err := f.cfg.Transport.Poll(ctx, p)
		if errors.Is(err, ErrSnapshotRequired) {
			if err := f.takeSnapshot(ctx); err != nil {
				return time.Time{}, err
			}
			continue
		}
		if err != nil {
			return time.Time{}, err
		}
		g, err := f.accept(p, Instant{}, body)
		if err != nil {
			return time.Time{}, err
		}
		if !f.tookKeys(g) {
			continue
		}
		return time.UnixMicro(g.TimeUS), nil
	}
	return time.Time{}, ErrSnapshotRequired
}

// tookKeys reports whether the keys that came with g, if any, are those that
// are in place.
func (f *Follower) tookKeys(g *Grant) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return g.Keys == nil || g.Keys.Version == f.keys
}
