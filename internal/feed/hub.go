package feed

import (
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/fault"
)

// HubConfig is what a Hub works with. The zero value of a field means the
// default that it names.
type HubConfig struct {
	Lease time.Duration // 3 seconds
	// Noted is the longest lease that was ever given by this store's authority,
	// as Note kept it: 0 if none ever was. Until it is over the hub calls
	// nothing enforced (rule 6).
	Noted time.Duration
	// Note makes durable that leases of a length are given. It is called before
	// the first of them. Nil keeps nothing, for hubs that never restart.
	Note func(ctx context.Context, lease time.Duration) error
	// Time returns authority time; nil means time.Now.
	Time func() time.Time
	// Ticks is the clock of leases; nil means that of this process.
	Ticks Ticks
	// Seen is told when a person was last active in a session; nil means that
	// nobody wants to know.
	Seen func(session string, at time.Time)
	// Enforced is told how long revocations took from being recorded to being
	// in force, and Lapsed of each lease that ran out.
	Enforced func(lag time.Duration)
	Lapsed   func(verifier string)
	// MaxVerifiers bounds the leases; 50,000.
	MaxVerifiers int
	Logger       *slog.Logger // nil = discard
}

// Hub is the authority's end of the feed. Its methods may be called
// concurrently, but Begin, Append and Forget by one goroutine at a time. Run
// must run.
type Hub struct {
	cfg   HubConfig
	hold  time.Duration // at most, of a poll that has nothing new
	after time.Duration // when a lease that is given now is over: D_A
	boot  time.Duration // leases of an earlier run may last until then

	kick chan struct{} // wakes Run when there is an earlier deadline

	noting sync.Mutex
	noted  time.Duration

	// mu is the one lock of rule 5. It covers the head, the leases and the
	// rounds, so that a grant is either composed and noted before a round
	// begins, or carries what the round is about.
	mu      sync.Mutex
	tail    *tail
	head    curfew.Position
	keys    *Keys
	changed chan struct{} // closed and replaced when head or keys change
	drops   int           // how often Drop was called
	// shown is the head that polls are woken for, and showed when they last
	// were; owed says that there is a newer one.
	shown  curfew.Seq
	showed time.Duration
	owed   bool

	leases  map[leaseKey]*lease
	live    *list.List // of *lease, in order of expiry: all leases are equally long
	gone    *list.List // of *lease that ran out, for people to see
	rounds  rounds
	loaded  bool
	stopped bool
}

type leaseKey struct{ verifier, instance string }

// lease is what the hub knows of one verifier process.
type lease struct {
	leaseKey
	elem    *list.Element
	live    bool
	expires time.Duration
	since   time.Time
	polled  time.Time
	acked   curfew.Seq
	// settled is up to which position rounds no longer count on this verifier,
	// and joined the first round that does.
	settled curfew.Seq
	joined  int64
	poll    int64
	// released is final: a poll that was on its way at the same time gets no
	// lease that nobody would use and everybody would wait for.
	released bool
}

// NewHub returns a Hub that stands at b.
func NewHub(cfg HubConfig, b Base) *Hub {
	if cfg.Lease <= 0 {
		cfg.Lease = 3 * time.Second
	}
	if cfg.Time == nil {
		cfg.Time = time.Now
	}
	if cfg.Ticks == nil {
		cfg.Ticks = NewMonotonic()
	}
	if cfg.MaxVerifiers <= 0 {
		cfg.MaxVerifiers = 50_000
	}
	if cfg.Enforced == nil {
		cfg.Enforced = func(time.Duration) {}
	}
	if cfg.Lapsed == nil {
		cfg.Lapsed = func(string) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{
		cfg: cfg, hold: cfg.Lease / 3, after: Wait(cfg.Lease),
		kick: make(chan struct{}, 1), changed: make(chan struct{}),
		leases: map[leaseKey]*lease{}, live: list.New(), gone: list.New(),
	}
	if fault.On(fault.WaitWithoutDrift) {
		h.after = cfg.Lease
	}
	if cfg.Noted > 0 && !fault.On(fault.NoWaitAfterRestart) {
		h.boot = cfg.Ticks.Now() + Wait(cfg.Noted)
	}
	h.noted = cfg.Noted
	h.begin(b)
	return h
}

// Begin starts over from a base: everything before it is compacted. Verifiers
// that stand before it will need a snapshot.
func (h *Hub) Begin(b Base) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin(b)
}

