package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// bench is one run: its server, and what was found so far.
type bench struct {
	ctx     context.Context
	opts    options
	dir     string
	server  *child
	setup   setup
	results []result
}

// scenarios run in this order: the machine first, what needs a store of its
// own last.
var scenarios = []struct {
	name string
	run  func(*bench) error
}{
	{"disk", (*bench).disk},
	{"floor", (*bench).floor},
	{"user", (*bench).user},
	{"refresh", (*bench).refresh},
	{"logout", (*bench).logout},
	{"login", (*bench).login},
	{"storm", (*bench).storm},
	{"growth", (*bench).growth},
	{"million", (*bench).million},
	{"guard", (*bench).guard},
	{"requests", (*bench).requests},
	{"enforce", (*bench).enforce},
	{"fanout", (*bench).fanout},
	{"verifier", (*bench).verifier},
}

func scenarioNames() []string {
	var out []string
	for _, s := range scenarios {
		out = append(out, s.name)
	}
	return out
}

func (b *bench) add(r result) { b.results = append(b.results, r) }

func (b *bench) length() time.Duration { return time.Duration(b.opts.seconds) * time.Second }

// start replaces the server by a new one. Nothing that the last one had in
// memory is left; fresh gives it an empty store as well.
func (b *bench) start(fresh, cheapHash bool) error {
	if err := b.stop(); err != nil {
		return err
	}
	if fresh || b.setup.Dir == "" {
		if err := os.RemoveAll(b.setup.Dir); err != nil {
			return err
		}
		dir, err := os.MkdirTemp(b.dir, "store-")
		if err != nil {
			return err
		}
		b.setup.Dir = dir
	}
	b.setup.CheapHash = cheapHash
	var err error
	b.server, err = startServer(b.setup)
	return err
}

func (b *bench) stop() error {
	if b.server == nil {
		return nil
	}
	err := b.server.stop()
	b.server = nil
	return err
}

func (b *bench) sessions(n int) ([]session, error) {
	r, err := b.server.ask(command{Login: n})
	if err != nil {
		return nil, fmt.Errorf("making sessions: %w", err)
	}
	return r.Sessions, nil
}

// round runs clients against the server once, with a profile if one is asked
// for.
func (b *bench) round(name string, n int, step func(i int) func(*conn) error) (measured, error) {
	clients, err := open(b.server.addr, n, step)
	if err != nil {
		return measured{}, err
	}
	defer closeAll(clients)
	if b.opts.profile == "" {
		return load(b.ctx, b.length(), b.server.pid(), clients)
	}
	file, err := filepath.Abs(filepath.Join(b.opts.profile, fmt.Sprintf("%s-%d.pprof", name, n)))
	if err != nil {
		return measured{}, err
	}
	if _, err := b.server.ask(command{ProfileTo: file}); err != nil {
		return measured{}, err
	}
	m, err := load(b.ctx, b.length(), b.server.pid(), clients)
	_, stopErr := b.server.ask(command{ProfileDone: true})
	return m, errors.Join(err, stopErr)
}

// user is GET /user: the price of a request that carries a valid token.
func (b *bench) user() error {
	if err := b.start(true, true); err != nil {
		return err
	}
	all, err := b.sessions(2000)
	if err != nil {
		return err
	}
	for _, n := range []int{1, 16} {
		var rounds []measured
		for range b.opts.rounds {
			m, err := b.round("user", n, func(i int) func(*conn) error {
				var request []byte
				next := i
				return func(c *conn) error {
					s := all[next%len(all)]
					next += n
					request = appendRequest(request[:0], "GET", "/user", s.Access, "", nil)
					status, body, err := c.do(request)
					if err == nil && (status != 200 || string(field(body, "session_id")) != s.ID) {
						err = unexpected("GET /user", status, body)
					}
					return err
				}
			})
			if err != nil {
				return err
			}
			rounds = append(rounds, m)
		}
		r := summarize(result{
			Scenario: "user", What: "GET /user", Clients: n,
			// Two tokens that share a slot of the cache push each other out.
			Path: fmt.Sprintf("%d tokens, some 97 %% of them in the cache of verified tokens; time and denylist asked, user row read", len(all)),
		}, rounds)
		if n == 16 {
			r = r.target("≥ 15,000/s", r.Rate >= 15_000)
		}
		b.add(r)
	}
	return nil
}

