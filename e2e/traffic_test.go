package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// traffic is clients that share users and sessions.
type traffic struct {
	c         *cluster
	h         *history
	observers []string
	users     []*user
	hot       int // how many users are visited most at a time
	seed      uint64

	// Clients wait for a process that was stopped, since its late answers are
	// the ones to look at, but not all of them.
	slots []chan struct{} // by observer, for questions
	calls chan struct{}   // logins and refreshes
	ends  chan struct{}   // logouts

	disagreed atomic.Bool

	mu        sync.Mutex
	anomalies []string
}

// user is known by its number to all clients.
type user struct {
	id int

	mu       sync.Mutex
	sessions []*session
}

// session is what the clients know of one.
type session struct {
	user, n int
	id      string

	refreshing sync.Mutex // one at a time, or a repetition would look like theft

	mu      sync.Mutex
	access  []string // the last ones
	refresh string
	counter int
	broken  bool // a refresh is under way that may come too late: none after it
	ended   bool // somebody has tried to end it
}

const (
	clients    = 32
	keepAccess = 3
)

func newTraffic(c *cluster, h *history, observers []string, seed uint64) *traffic {
	t := &traffic{c: c, h: h, observers: observers, seed: seed, hot: 24, calls: make(chan struct{}, 8), ends: make(chan struct{}, 10)}
	for i := range c.cfg.Users {
		t.users = append(t.users, &user{id: i})
	}
	for range observers {
		t.slots = append(t.slots, make(chan struct{}, 5))
	}
	return t
}

func (t *traffic) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(t.seed, stream)) }

func (t *traffic) anomaly(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.anomalies) < 20 {
		t.anomalies = append(t.anomalies, fmt.Sprintf(format, args...))
	}
}

// run makes traffic until ctx is done.
func (t *traffic) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			k := &client{traffic: t, n: i, rnd: t.random(uint64(i) + 1)}
			for ctx.Err() == nil {
				k.step()
				pause(ctx, time.Duration(k.rnd.IntN(int(30*time.Millisecond))))
			}
		})
	}
	all.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// client is one of many that does one thing at a time.
type client struct {
	*traffic
	n   int
	rnd *rand.Rand
}

