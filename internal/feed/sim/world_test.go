package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const guards = 3

// What dice are rolled for.
const (
	forPlan uint64 = iota
	forPoll
	forConfirm
	forRelease
	forSnapshot
	forCarry
	forGate
	forStall
	forWake
	forRead
	forCommit
	forClient
	forActor
	forProbe
	forBystander
)

// fault is a class of what can go wrong. A run has some of them and not others,
// since some hide others: where nothing ever gets through nobody has a lease.
type fault int

const (
	loss fault = iota
	tails
	duplicates
	cuts
	strayAnswers
	tornAnswers
	pauses
	stalls
	guardCrashes
	releases
	authorityCrashes
	restores
	wallJumps
	suspends
	widerLogouts
	storeErrors
	floods
	crowds
	faults
)

// plan is what a run is like.
type plan struct {
	seed    uint64
	on      [faults]bool
	chaos   time.Duration // for how long things go wrong
	leases  [8]time.Duration
	rates   [guards + 1]int64 // ppm; the authority's is the last
	walls   [guards + 1]time.Duration
	fast    time.Duration // of messages
	slow    time.Duration
	pTail   float64
	pLoss   float64
	pDouble float64
}

// maxLease is the longest lease that an authority here may be configured to.
const maxLease = 4 * time.Second

// maxLife is the longest life of a token.
const maxLife = 40 * time.Second

const year = 365 * 24 * time.Hour

func newPlan(seed uint64) *plan {
	d := roll(seed, forPlan)
	p := &plan{seed: seed, chaos: d.between(12*time.Second, 22*time.Second)}
	trouble := []float64{0.15, 0.35, 0.6}[d.below(3)]
	for i := range p.on {
		p.on[i] = d.chance(trouble)
	}
	p.on[floods] = d.chance(0.003)
	p.on[crowds] = d.chance(0.06)
	for i := range p.leases {
		p.leases[i] = []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second, maxLease}[d.below(5)]
		if i > 0 && d.chance(0.7) {
			p.leases[i] = p.leases[i-1]
		}
	}
	worst := d.chance(0.5) // for whoever waits too short a time
	for i := range p.rates {
		switch {
		case worst && i == guards:
			p.rates[i] = 10_000
		case worst && d.chance(0.7):
			p.rates[i] = -10_000
		default:
			p.rates[i] = []int64{-10_000, 10_000, 0, int64(d.below(20_001)) - 10_000}[d.below(4)]
		}
		p.walls[i] = []time.Duration{0, 0, -15 * year, 25 * year, d.between(-time.Hour, time.Hour)}[d.below(5)]
	}
	switch d.below(5) {
	case 0, 1:
		p.fast, p.slow = 50*time.Microsecond, time.Millisecond
	case 2, 3:
		p.fast, p.slow = time.Millisecond, 80*time.Millisecond
	case 4:
		p.fast, p.slow = 20*time.Millisecond, 900*time.Millisecond
	}
	if p.on[tails] {
		p.pTail = d.float() * 0.15
	}
	if p.on[loss] {
		p.pLoss = d.float() * 0.2
	}
	if p.on[duplicates] {
		p.pDouble = d.float() * 0.2
	}
	return p
}

// world is one run.
type world struct {
	*plan
	t      *testing.T
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	seen   *record
	store  *durable
	net    network
	guards [guards]*guard
	iron   *machine // that the authority runs on

	mu        sync.Mutex
	authority *authority // nil while it is down
	starts    int
	calm      bool
	quick     time.Duration // what a logout took when all was well
	tokens    []*issued
	waiting   int // logouts that were not answered yet
	backups   []*durable
	flooded   bool
	tracing   bool
	traced    []line
}

// line is one line of the trace.
type line struct {
	at   time.Duration
	text string
}

func newWorld(t *testing.T, p *plan, tracing bool) *world {
	w := &world{plan: p, t: t, start: time.Now(), seen: &record{}, tracing: tracing}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.iron = newMachine(p.rates[guards], w.start, p.walls[guards])
	w.store = newStore(w)
	for i := range w.guards {
		w.guards[i] = &guard{w: w, id: i, clock: newMachine(p.rates[i], w.start, p.walls[i])}
	}
	return w
}

// now is true time.
func (w *world) now() time.Duration { return time.Since(w.start) }

func (w *world) dice(keys ...uint64) *dice { return roll(w.seed, keys...) }

// at returns the present moment as something to roll dice for.
func (w *world) at() uint64 { return uint64(w.now()) }

// spawn runs f beside the rest. The run is over when all of them are.
func (w *world) spawn(f func()) { w.all.Go(f) }

// sleep returns when d has passed or the run is over.
func (w *world) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *world) isCalm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calm
}

func (w *world) up() *authority {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.authority
}

// tracef adds to the trace. What it costs to make the text is paid only where
// somebody reads it.
func (w *world) tracef(format string, args ...any) {
	if !w.tracing {
		return
	}
	l := line{w.now(), fmt.Sprintf(format, args...)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traced = append(w.traced, l)
}

// trace returns the trace in an order that does not depend on goroutines.
func (w *world) trace() string {
	slices.SortStableFunc(w.traced, func(a, b line) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.text, b.text)
	})
	var b strings.Builder
	for _, l := range w.traced {
		fmt.Fprintf(&b, "%14.9fs %s\n", l.at.Seconds(), l.text)
	}
	return b.String()
}

// actor does something again and again until things calm down.
func (w *world) actor(id uint64, mean time.Duration, do func(d *dice)) {
	w.spawn(func() {
		for n := uint64(0); ; n++ {
			d := w.dice(forActor, id, n)
			if !w.sleep(d.about(mean)) || w.isCalm() {
				return
			}
			do(d)
		}
	})
}
