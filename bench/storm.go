package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// stormLogins is how many logins wait for their password to be hashed while
// others log out.
const stormLogins = 500

// stormClients log out meanwhile.
const stormClients = 16

// storm shows that logins do not stand in the way of logouts, although each of
// them is as much work as a hundred logouts.
func (b *bench) storm() error {
	for _, logins := range []int{0, stormLogins} {
		var rounds []measured
		var served, busy int64
		for range b.opts.rounds {
			m, s, n, err := b.stormRound(logins)
			if err != nil {
				return err
			}
			rounds = append(rounds, m)
			served, busy = served+s, busy+n
		}
		path := "access token, signature checked; no logins meanwhile"
		if logins > 0 {
			path = fmt.Sprintf("the same with %d logins (argon2id, 19 MiB) waiting all the time; in all %d were served, %d answered 503",
				logins, served, busy)
		}
		b.add(summarize(result{Scenario: "storm", What: "logout beside logins", Path: path, Clients: stormClients}, rounds))
	}
	return nil
}

func (b *bench) stormRound(logins int) (m measured, served, busy int64, err error) {
	// The sessions are made where that is cheap, and ended where it is not.
	if err := b.start(true, true); err != nil {
		return m, 0, 0, err
	}
	all, err := b.sessions(b.enough(stormClients))
	if err != nil {
		return m, 0, 0, err
	}
	if err := b.start(false, false); err != nil {
		return m, 0, 0, err
	}
	waiting, err := b.flood(logins)
	if err != nil {
		return m, 0, 0, err
	}
	m, err = b.round(fmt.Sprintf("storm-%d", logins), stormClients, logoutSteps(all, stormClients, byAccessToken))
	stopErr := waiting.stop()
	return m, waiting.served.Load(), waiting.busy.Load(), errors.Join(err, stopErr)
}

// flood is a number of clients that log in one time after the other.
type flood struct {
	cancel       context.CancelFunc
	clients      []client
	wg           sync.WaitGroup
	served, busy atomic.Int64
	mu           sync.Mutex
	err          error
}

func (b *bench) flood(n int) (*flood, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	f := &flood{cancel: cancel}
	var err error
	if f.clients, err = open(b.server.addr, n, func(int) func(*conn) error { return f.login() }); err != nil {
		cancel()
		return nil, err
	}
	for _, cl := range f.clients {
		f.wg.Go(func() {
			for ctx.Err() == nil {
				if err := cl.step(cl.conn); err != nil {
					f.mu.Lock()
					f.err = errors.Join(f.err, err)
					f.mu.Unlock()
					return
				}
			}
		})
	}
	if n > 0 {
		time.Sleep(200 * time.Millisecond) // they all wait by then
	}
	return f, nil
}

// login counts 503 apart: past the bound of the queue that is the right answer.
func (f *flood) login() func(*conn) error {
	n := 0
	var request []byte
	return func(c *conn) error {
		request = loginRequest(request[:0], prefix(false), n)
		n++
		status, body, err := c.do(request)
		switch {
		case err != nil:
			return err
		case status == 200:
			f.served.Add(1)
		case status == 503:
			f.busy.Add(1)
		default:
			return unexpected("login", status, body)
		}
		return nil
	}
}

func (f *flood) stop() error {
	f.cancel()
	f.wg.Wait() // the last of them waits as long as the queue lets it
	closeAll(f.clients)
	return f.err
}