// refresh is a chain of refreshes: each sends the token that the one before it
// gave out, so a wrong token or a lost commit ends the run.
func (b *bench) refresh() error {
	if err := b.start(true, true); err != nil {
		return err
	}
	for _, n := range []int{1, 64} {
		var rounds []measured
		for range b.opts.rounds {
			m, err := b.refreshRound(n)
			if err != nil {
				return err
			}
			rounds = append(rounds, m)
		}
		r := summarize(result{
			Scenario: "refresh", What: "refresh", Clients: n,
			Path: "POST /token; session row, audit entry, synced; new access token signed (ES256)",
		}, rounds)
		if n == 64 {
			r = r.target("≥ 5,000/s, p99 < 40 ms", r.Rate >= 5000 && r.P99 < 40*time.Millisecond)
		}
		b.add(r)
	}
	return nil
}

// eachClient is how many sessions a client of the refresh scenario takes in
// turn, so that it is not the same row each time.
const eachClient = 100

func (b *bench) refreshRound(n int) (measured, error) {
	all, err := b.sessions(n * eachClient)
	if err != nil {
		return measured{}, err
	}
	return b.round("refresh", n, refreshSteps(all, n))
}

// refreshSteps gives each of n clients sessions of its own.
func refreshSteps(all []session, n int) func(int) func(*conn) error {
	each := len(all) / n
	return func(i int) func(*conn) error {
		mine := all[i*each : (i+1)*each]
		var request, form []byte
		turn := 0
		return func(c *conn) error {
			s := &mine[turn%each]
			turn++
			form = append(append(form[:0], "grant_type=refresh_token&refresh_token="...), s.Refresh...)
			request = appendRequest(request[:0], "POST", "/token", "", "application/x-www-form-urlencoded", form)
			status, body, err := c.do(request)
			if err != nil {
				return err
			}
			next := string(field(body, "refresh_token"))
			if status != 200 || next == "" || next == s.Refresh || len(field(body, "access_token")) == 0 {
				return unexpected("refresh", status, body)
			}
			s.Refresh = next
			return nil
		}
	}
}

// perClient is more logouts than one client can make in a second.
const perClient = 4000

// logoutSteps hands out the sessions among n clients. carry says what a logout
// presents.
func logoutSteps(all []session, n int, carry func(request []byte, s session) []byte) func(int) func(*conn) error {
	return func(i int) func(*conn) error {
		var request []byte
		next := i
		return func(c *conn) error {
			if next >= len(all) {
				return errDone
			}
			s := all[next]
			next += n
			request = carry(request[:0], s)
			status, body, err := c.do(request)
			if err == nil && (status != 200 || !bytes.Contains(body, []byte(`"sessions_ended":1`)) ||
				string(field(body, "state")) != "enforced") {
				err = unexpected("logout", status, body)
			}
			return err
		}
	}
}

func byAccessToken(request []byte, s session) []byte {
	return appendRequest(request, "POST", "/logout", s.Access, "", nil)
}

func byRefreshToken(request []byte, s session) []byte {
	return appendRequest(request, "POST", "/logout", "", "application/json", []byte(`{"refresh_token":"`+s.Refresh+`"}`))
}

// logout ends sessions, each once. Every answer says that the revocation is
// durable and in force.
func (b *bench) logout() error {
	const durable = "; session row, log entry, audit entry, synced; in force at the answer"
	for _, v := range []struct {
		name    string
		path    string
		restart bool
		clients int
		carry   func([]byte, session) []byte
		target  func(*bench, result) result
	}{
		{"logout-uncached", "access token, server restarted before: signature checked" + durable, true, 64, byAccessToken, logoutTarget},
		{"logout-cached", "access token that this process signed: most are in its cache, where the last login in a slot stays" + durable, false, 64, byAccessToken, logoutTarget},
		{"logout-refresh", "refresh token" + durable, true, 64, byRefreshToken, logoutTarget},
		{"logout-uncached", "access token, server restarted before: signature checked" + durable, true, 1, byAccessToken, aloneTarget},
		{"logout-cached", "access token that this process signed: most are in its cache, where the last login in a slot stays" + durable, false, 1, byAccessToken, aloneTarget},
	} {
		var rounds []measured
		for range b.opts.rounds {
			m, err := b.logoutRound(v.name, v.restart, v.clients, v.carry)
			if err != nil {
				return err
			}
			rounds = append(rounds, m)
		}
		r := summarize(result{Scenario: "logout", What: "logout", Path: v.path, Clients: v.clients}, rounds)
		b.add(v.target(b, r))
	}
	return nil
}

