package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

// swarms are the numbers of verifiers that logouts are measured with: how many
// logouts, and the bound of what they may take beyond the commit itself, 99 in
// 100.
var swarms = []struct {
	verifiers, logouts int
	bound              time.Duration
}{
	{1, 500, 5 * time.Millisecond},
	{100, 500, 15 * time.Millisecond},
	{1000, 300, 120 * time.Millisecond},
	{10_000, 100, time.Second},
}

// commits are logouts with no verifier, measured before those with some.
const commits = 300

// enforce is a logout as the one who logs out sees it: the answer comes when
// every verifier has acknowledged. Authority, verifiers and generator are
// processes of their own.
func (b *bench) enforce() error {
	total := 0
	for _, s := range swarms {
		total += s.logouts + commits
	}
	const rate, steady = 100, 100
	length := b.length() * time.Duration(b.opts.rounds)
	total += int(length.Seconds()*rate) + commits
	node, left, err := b.newNode(total, 0)
	if err != nil {
		return err
	}
	defer node.stop()
	take := func(n int) []session {
		out := left[:n]
		left = left[n:]
		return out
	}
	for _, s := range swarms {
		alone, err := b.logouts(node, take(commits), 0)
		if err != nil {
			return err
		}
		swarm, err := b.startSwarm(rig.SwarmSetup{Kind: rig.Verifiers, Addr: node.addr, Key: node.key, Count: s.verifiers})
		if err != nil {
			return err
		}
		if err := b.idleRow(node, s.verifiers); err != nil {
			return errors.Join(err, swarm.stop())
		}
		var took []time.Duration
		err = node.profiled(fmt.Sprintf("enforce-%d", s.verifiers), func() error {
			var err error
			took, err = b.logouts(node, take(s.logouts), s.verifiers)
			return err
		})
		if err := errors.Join(err, swarm.stop()); err != nil {
			return fmt.Errorf("%d verifiers: %w", s.verifiers, err)
		}
		commit := median(alone)
		beyond := make([]time.Duration, len(took))
		for i, t := range took {
			beyond[i] = max(t-commit, 0)
		}
		b.add(result{
			Scenario: "enforce", What: "logout, no verifier", Path: "the commit itself: access token, signature checked; before the row below", Clients: 1,
			P50: commit, P99: percentile(alone, 99), Max: percentile(alone, 100),
		})
		b.add(result{
			Scenario: "enforce", What: "revoke → enforced", Clients: 1,
			Path: fmt.Sprintf("%d verifiers; %d logouts, one after the other; beyond the median of the row above", s.verifiers, len(took)),
			P50:  median(beyond), P99: percentile(beyond, 99), Max: percentile(beyond, 100),
		}.target("p99 < "+short(s.bound), percentile(beyond, 99) < s.bound))
	}
	return b.steadyLogouts(node, take(int(length.Seconds()*rate)), steady, rate)
}

// idleRow is what waiting verifiers cost the authority.
func (b *bench) idleRow(node *node, verifiers int) error {
	time.Sleep(2 * time.Second) // the first polls are over, and in their rhythm
	var used time.Duration
	err := node.profiled(fmt.Sprintf("idle-%d", verifiers), func() error {
		before := processTime(node.pid())
		time.Sleep(idleFor)
		used = processTime(node.pid()) - before
		return nil
	})
	if err != nil {
		return err
	}
	b.add(result{
		Scenario: "enforce", What: "authority with waiting verifiers", Path: fmt.Sprintf("%d verifiers, nothing new", verifiers),
		Value: fmt.Sprintf("%.1f MB resident, %.1f %% of one core", float64(residentBytes(node.pid()))/1e6, 100*used.Seconds()/idleFor.Seconds()),
	})
	return nil
}

// logouts ends sessions one after the other, at moments that have nothing to do
// with the rhythm of the polls.
func (b *bench) logouts(node *node, list []session, verifiers int) ([]time.Duration, error) {
	c, err := dial(node.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var took []time.Duration
	for _, s := range list {
		time.Sleep(time.Duration(rand.Int64N(int64(5*time.Millisecond + time.Duration(verifiers)*10*time.Microsecond))))
		d, err := logOut(c, s, verifiers, time.Now())
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
	}
	return took, nil
}

// logOut is one logout, and how long after begin it was answered. The answer
// must name all the verifiers, and none that did not acknowledge.
func logOut(c *conn, s session, verifiers int, begin time.Time) (time.Duration, error) {
	c.SetDeadline(begin.Add(answerTimeout))
	status, body, err := c.do(byAccessToken(nil, s))
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	named, _ := number(body, "verifiers")
	if status != 200 || string(field(body, "state")) != "enforced" || named != int64(verifiers) || bytes.Contains(body, []byte("unacknowledged")) {
		return 0, unexpected(fmt.Sprintf("a logout with %d verifiers", verifiers), status, body)
	}
	return took, nil
}

// steadyLogouts come at a fixed rate, whatever became of those before. Each
// counts from the moment it was due.
func (b *bench) steadyLogouts(node *node, list []session, verifiers, rate int) error {
	swarm, err := b.startSwarm(rig.SwarmSetup{Kind: rig.Verifiers, Addr: node.addr, Key: node.key, Count: verifiers})
	if err != nil {
		return err
	}
	defer swarm.stop()
	var took []time.Duration
	err = node.profiled("steady", func() error {
		took, err = openLoop(node.addr, list, rate, 32, func(c *conn, s session, due time.Time) (time.Duration, error) {
			return logOut(c, s, verifiers, due)
		})
		return err
	})
	if err != nil {
		return err
	}
	p99 := percentile(took, 99)
	b.add(result{
		Scenario: "enforce", What: "logouts at a fixed rate", Path: fmt.Sprintf("%d verifiers; %d logouts per second for %s, whole answers", verifiers, rate, b.length()*time.Duration(b.opts.rounds)),
		P50: median(took), P99: p99, Max: percentile(took, 100),
	}.target("p99 < 50 ms", p99 < 50*time.Millisecond))
	return nil
}

// openLoop makes a call for each session when it is due, on one of some
// connections.
func openLoop(addr string, list []session, rate, conns int, call func(c *conn, s session, due time.Time) (time.Duration, error)) ([]time.Duration, error) {
	type job struct {
		s   session
		due time.Time
	}
	jobs := make(chan job, len(list))
	took := make([][]time.Duration, conns)
	errs := make([]error, conns)
	var wg sync.WaitGroup
	for i := range conns {
		c, err := dial(addr)
		if err != nil {
			close(jobs)
			wg.Wait()
			return nil, err
		}
		defer c.Close()
		wg.Go(func() {
			for j := range jobs {
				d, err := call(c, j.s, j.due)
				if err != nil {
					errs[i] = err
					return
				}
				took[i] = append(took[i], d)
			}
		})
	}
	begin := time.Now()
	for i, s := range list {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		jobs <- job{s, due}
	}
	close(jobs)
	wg.Wait()
	var out []time.Duration
	for _, t := range took {
		out = append(out, t...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(out) != len(list) {
		return nil, fmt.Errorf("%d of %d calls were answered", len(out), len(list))
	}
	return out, nil
}