func (h *Hub) begin(b Base) {
	h.tail = newTail(b)
	h.head = curfew.Position{LogID: b.Log, Seq: b.Seq, Hash: b.Hash}
	h.shown = b.Seq
}

// Append makes entries known that follow the head, the last of them at. From
// here on every grant carries them.
func (h *Hub) Append(entries []curfew.Revocation, at curfew.Position) {
	if len(entries) == 0 {
		return
	}
	h.mu.Lock()
	for i := range entries {
		h.tail.add(&entries[i])
	}
	h.head = at
	h.lapse(h.cfg.Ticks.Now())
	if h.loaded {
		h.beginRound(false)
	}
	h.show()
	t := h.tail
	h.mu.Unlock()

	// Nobody else adds, so what is compressed does not change meanwhile, and
	// polls need not wait for it.
	for {
		s, ok := t.compress()
		if !ok {
			return
		}
		h.mu.Lock()
		t.take(s)
		h.mu.Unlock()
	}
}

// Loaded says that what was appended so far is what the authority started
// with. It is in force when no lease of an earlier run can be out there.
func (h *Hub) Loaded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.loaded = true; h.head.Seq > 0 {
		h.beginRound(true)
	}
}

// Forget drops what no token can need that lives beyond the horizon, which must
// be durable.
func (h *Hub) Forget(horizon time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tail.forget(horizon.Unix())
}

// SetKeys puts a key set in place, which every verifier gets at once.
func (h *Hub) SetKeys(issuer, version string, jwks []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys != nil && h.keys.Version == version && h.keys.Issuer == issuer {
		return
	}
	h.keys = &Keys{Version: version, Issuer: issuer, Set: json.RawMessage(jwks)}
	h.announce()
}

// perVerifier is more than it costs to serve one poll, at both ends. Waking many
// verifiers for each entry keeps the machine busy with polls that bring one
// entry each; when all of them are back, the next polls bring all that came
// meanwhile, and sooner.
const (
	perVerifier = 100 * time.Microsecond
	minPace     = time.Millisecond
)

// pace is how long the verifiers have for coming back after they were woken,
// before those that are back are woken again. It is nothing for few of them.
func (h *Hub) pace() time.Duration {
	pace := min(time.Duration(h.live.Len())*perVerifier, h.cfg.Lease/10)
	if pace < minPace {
		return 0
	}
	return pace
}

// show wakes the polls that wait for the head, now or when it is time. The
// caller holds mu.
func (h *Hub) show() {
	now := h.cfg.Ticks.Now()
	if h.rounds.enforced < h.shown && now-h.showed < h.pace() {
		if !h.owed {
			h.owed = true
			h.prod()
		}
		return
	}
	h.shown, h.showed, h.owed = h.head.Seq, now, false
	h.announce()
}

// announce wakes the polls that wait. The caller holds mu.
func (h *Hub) announce() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Poll answers a verifier that has shown to be the named one. It returns when
// there is something new, or when p has waited as long as it may. Its errors
// are [ErrBadPoll], [ErrSnapshotRequired], [ErrTooManyVerifiers], those of
// HubConfig.Note, and ctx's. A release is answered with nil.
func (h *Hub) Poll(ctx context.Context, verifier string, p *Poll) (*Grant, error) {
	return h.PollWhile(ctx, verifier, p, func() error { return nil })
}

// PollWhile is Poll for a verifier that may lose its right to poll while it
// waits: allowed says, with the error to answer, just before a lease is given.
// It must not block.
func (h *Hub) PollWhile(ctx context.Context, verifier string, p *Poll, allowed func() error) (*Grant, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	arrived := h.cfg.Time()
	key := leaseKey{verifier, p.Instance}
	if p.Release {
		h.release(key)
		return nil, nil
	}
	if p.Confirm == "" {
		if err := h.note(ctx); err != nil {
			return nil, err
		}
	}
	h.reportSeen(p, arrived)

	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.place(p); err != nil {
		return nil, err
	}
	l := h.leases[key]
	if l != nil {
		h.ack(l, p)
	}
	// Whoever has no lease here needs one now.
	if p.Confirm == "" && p.WaitMS > 0 && l != nil && l.live {
		if err := h.wait(ctx, p); err != nil {
			return nil, err
		}
		// The log may have been replaced or compacted while we waited.
		if err := h.place(p); err != nil {
			return nil, err
		}
	}
	if err := allowed(); err != nil {
		return nil, err
	}
	g := &Grant{
		Poll: p.Poll, Confirm: p.Confirm, Log: h.head.LogID, Seq: h.head.Seq, Hash: hashText(h.head),
		TimeUS: arrived.UnixMicro(), Horizon: h.tail.floors.Horizon, ReportSeen: h.cfg.Seen != nil,
	}
	g.Lines, _ = h.tail.after(p.Seq) // place has checked
	g.Entries = int(h.head.Seq - p.Seq)
	if fault.On(fault.GrantWithoutMissed) {
		g.Lines, g.Entries = nil, 0
	}
	if h.keys != nil && p.Keys != h.keys.Version {
		g.Keys = h.keys
	}
	if p.Confirm == "" {
		if err := h.lend(key, p); err != nil {
			return nil, err
		}
		g.LeaseUS = h.cfg.Lease.Microseconds()
	}
	return g, nil
}