func (b *bench) logoutRound(name string, restart bool, clients int, carry func([]byte, session) []byte) (measured, error) {
	if err := b.start(true, true); err != nil {
		return measured{}, err
	}
	all, err := b.sessions(b.enough(clients))
	if err != nil {
		return measured{}, err
	}
	if restart {
		if err := b.start(false, true); err != nil {
			return measured{}, err
		}
	}
	return b.round(name, clients, logoutSteps(all, clients, carry))
}

// enough is how many sessions a round of logouts may need; one that uses them up
// ends early, which its rate does not show.
func (b *bench) enough(clients int) int {
	return (b.opts.seconds + 1) * min(clients*perClient, 8_000)
}

func logoutTarget(_ *bench, r result) result {
	return r.target("≥ 4,000/s, p99 < 40 ms", r.Rate >= 4000 && r.P99 < 40*time.Millisecond)
}

// aloneTarget holds one client's logout against the disk.
func aloneTarget(b *bench, r result) result {
	took, err := syncTimes(b.dir, 2000) // now, because disks have moods
	if err != nil {
		return r.target("p50 ≤ 3 syncs; the sync failed: "+err.Error(), false)
	}
	sync := median(took)
	return r.target(fmt.Sprintf("p50 ≤ 3 syncs of %s; is %.1f", short(sync), float64(r.P50)/float64(sync)), r.P50 <= 3*sync)
}

// login measures what a login costs besides the hash of its password.
func (b *bench) login() error {
	for _, cheap := range []bool{false, true} {
		if err := b.start(true, cheap); err != nil {
			return err
		}
		var totals, hashes, rests []time.Duration
		var rounds []measured
		for range b.opts.rounds {
			// The hash is measured right before and right after, in the
			// server's process, because 20 ms of hash move by more than what
			// is asked for.
			h, err := b.server.ask(command{Hash: hashesFor(cheap)})
			if err != nil {
				return err
			}
			m, err := b.round("login", 1, func(int) func(*conn) error { return loginStep(prefix(cheap)) })
			if err != nil {
				return err
			}
			h2, err := b.server.ask(command{Hash: hashesFor(cheap)})
			if err != nil {
				return err
			}
			hash, total := median(append(h.Took, h2.Took...)), median(m.took)
			hashes, totals, rests = append(hashes, hash), append(totals, total), append(rests, total-hash)
			rounds = append(rounds, m)
		}
		cost := "argon2id, 19 MiB, 2 passes"
		if cheap {
			cost = "the smallest argon2id, 8 KiB, so that the rest can be seen"
		}
		r := summarize(result{Scenario: "login", What: "login", Path: "POST /token; " + cost, Clients: 1}, rounds)
		b.add(r)
		rest := result{
			Scenario: "login", What: "login without its hash", Clients: 1, P50: median(rests),
			Path: fmt.Sprintf("%s less the hash alone in the same process, %s", short(median(totals)), short(median(hashes))),
		}
		b.add(rest.target("< 1 ms", rest.P50 < time.Millisecond))
	}
	return nil
}

func prefix(cheap bool) string { return map[bool]string{true: "cheap", false: "full"}[cheap] }

func hashesFor(cheap bool) int {
	if cheap {
		return 2000
	}
	return 50
}

func loginStep(prefix string) func(*conn) error {
	var request []byte
	n := 0
	return func(c *conn) error {
		request = loginRequest(request[:0], prefix, n)
		n++
		status, body, err := c.do(request)
		if err == nil && (status != 200 || len(field(body, "access_token")) == 0) {
			err = unexpected("login", status, body)
		}
		return err
	}
}

func loginRequest(request []byte, prefix string, n int) []byte {
	form := fmt.Sprintf("grant_type=password&email=%s%d%%40bench.example&password=%s",
		prefix, n%users, strings.ReplaceAll(userPassword, " ", "+"))
	return appendRequest(request, "POST", "/token", "", "application/x-www-form-urlencoded", []byte(form))
}
