package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A round is long enough for every fault to happen, and short enough to be
// looked at by people when it fails.
const roundTraffic = 25 * time.Second

// TestHistories lets clients work while everything around them breaks, and
// checks what they saw.
func TestHistories(t *testing.T) {
	python := havePython(t)
	rounds := max(1, int(*flagDuration/roundTraffic))
	rnd := rand.New(rand.NewPCG(*flagSeed, 0))
	for round := range rounds {
		// The seed of a round alone repeats it.
		seed := *flagSeed
		if round > 0 {
			seed = rnd.Uint64N(1<<32) + 1
		}
		cfg := roundOf(seed, python)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			began := time.Now()
			r, wrong := playRound(t, cfg)
			observers := cfg.observers()
			t.Logf("seed %d, lease %v, %v: %s", seed, cfg.Lease, time.Since(began).Round(time.Second), r.line(observers))
			for _, w := range wrong {
				t.Error(w)
			}
			for _, v := range r.vacuous(observers, allFaults(observers[atVerifier:])) {
				t.Errorf("this run shows nothing: %s", v)
			}
			// Whatever the verifiers do, a logout takes no longer than the
			// leases. The machine may be busy, the promise has no room for that.
			if limit := feedBound(cfg.Lease); r.slowest > limit {
				t.Errorf("a logout took %v, more than %v, while the authority was running", r.slowest, limit)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// feedBound is how long a logout may take, with room for a busy machine.
func feedBound(lease time.Duration) time.Duration { return lease + lease/25 + 4*time.Second }

// havePython reports whether the Python verifier can run. In continuous
// integration it must.
func havePython(t *testing.T) bool {
	t.Helper()
	_, err := findPython()
	if err == nil {
		return true
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("the Python verifier cannot run: %v", err)
	}
	t.Logf("NOT CHECKED: the Python verifier, which needs python3 and its package cryptography (python3-cryptography in Debian): %v", err)
	return false
}

type roundConfig struct {
	clusterConfig
	seed    uint64
	traffic time.Duration
	longest time.Duration // that a process is stopped for
	// early ends the traffic as soon as something is wrong.
	early bool
	// artifacts is where to keep what shows that something is wrong; empty
	// makes a directory that outlives the test.
	artifacts string
}

// roundOf returns the round of a seed.
func roundOf(seed uint64, python bool) roundConfig {
	rnd := rand.New(rand.NewPCG(seed, 1))
	cfg := roundConfig{
		seed: seed, traffic: roundTraffic, longest: 10 * time.Second,
		clusterConfig: clusterConfig{Lease: time.Second, Users: 200, Services: 2, Python: python},
	}
	if long() {
		cfg.Lease = []time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second}[rnd.IntN(3)]
	}
	return cfg
}

func (cfg roundConfig) observers() []string {
	names := []string{"user", "introspect", "refresh"}
	for i := range cfg.Services {
		names = append(names, fmt.Sprintf("service%d", i+1))
	}
	if cfg.Python {
		names = append(names, "python")
	}
	return names
}

// playRound starts a cluster, lets clients work and break it, and returns what
// happened and what was wrong with it.
func playRound(t *testing.T, cfg roundConfig) (report, []string) {
	t.Helper()
	c := startCluster(t, cfg.clusterConfig)
	h := newHistory()
	work := newTraffic(c, h, cfg.observers(), cfg.seed)
	evil := newNemesis(c, h, cfg.seed, cfg.longest)
	ctx, cancel := context.WithTimeout(t.Context(), cfg.traffic)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { work.run(ctx) })
	both.Go(func() { evil.run(ctx) })
	if cfg.early {
		both.Go(func() {
			// What is under way is not in the history yet, so that a refusal
			// may seem to have no reason. An accept cannot be explained later.
			isAccept := func(wrong string) bool { return strings.HasPrefix(wrong, "accepted") }
			for ctx.Err() == nil {
				if slices.ContainsFunc(checkLinear(h.soFar(), cfg.observers()), isAccept) {
					cancel()
				}
				pause(ctx, time.Second)
			}
		})
	}
	both.Wait()

	swept := 0
	if len(checkLinear(h.ops, cfg.observers())) == 0 {
		if err := c.awaitAll(t.Context()); err != nil {
			evil.fail("after all faults", err)
		} else {
			swept = work.sweep(300)
		}
	}
	r := summarize(h.ops, cfg.observers(), evil.faults, evil.outages)
	r.swept = swept

	wrong := append(work.anomalies, evil.errs...)
	linear := checkLinear(h.ops, cfg.observers())
	if len(linear) > 10 {
		linear = append(linear[:10], fmt.Sprintf("and %d more", len(linear)-10))
	}
	wrong = append(wrong, linear...)
	artifacts := cfg.artifacts
	if artifacts == "" {
		var err error
		if artifacts, err = os.MkdirTemp("", "curfew-e2e-failure-"); err != nil {
			t.Fatal(err)
		}
	}
	wrong = append(wrong, checkModel(h.ops, cfg.observers(), artifacts)...)
	if len(wrong) == 0 {
		os.RemoveAll(artifacts)
		return r, nil
	}
	file := filepath.Join(artifacts, "history.json")
	if err := h.write(file); err != nil {
		file = err.Error()
	}
	return r, append(wrong, "the history is in "+file+"; the logs are in "+keepLogs(c, artifacts))
}

func processes(list []*verifier) []*process {
	var out []*process
	for _, v := range list {
		out = append(out, v.process)
	}
	return out
}

// keepLogs copies what the processes have written, and returns where it is.
func keepLogs(c *cluster, dir string) string {
	for _, p := range append([]*process{c.authority}, processes(c.verifiers)...) {
		b, err := os.ReadFile(p.log)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(p.name, "/", "-")+".log"), b, 0o600)
		}
		if err != nil {
			return err.Error()
		}
	}
	return dir
}
