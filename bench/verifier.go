package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

// verifier is a service whose guard holds a million live revocations, beside
// one whose guard holds none.
func (b *bench) verifier() error {
	empty, _, err := b.newNode(1, 0)
	if err != nil {
		return err
	}
	defer empty.stop()
	full, tokens, err := b.newNode(knownTokens, million)
	if err != nil {
		return err
	}
	defer full.stop()
	b.add(result{
		Scenario: "verifier", What: "authority, cold start", Path: "curfew serve to 200 at /readyz; 1,000,000 live revocations in its log, file in the page cache", P50: full.ready,
	})
	time.Sleep(idleFor)
	b.add(result{
		Scenario: "verifier", What: "authority, resident", Path: "5 s after that", Value: fmt.Sprintf("%.1f MB, %.1f MB at most", float64(residentBytes(full.pid()))/1e6, float64(peakBytes(full.pid()))/1e6),
	})
	// The tokens of the empty authority's service: same shape, its own key.
	ofEmpty := slices.Clone(tokens)
	if err := empty.mint(ofEmpty); err != nil {
		return err
	}
	var starts []time.Duration
	var small, large *service
	for round := range b.opts.rounds {
		s, took, err := b.coldStart(full, tokens[0])
		if err != nil {
			return err
		}
		starts = append(starts, took)
		if round == b.opts.rounds-1 {
			large = s
			break
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	defer large.stop()
	b.add(result{
		Scenario: "verifier", What: "cold start", Path: "exec of a service to its first 200: snapshot of 1,000,000 revocations over HTTP", P50: median(starts), Max: percentile(starts, 100),
	}.target("< 3 s", percentile(starts, 100) < 3*time.Second))
	if small, _, err = b.coldStart(empty, ofEmpty[0]); err != nil {
		return err
	}
	defer small.stop()
	if err := b.verifierMemory(small, large); err != nil {
		return err
	}
	return b.verifierTail(small, large, ofEmpty, tokens)
}

// coldStart starts a service behind a guard and returns how long it took until
// it let a request through.
func (b *bench) coldStart(n *node, s session) (*service, time.Duration, error) {
	if _, err := b.binary("bench/service"); err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	v, err := b.startService("bench/service", rig.Setup{Variant: "guard", Authority: n.url, Key: n.key, Audience: nodeAudience})
	if err != nil {
		return nil, 0, err
	}
	c, err := dial(v.addr)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	status, body, err := c.do(appendRequest(nil, "GET", "/", s.Access, "", nil))
	took := time.Since(begin)
	if err == nil && status != 200 {
		err = unexpected("the service", status, body)
	}
	return v, took, err
}

func (b *bench) verifierMemory(small, large *service) error {
	peak := peakBytes(large.pid())
	atOnce := residentBytes(large.pid())
	time.Sleep(2 * idleFor)
	later := residentBytes(large.pid())
	none, err := small.ask(rig.Command{Memory: true})
	if err != nil {
		return err
	}
	all, err := large.ask(rig.Command{Memory: true})
	if err != nil {
		return err
	}
	each := float64(all.Live-none.Live) / million
	time.Sleep(100 * time.Millisecond)
	floor := residentBytes(large.pid())
	b.add(result{
		Scenario: "verifier", What: "resident", Path: "a service with 1,000,000 live revocations, 10 s after its start",
		Value: fmt.Sprintf("%.1f MB; %.1f at first, %.1f at most; %.1f after a collection; empty %.1f",
			float64(later)/1e6, float64(atOnce)/1e6, float64(peak)/1e6, float64(floor)/1e6, float64(residentBytes(small.pid()))/1e6),
	}.target("< 60 MB", later < 60e6))
	b.add(result{
		Scenario: "verifier", What: "memory of a revocation", Path: "live heap with 1,000,000 of them less live heap with none",
		Value: fmt.Sprintf("%.1f B", each),
	}.target("≤ 20 B", each <= 20))
	return nil
}

// verifierTail compares the slowest requests of both, in turn.
func (b *bench) verifierTail(small, large *service, ofEmpty, tokens []session) error {
	const clients = 16
	var less, more []measured
	var tails [2][]time.Duration
	for round := range 2 * b.opts.rounds {
		for i, of := range []*service{small, large} {
			list := [][]session{ofEmpty, tokens}[i]
			m, err := b.callService(of, clients, list, false, fmt.Sprintf("verifier-%d", i))
			if err != nil {
				return err
			}
			if round == 0 {
				continue // tokens are new, heaps grow
			}
			tails[i] = append(tails[i], percentile(m.took, 99.9))
			if i == 0 {
				less = append(less, m)
			} else {
				more = append(more, m)
			}
		}
	}
	ratio := float64(median(tails[1])) / float64(median(tails[0]))
	a := summarize(result{Scenario: "verifier", What: "handler, empty set", Path: "guard and handler, known tokens", Clients: clients}, less)
	a.Value = "p99.9 " + short(median(tails[0]))
	c := summarize(result{Scenario: "verifier", What: "handler, 1,000,000 revocations", Path: "the same, in turn with the row above", Clients: clients}, more)
	c.Value = fmt.Sprintf("p99.9 %s", short(median(tails[1])))
	b.add(a)
	b.add(c.target(fmt.Sprintf("p99.9 ≤ 1.5 times; is %s to %s, %.2f", short(median(tails[1])), short(median(tails[0])), ratio), ratio <= 1.5))
	return nil
}