// hashText is the hash of a position on the wire: empty at the very beginning.
func hashText(p curfew.Position) string {
	if p.Hash == (curfew.Hash{}) {
		return ""
	}
	return p.Hash.String()
}

// place reports whether the log can be continued from where p stands: the same
// log, the same entry there, and everything after it at hand. A position ahead
// of the head is not early: this authority was restored from a backup.
func (h *Hub) place(p *Poll) error {
	if p.Log == "" && p.Seq == 0 && h.tail.first == 1 && len(h.tail.segments) == 0 {
		return nil // a fresh verifier, and all of the log is here
	}
	if p.Log != h.head.LogID || p.Seq > h.head.Seq {
		return ErrSnapshotRequired
	}
	hash, known := h.tail.hashAt(p.Seq)
	if !known || hashText(curfew.Position{Hash: hash}) != p.Hash {
		return ErrSnapshotRequired
	}
	return nil
}

// ack takes what p acknowledges. A poll that was delayed on its way says less
// than is known, never anything wrong.
func (h *Hub) ack(l *lease, p *Poll) {
	l.acked = max(l.acked, p.Seq)
	l.poll = max(l.poll, p.Poll)
	l.polled = h.cfg.Time()
	h.settle(l, p.Seq)
	if rs := &h.rounds; rs.halfAcked && len(rs.open) > 0 && p.Seq >= rs.open[0].to {
		rs.halfAcked = false
		fault.Point(fault.HalfAcked)
	}
}

// lend gives or renews a lease. From now until the authority has waited it out,
// the verifier may answer from what it is told here. The caller holds mu.
func (h *Hub) lend(key leaseKey, p *Poll) error {
	now := h.cfg.Ticks.Now()
	h.lapse(now)
	l := h.leases[key]
	switch {
	case l == nil:
		if h.live.Len() >= h.cfg.MaxVerifiers {
			return ErrTooManyVerifiers
		}
		l = &lease{leaseKey: key, since: h.cfg.Time(), polled: h.cfg.Time(), acked: p.Seq, poll: p.Poll}
		h.leases[key] = l
	case l.released:
		return fmt.Errorf("%w: this instance has released its lease", ErrBadPoll)
	case !l.live:
		h.gone.Remove(l.elem)
	}
	l.expires = now + h.after
	if l.live {
		h.live.MoveToBack(l.elem)
		return nil
	}
	// It joins with the head in its hands, so no round that is under way waits
	// for it, and all later ones do.
	l.live, l.settled, l.joined = true, h.head.Seq, h.rounds.next
	l.elem = h.live.PushBack(l)
	if h.live.Len() == 1 {
		h.prod()
	}
	return nil
}

// lapse ends the leases that are over. The caller holds mu.
func (h *Hub) lapse(now time.Duration) {
	for e := h.live.Front(); e != nil; e = h.live.Front() {
		l := e.Value.(*lease)
		if l.expires > now {
			break
		}
		h.rounds.lapsed(l, h.cfg.Time())
		h.settle(l, h.head.Seq)
		h.live.Remove(e)
		l.live = false
		l.elem = h.gone.PushBack(l)
		h.cfg.Lapsed(l.verifier)
		h.cfg.Logger.Warn("a verifier's lease ran out", "verifier", l.verifier, "instance", l.instance, "acknowledged", l.acked, "head", h.head.Seq)
	}
	// What ran out long ago is of no interest to anybody.
	for e := h.gone.Front(); e != nil; e = h.gone.Front() {
		l := e.Value.(*lease)
		if now-l.expires < keepGone && h.gone.Len() <= maxGone {
			return
		}
		h.gone.Remove(e)
		delete(h.leases, l.leaseKey)
	}
}

const (
	keepGone = 10 * time.Minute
	maxGone  = 1000
)