func try(slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (k *client) step() {
	u := k.pickUser()
	s := u.pick(k.rnd)
	switch p := k.rnd.IntN(100); {
	case s == nil || u.live() < 2 || p < 2 && u.live() < 4:
		k.login(u)
	case p < 8:
		k.refresh(s)
	case p < 12:
		k.logout(s)
	case p == 12 && k.rnd.IntN(2) == 0:
		k.logoutAll(s)
	default:
		k.verify(s, observer(k.rnd.IntN(len(k.observers))))
	}
}

// pickUser mostly takes one out of a window that moves along all users, so
// that many clients meet at the same ones.
func (k *client) pickUser() *user {
	if k.rnd.IntN(10) == 0 {
		return k.users[k.rnd.IntN(len(k.users))]
	}
	first := int(k.h.now()/int64(3*time.Second)) * k.hot
	return k.users[(first+k.rnd.IntN(k.hot))%len(k.users)]
}

// live is how many sessions nobody has tried to end.
func (u *user) live() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, s := range u.sessions {
		s.mu.Lock()
		if !s.ended {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// pick returns a session, most likely a recent one.
func (u *user) pick(rnd *rand.Rand) *session {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.sessions)
	if n == 0 {
		return nil
	}
	if rnd.IntN(4) > 0 {
		return u.sessions[n-1-rnd.IntN(min(n, 4))]
	}
	return u.sessions[rnd.IntN(n)]
}

func (k *client) login(u *user) {
	if !try(k.calls) {
		return
	}
	defer func() { <-k.calls }()
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
	defer cancel()
	o := op{Client: k.n, Kind: opLogin, User: u.id, Call: k.h.now()}
	got, err := k.c.login(ctx, u.id)
	o.Return = k.h.now()
	if err != nil {
		// If it began a session nobody knows it.
		k.unexpected("login", err)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s := &session{user: u.id, n: len(u.sessions), id: got.Session, access: []string{got.Access}, refresh: got.Refresh}
	u.sessions = append(u.sessions, s)
	o.Session, o.ID, o.Outcome = s.n, s.id, done
	k.h.add(o)
}

// unexpected notes answers that nothing in these tests should lead to.
func (k *client) unexpected(what string, err error) {
	var status *statusError
	if errors.As(err, &status) && status.Status != 503 || errors.Is(err, errRecorded) {
		k.anomaly("%s: %v", what, err)
	}
}

func (k *client) verify(s *session, at observer) {
	if at == atRefresh {
		k.refresh(s)
		return
	}
	if !try(k.slots[at]) {
		return
	}
	defer func() { <-k.slots[at] }()
	k.ask(s, at)
}

// ask lets an observer judge one of the last access tokens of a session.
func (k *client) ask(s *session, at observer) verdict {
	s.mu.Lock()
	token := s.access[k.rnd.IntN(len(s.access))]
	s.mu.Unlock()
	// Longer than any process is stopped for.
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
	defer cancel()
	o := op{Client: k.n, Kind: opVerify, User: s.user, Session: s.n, ID: s.id, Observer: at, Call: k.h.now()}
	var detail string
	switch at {
	case atUser:
		o.Outcome, detail = k.c.ask(ctx, k.c.url("/user"), token)
	case atIntrospect:
		o.Outcome, detail = k.c.introspect(ctx, token)
	default:
		o.Outcome, detail = k.c.ask(ctx, k.c.verifiers[at-atVerifier].url(), token)
	}
	o.Return = k.h.now()
	switch o.Outcome {
	case stale, failed:
	case accepted:
		if who := sessionIn(detail); who != "" && who != s.id {
			k.anomaly("%s takes session %s for %s", k.observers[at], s.id, who)
		}
	case refused:
		o.Detail = detail
	default:
		k.anomaly("%s answers %s: %.200s", k.observers[at], o.Outcome, detail)
		return o.Outcome
	}
	k.h.add(o)
	return o.Outcome
}

// sessionIn is the session that an answer names, if it names one.
func sessionIn(body string) string {
	var in struct {
		Session string `json:"session_id"`
		SID     string `json:"sid"`
	}
	if json.Unmarshal([]byte(body), &in) != nil {
		return ""
	}
	return in.Session + in.SID
}

// resend bounds how long after its first sending a refresh is repeated, and
// graceEnds is when the authority may take a repetition for theft. It counts
// from the first exchange, which is not before the first sending.
const (
	resend    = 3 * time.Second
	graceEnds = 9 * time.Second
)

// refresh exchanges the refresh token of a session. If the answer is lost it
// repeats the call while that is no theft, and otherwise leaves the session be.
func (k *client) refresh(s *session) verdict {
	if !s.refreshing.TryLock() {
		return failed
	}
	defer s.refreshing.Unlock()
	s.mu.Lock()
	token, counter, broken := s.refresh, s.counter, s.broken
	s.mu.Unlock()
	if broken || !try(k.calls) {
		return failed
	}
	defer func() { <-k.calls }()
	began := k.h.now()
	for attempt := 0; ; attempt++ {
		o := op{Client: k.n, Kind: opRefresh, User: s.user, Session: s.n, ID: s.id, Observer: atRefresh, Counter: counter, Call: k.h.now()}
		ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
		got, err := k.c.refresh(ctx, token)
		timeout := ctx.Err() != nil
		cancel()
		o.Return = k.h.now()
		if attempt > 0 && (err != nil && err != errNoRefresh || time.Duration(o.Return-began) > graceEnds) {
			// It may have been carried out after the grace window, or yet be.
			k.h.add(op{Client: k.n, Kind: opReuse, User: s.user, Session: s.n, ID: s.id, Call: o.Call, Return: never, Outcome: unknown})
		}
		switch {
		case err == nil && got.Session != s.id:
			k.anomaly("a refresh of session %s gave tokens of session %s", s.id, got.Session)
			return failed
		case err == nil:
			o.Outcome, o.Detail = accepted, digest(got.Refresh)
			k.h.add(o)
			s.mu.Lock()
			s.access = append(s.access, got.Access)
			if len(s.access) > keepAccess {
				s.access = s.access[1:]
			}
			s.refresh, s.counter = got.Refresh, counter+1
			s.mu.Unlock()
			return accepted
		case err == errNoRefresh:
			o.Outcome = refused
			k.h.add(o)
			return refused
		}
		k.unexpected("refresh", err)
		o.Outcome, o.Return = unknown, never
		k.h.add(o)
		if timeout || time.Duration(k.h.now()-began) > resend {
			s.mu.Lock()
			s.broken = true
			s.mu.Unlock()
			return failed
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// digest tells refresh tokens apart without keeping them.
func digest(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	return strconv.FormatUint(h.Sum64(), 16)
}

func (k *client) logout(s *session) {
	if !try(k.ends) {
		return
	}
	defer func() { <-k.ends }()
	s.mu.Lock()
	s.ended = true
	bearer, refresh, by := s.access[k.rnd.IntN(len(s.access))], "", "access token"
	if k.rnd.IntN(2) == 0 {
		bearer, refresh, by = "", s.refresh, "refresh token"
	}
	s.mu.Unlock()
	defer k.beside(func(other *client) { other.refresh(s) })()
	for range 3 {
		o := op{Client: k.n, Kind: opLogout, User: s.user, Session: s.n, ID: s.id, By: by, Call: k.h.now()}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		e, err := k.c.logout(ctx, "/logout", bearer, refresh)
		cancel()
		k.end(o, e, err)
		if err == nil {
			k.askAll(s)
			return
		}
		if k.rnd.IntN(3) == 0 {
			return // not everybody tries again
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// beside lets another client do something at the very same time, every other
// time. What it returns waits for the end of that.
func (k *client) beside(do func(*client)) (wait func()) {
	if k.rnd.IntN(2) == 0 {
		return func() {}
	}
	other := &client{traffic: k.traffic, n: k.n + clients, rnd: rand.New(rand.NewPCG(k.rnd.Uint64(), 0))}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(other)
	}()
	return func() { <-done }
}

// end notes a logout that was answered or not.
func (k *client) end(o op, e ended, err error) {
	o.Return = k.h.now()
	if err != nil {
		k.unexpected(string(o.Kind), err)
		o.Return, o.Outcome, o.Detail = never, unknown, err.Error()
	} else {
		o.Outcome = done
		o.Detail = fmt.Sprintf("%d ended, seq %d, %d ms, %d unacknowledged", e.Sessions, e.Revocation.Seq, e.Revocation.TookMS, len(e.Revocation.Unacknowledged))
	}
	k.h.add(o)
}

// askAll asks every observer, in any order: at once is what was promised.
func (k *client) askAll(s *session) {
	for _, i := range k.rnd.Perm(len(k.observers)) {
		k.verify(s, observer(i))
	}
}

func (k *client) logoutAll(s *session) {
	if !try(k.ends) {
		return
	}
	defer func() { <-k.ends }()
	u := k.users[s.user]
	u.mu.Lock()
	before := append([]*session(nil), u.sessions...)
	u.mu.Unlock()
	for _, x := range before {
		x.mu.Lock()
		x.ended = true
		x.mu.Unlock()
	}
	s.mu.Lock()
	bearer := s.access[len(s.access)-1]
	s.mu.Unlock()
	defer k.beside(func(other *client) { other.login(u) })()
	o := op{Client: k.n, Kind: opLogoutAll, User: s.user, Session: s.n, ID: s.id, By: "access token", Call: k.h.now()}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	e, err := k.c.logout(ctx, "/logout/all", bearer, "")
	cancel()
	if err == nil && e.Scope != "global" {
		// The credential was dead already: it ends its own session only.
		o.Kind = opLogout
	}
	o.Each = err == nil && e.Sessions == 0
	k.end(o, e, err)
	if err == nil && o.Kind == opLogoutAll {
		k.askAll(before[k.rnd.IntN(len(before))])
	}
}

// sweep asks all observers about sessions, when everything works again, until
// they agree. It returns how many it asked about.
func (t *traffic) sweep(limit int) int {
	var list []*session
	for _, u := range t.users {
		u.mu.Lock()
		list = append(list, u.sessions...)
		u.mu.Unlock()
	}
	rnd := t.random(0)
	rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	list = list[:min(limit, len(list))]
	work := make(chan *session)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			k := &client{traffic: t, n: 2*clients + i, rnd: t.random(uint64(2*clients + i))}
			for s := range work {
				k.agree(s)
			}
		})
	}
	for _, s := range list {
		work <- s
	}
	close(work)
	all.Wait()
	return len(list)
}

// agree asks until all observers say the same of a session. One that nobody
// was told to have ended may still be on its way to its end.
func (k *client) agree(s *session) {
	var said []verdict
	patience := 20 * time.Second
	if k.disagreed.Load() {
		patience = 0 // it has been shown
	}
	agreed := eventually(patience, func() bool {
		said = said[:0]
		for at := range observer(len(k.observers)) {
			v := failed
			if at == atRefresh {
				if v = k.refresh(s); v == failed {
					continue // it cannot be asked
				}
			} else {
				v = k.ask(s, at)
			}
			said = append(said, v)
		}
		for _, v := range said {
			if v != said[0] || v != accepted && v != refused {
				return false
			}
		}
		return true
	})
	if !agreed {
		k.disagreed.Store(true)
		k.anomaly("the observers do not agree on session %s of user %d: %v", s.id, s.user, said)
	}
}
