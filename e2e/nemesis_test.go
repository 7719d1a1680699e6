package e2e

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// nemesis breaks things and mends them.
type nemesis struct {
	c       *cluster
	h       *history
	seed    uint64
	longest time.Duration // that a process is stopped for

	mu      sync.Mutex
	faults  map[string]int
	outages []outage
	links   []string // kinds of cuts that are still to come, for all links together
	errs    []string
}

// The kinds of faults. Each happens in every run, to each verifier where it is
// about one.
const (
	killAuthority = "kill authority"
	stopAuthority = "stop authority"
	endAuthority  = "end authority"
	resetLink     = "reset link"
	cutLink       = "cut link"
	cutUp         = "cut up"
	cutDown       = "cut down"
	slowLink      = "slow link"
	narrowLink    = "narrow link"
	slowThenCut   = "slow, then cut"
)

var linkFaults = []string{resetLink, cutLink, cutUp, cutDown, slowLink, narrowLink, slowThenCut}

func killOf(name string) string { return "kill " + name }
func stopOf(name string) string { return "stop " + name }
func endOf(name string) string  { return "end " + name }

// allFaults lists what happens to a cluster with these verifiers.
func allFaults(verifiers []string) []string {
	out := append([]string{killAuthority, stopAuthority, endAuthority}, linkFaults...)
	for _, name := range verifiers {
		out = append(out, killOf(name), stopOf(name), endOf(name))
	}
	return out
}

func newNemesis(c *cluster, h *history, seed uint64, longest time.Duration) *nemesis {
	return &nemesis{c: c, h: h, seed: seed, longest: longest, faults: map[string]int{}}
}

// run breaks things until ctx is done, and leaves everything mended.
func (n *nemesis) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { n.attackAuthority(ctx, n.random(1)) })
	for i, v := range n.c.verifiers {
		all.Go(func() { n.attackVerifier(ctx, n.random(uint64(10+i)), v) })
		all.Go(func() { n.attackLink(ctx, n.random(uint64(20+i)), v) })
	}
	all.Wait()
	for _, v := range n.c.verifiers {
		v.link.heal()
	}
}

func (n *nemesis) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(n.seed, 1000+stream)) }

func (n *nemesis) count(fault string) {
	n.mu.Lock()
	n.faults[fault]++
	n.mu.Unlock()
}

func (n *nemesis) fail(what string, err error) {
	if err != nil {
		n.mu.Lock()
		n.errs = append(n.errs, fmt.Sprintf("%s: %v", what, err))
		n.mu.Unlock()
	}
}

// between is a time between two bounds, of which short ones are as likely as
// long ones.
func between(rnd *rand.Rand, from, to time.Duration) time.Duration {
	return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), rnd.Float64()))
}

// endsWithin is how long a process may take to end when it is asked to.
const endsWithin = 20 * time.Second

// attackAuthority kills it, stops it for a while, and asks it to end, in turns.
func (n *nemesis) attackAuthority(ctx context.Context, rnd *rand.Rand) {
	p := n.c.authority
	pause(ctx, time.Second+between(rnd, 100*time.Millisecond, 2*time.Second))
	for turn := rnd.IntN(3); ctx.Err() == nil; turn++ {
		from := n.h.now()
		switch turn % 3 {
		case 0:
			n.count(killAuthority)
			p.kill()
			pause(ctx, between(rnd, time.Millisecond, time.Second))
			n.fail("starting the authority again", n.c.startAuthority())
		case 1:
			n.count(stopAuthority)
			n.fail("stopping the authority", p.stop())
			pause(ctx, between(rnd, 100*time.Millisecond, n.longest/2))
			p.proceed()
		case 2:
			n.count(endAuthority)
			n.fail("ending the authority", p.end(endsWithin))
			n.fail("starting the authority again", n.c.startAuthority())
		}
		n.mu.Lock()
		// What it was asked meanwhile takes a moment, and after a start the
		// leases of before must be over.
		n.outages = append(n.outages, outage{from, n.h.now() + int64(n.c.bound)})
		n.mu.Unlock()
		pause(ctx, n.c.bound+between(rnd, 500*time.Millisecond, 4*time.Second))
	}
}

// attackVerifier does the same to a verifier. One that ends gives its lease
// back, and no logout waits for it any more.
func (n *nemesis) attackVerifier(ctx context.Context, rnd *rand.Rand, v *verifier) {
	pause(ctx, between(rnd, 500*time.Millisecond, 3*time.Second))
	for turn := rnd.IntN(3); ctx.Err() == nil; turn++ {
		switch turn % 3 {
		case 0:
			n.count(killOf(v.name))
			v.kill()
			pause(ctx, between(rnd, time.Millisecond, time.Second))
			n.fail("starting a verifier again", v.start())
		case 1:
			n.count(stopOf(v.name))
			n.fail("stopping a verifier", v.stop())
			pause(ctx, between(rnd, 100*time.Millisecond, n.longest))
			v.proceed()
		case 2:
			n.count(endOf(v.name))
			n.fail("ending a verifier", v.end(endsWithin))
			n.fail("starting a verifier again", v.start())
		}
		pause(ctx, between(rnd, time.Second, 4*time.Second))
	}
}

func (n *nemesis) attackLink(ctx context.Context, rnd *rand.Rand, v *verifier) {
	pause(ctx, between(rnd, 200*time.Millisecond, 2*time.Second))
	for ctx.Err() == nil {
		fault := n.nextCut(rnd)
		n.count(fault)
		lasts := between(rnd, 200*time.Millisecond, 3*n.c.cfg.Lease)
		switch fault {
		case resetLink:
			v.link.reset()
		case cutLink:
			v.link.cut()
		case cutUp:
			v.link.cutUp()
		case cutDown:
			v.link.cutDown()
		case slowLink:
			v.link.slow(between(rnd, 5*time.Millisecond, n.c.cfg.Lease/3))
		case narrowLink:
			v.link.narrow(500 + rnd.IntN(5000))
		case slowThenCut:
			// Grants arrive late, and the last one is the last for long.
			v.link.slow(between(rnd, n.c.cfg.Lease/10, n.c.cfg.Lease/3))
			pause(ctx, lasts)
			v.link.cut()
			lasts = n.c.bound + n.c.cfg.Lease/2
		}
		pause(ctx, lasts)
		v.link.heal()
		pause(ctx, between(rnd, 500*time.Millisecond, 5*time.Second))
	}
}

// nextCut deals all kinds before any comes a second time.
func (n *nemesis) nextCut(rnd *rand.Rand) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.links) == 0 {
		n.links = append(n.links, linkFaults...)
		rnd.Shuffle(len(n.links), func(i, j int) { n.links[i], n.links[j] = n.links[j], n.links[i] })
	}
	next := n.links[0]
	n.links = n.links[1:]
	return next
}
