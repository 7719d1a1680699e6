package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

var (
	oneSeed   = flag.Int64("seed", -1, "run this seed alone; with -v it is traced")
	manySeeds = flag.Int("seeds", 2000, "how many seeds to run")
	firstSeed = flag.Uint64("first", 0, "the first of them")
)

// Runs leave much behind and keep little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

func TestSimulation(t *testing.T) {
	if *oneSeed >= 0 {
		r := simulate(t, uint64(*oneSeed), testing.Verbose())
		if r.trace != "" {
			t.Log("\n" + r.trace)
		}
		for _, f := range r.failures {
			t.Error(f)
		}
		t.Log(r.summary)
		return
	}
	n := *manySeeds
	if testing.Short() {
		n = min(n, 300)
	}
	var mu sync.Mutex
	var total summary
	var failed int
	var next atomic.Uint64
	next.Store(*firstSeed)
	end := *firstSeed + uint64(n)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1) - 1; seed < end; seed = next.Add(1) - 1 {
				r := simulate(t, seed, false)
				mu.Lock()
				total.add(r.summary)
				if len(r.failures) > 0 {
					failed++
					if failed <= 5 {
						t.Errorf("seed %d: %d failures, the first: %s\nreplay: go test ./internal/feed/sim -run 'TestSimulation$' -seed %d -v",
							seed, len(r.failures), r.failures[0], seed)
					}
				}
				enough := failed >= 5
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	workers.Wait()
	if failed > 0 {
		t.Errorf("%d of %d runs failed", failed, total.Runs)
		return
	}
	fmt.Println(total)
	t.Log(total)
	for _, c := range total.each() {
		if c.n == 0 {
			t.Errorf("nothing is shown: 0 %s", c.name)
		}
	}
}

// The same seed is the same run.
func TestSeedsReplay(t *testing.T) {
	n := 40
	if testing.Short() {
		n = 10
	}
	for seed := range uint64(n) {
		a, b := simulate(t, seed, false).seen.fingerprint(), simulate(t, seed, false).seen.fingerprint()
		if a != b {
			t.Errorf("seed %d is two different runs: %s", seed, difference(a, b))
		}
	}
}

// difference returns the first place where two texts differ.
func difference(a, b string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			from := max(0, i-200)
			return fmt.Sprintf("…%q\nand …%q", a[from:min(len(a), i+200)], b[from:min(len(b), i+200)])
		}
	}
	return fmt.Sprintf("%d and %d bytes", len(a), len(b))
}

type result struct {
	summary  summary
	failures []string
	trace    string
	seen     *record
}

// simulate plays one run in a bubble of its own.
func simulate(t *testing.T, seed uint64, tracing bool) (out result) {
	pool()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newPlan(seed), tracing)
		w.play()
		out.failures = w.seen.failures(w)
		out.failures = append(out.failures, w.notWell()...)
		out.summary = w.seen.summary
		out.summary.Runs = 1
		out.trace = w.trace()
		out.seen = w.seen
	})
	return out
}