// release ends a lease that its verifier has given up (rule 12).
func (h *Hub) release(key leaseKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.leases[key]
	if l == nil {
		return
	}
	l.released = true
	if !l.live {
		return
	}
	h.settle(l, h.head.Seq)
	h.live.Remove(l.elem)
	l.live, l.expires = false, h.cfg.Ticks.Now()
	l.elem = h.gone.PushBack(l)
}

// Drop ends nothing: the leases of a verifier whose key was removed run out.
// But polls of it that wait are answered now, so that they are refused.
func (h *Hub) Drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drops++
	h.announce()
}

// wait returns when there is something that p does not have, or in time for
// the lease to be renewed. The caller holds mu, which is given up meanwhile.
func (h *Hub) wait(ctx context.Context, p *Poll) error {
	hold := min(time.Duration(p.WaitMS)*time.Millisecond, h.hold)
	// Verifiers that started together need not poll together for ever.
	hold -= jitter(p, hold/4)
	timeout, stop := h.cfg.Ticks.After(hold)
	defer stop()
	drops := h.drops
	for h.shown <= p.Seq && (h.keys == nil || h.keys.Version == p.Keys) && h.drops == drops && !h.stopped {
		changed := h.changed
		h.mu.Unlock()
		var err error
		var over bool
		select {
		case <-changed:
		case <-timeout:
			over = true
		case <-ctx.Done():
			err = ctx.Err()
		}
		h.mu.Lock()
		if err != nil {
			return err
		}
		if over {
			return nil
		}
	}
	return nil
}

// jitter is below limit, and differs from poll to poll.
func jitter(p *Poll, limit time.Duration) time.Duration {
	d := fnv.New32a()
	d.Write([]byte(p.Instance))
	d.Write([]byte{byte(p.Poll), byte(p.Poll >> 8)})
	return limit * time.Duration(d.Sum32()>>16) >> 16
}

// note makes durable, once, that leases of this length are given (rule 6).
func (h *Hub) note(ctx context.Context) error {
	h.noting.Lock()
	defer h.noting.Unlock()
	if h.noted >= h.cfg.Lease || h.cfg.Note == nil {
		return nil
	}
	if err := h.cfg.Note(ctx, h.cfg.Lease); err != nil {
		return fmt.Errorf("noting that leases are given: %w", err)
	}
	h.noted = h.cfg.Lease
	return nil
}

// reportSeen passes on activity. The age counts, never the verifier's clock.
func (h *Hub) reportSeen(p *Poll, arrived time.Time) {
	if h.cfg.Seen == nil {
		return
	}
	for session, ms := range p.Seen {
		if curfew.ValidID(session) && ms >= 0 && ms < int64(24*time.Hour/time.Millisecond) {
			h.cfg.Seen(session, arrived.Add(-time.Duration(ms)*time.Millisecond))
		}
	}
}

// Snapshot returns everything that a verifier starts from.
func (h *Hub) Snapshot() *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.tail.snapshot()
	s.header.Hash, s.header.Keys = hashText(h.head), h.keys
	s.header.TimeUS = h.cfg.Time().UnixMicro()
	return s
}

// Run watches the deadlines until ctx is done. Then it answers the polls that
// wait, so that a server can stop.
func (h *Hub) Run(ctx context.Context) error {
	for {
		h.mu.Lock()
		now := h.cfg.Ticks.Now()
		h.lapse(now)
		h.expireRounds(now)
		if h.owed && now >= h.showed+h.pace() {
			h.show()
		}
		next := h.nextDeadline()
		h.mu.Unlock()

		var timer <-chan time.Time
		stop := func() {}
		if next < forever {
			timer, stop = h.cfg.Ticks.After(max(next-now, time.Millisecond))
		}
		select {
		case <-timer:
		case <-h.kick:
		case <-ctx.Done():
			stop()
			h.mu.Lock()
			h.stopped = true
			h.announce()
			h.mu.Unlock()
			return ctx.Err()
		}
		stop()
	}
}

// nextDeadline is when Run must look again. The caller holds mu.
func (h *Hub) nextDeadline() time.Duration {
	next := forever
	if e := h.live.Front(); e != nil {
		next = e.Value.(*lease).expires
	}
	if h.owed {
		next = min(next, h.showed+h.pace())
	}
	if len(h.rounds.open) == 0 {
		return next
	}
	if h.rounds.open[0].boot {
		next = min(next, h.boot)
	}
	return min(next, h.rounds.open[0].deadline)
}

func (h *Hub) prod() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}
