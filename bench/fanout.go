package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

const (
	fanoutMembers = 1000
	fanoutRate    = 1000
)

// fanout is a storm of revocations to many verifiers, and beside it the same to
// as many subscribers of Redis. For Curfew it begins when the logout is due and
// includes the commit, for Redis when PUBLISH is sent.
func (b *bench) fanout() error {
	each := b.opts.seconds * fanoutRate
	node, sessions, err := b.newNode(2*each*b.opts.rounds, 0)
	if err != nil {
		return err
	}
	defer node.stop()
	redis, err := b.startRedis()
	if err != nil {
		return err
	}
	defer redis.stop()
	what := fmt.Sprintf("%d per second for %s to %d", fanoutRate, b.length(), fanoutMembers)
	for _, pair := range []struct {
		redis, curfew string
		clients       string
	}{
		{rig.Subscribers, rig.Verifiers, "the least that speaks the protocol"},
		{rig.GoRedis, rig.Followers, "the libraries that services use"},
	} {
		var ours, theirs []measured
		var ratios []float64
		for range b.opts.rounds {
			a, err := b.stormOfLogouts(node, pair.curfew, sessions[:each])
			if err != nil {
				return fmt.Errorf("to %s: %w", pair.curfew, err)
			}
			sessions = sessions[each:]
			p, err := b.stormOfMessages(redis, pair.redis, each)
			if err != nil {
				return fmt.Errorf("to %s: %w", pair.redis, err)
			}
			ours, theirs = append(ours, a), append(theirs, p)
			ratios = append(ratios, float64(median(a.took))/float64(median(p.took)))
		}
		slices.Sort(ratios)
		ratio := ratios[len(ratios)/2]
		b.add(fanoutRow(redis.version()+" pub/sub", what+" subscribers, "+pair.clients+"; PUBLISH to the last of them", theirs))
		row := fanoutRow("revocations", what+" verifiers, "+pair.clients+"; POST /logout to the last of them", ours)
		row.Value = fmt.Sprintf("p50 is %.3f of Redis, %s", ratio, row.Value)
		b.add(row.target("p50 ≤ 0.1 of Redis; is "+fmt.Sprintf("%.3f", ratio), ratio <= 0.1))
	}
	return nil
}

func fanoutRow(what, path string, rounds []measured) result {
	r := summarize(result{Scenario: "fanout", What: what, Path: path}, rounds)
	r.Rate, r.Low, r.High, r.ServerCPU, r.ClientCPU = 0, 0, 0, 0, 0
	r.Value = fmt.Sprintf("%s of server CPU each", short(rounds[0].serverCPU/time.Duration(max(len(rounds[0].took), 1))))
	return r
}

// settled is how long after the last publication everything has arrived where
// the feed or Redis keeps up, and bounds how far behind it may be.
const settled = 30 * time.Second

func (b *bench) stormOfLogouts(node *node, kind string, list []session) (m measured, err error) {
	w, err := b.startSwarm(rig.SwarmSetup{Kind: kind, Addr: node.addr, Key: node.key, Count: fanoutMembers})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	time.Sleep(time.Second)
	if _, err := w.ask(rig.SwarmCommand{Mark: true}); err != nil {
		return m, err
	}
	published := map[int64]time.Time{}
	var mu sync.Mutex
	before := processTime(node.pid())
	err = node.profiled("fanout-"+kind, func() error {
		_, err := openLoop(node.addr, list, fanoutRate, 64, func(c *conn, s session, due time.Time) (time.Duration, error) {
			c.SetDeadline(time.Now().Add(answerTimeout))
			status, body, err := c.do(asyncLogout(s))
			if err != nil {
				return 0, err
			}
			seq, ok := number(body, "seq")
			if status != 200 || !ok || seq == 0 {
				return 0, unexpected("a logout", status, body)
			}
			mu.Lock()
			published[seq] = due
			mu.Unlock()
			return time.Since(due), nil
		})
		return err
	})
	if err != nil {
		return m, err
	}
	m.serverCPU = processTime(node.pid()) - before
	m.took, err = b.collect(w, published)
	return m, err
}

func asyncLogout(s session) []byte {
	const end = "\r\nContent-Length: 0\r\n\r\n"
	r := byAccessToken(nil, s)
	return append(r[:len(r)-len(end)], "\r\nPrefer: respond-async"+end...)
}

func (b *bench) stormOfMessages(redis *redisServer, kind string, n int) (m measured, err error) {
	w, err := b.startSwarm(rig.SwarmSetup{Kind: kind, Addr: redis.addr, Count: fanoutMembers})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	p, err := newPublisher(redis.addr)
	if err != nil {
		return m, err
	}
	defer p.close()
	if _, err := w.ask(rig.SwarmCommand{Mark: true}); err != nil {
		return m, err
	}
	published := map[int64]time.Time{}
	begin := time.Now()
	before := processTime(redis.cmd.Process.Pid)
	for i := range n {
		due := begin.Add(time.Duration(i) * time.Second / fanoutRate)
		time.Sleep(time.Until(due))
		// As long as a line of the feed.
		if err := p.publish(fmt.Sprintf("%d session 9f86d081884c7d659a2feaa0c55ad015 1795177201 - user", i+1)); err != nil {
			return m, err
		}
		published[int64(i+1)] = due
	}
	m.took, err = b.collect(w, published)
	m.serverCPU = processTime(redis.cmd.Process.Pid) - before
	return m, err
}

// collect waits until everything has arrived and returns how long it took.
func (b *bench) collect(w *swarm, published map[int64]time.Time) ([]time.Duration, error) {
	// A swarm notes arrivals until it is asked, and asking ends that: so give
	// it the time that it may need at most in proportion to the storm.
	time.Sleep(min(2*b.length()+2*time.Second, settled))
	r, err := w.ask(rig.SwarmCommand{Report: true})
	if err != nil {
		return nil, err
	}
	return delays(published, r)
}
