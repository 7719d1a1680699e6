package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
)

// play is a run: things go wrong for a while, then they calm down.
func (w *world) play() {
	w.startAuthority()
	for _, g := range w.guards {
		g.boot()
	}
	w.actors()
	w.sleep(w.chaos)
	w.heal()
	w.ask()
	w.cancel()
	w.all.Wait()
}

// actors start everything that happens by itself.
func (w *world) actors() {
	id := uint64(0)
	actor := func(mean time.Duration, do func(d *dice)) {
		id++
		w.actor(id, mean, do)
	}
	actor(1200*time.Millisecond, func(d *dice) {
		if a := w.up(); a != nil && a.logIn(d) != nil {
			w.seen.count(func(s *summary) { s.Logins++ })
		}
	})
	actor(4*time.Second, func(d *dice) {
		if a, of := w.up(), w.pick(d); a != nil && of != nil && a.refresh(d, of) != nil {
			w.seen.count(func(s *summary) { s.Refreshes++ })
		}
	})
	actor(1800*time.Millisecond, func(d *dice) {
		if e := w.newEnding(d); e != nil {
			w.ending(d, e)
		}
	})
	actor(7*time.Second, func(d *dice) { // several at once
		for i := range 2 + d.below(4) {
			if e := w.newEnding(d); e != nil {
				more := w.dice(forClient, uint64(i), w.at())
				w.spawn(func() {
					if w.sleep(more.about(time.Millisecond)) {
						w.ending(more, e)
					}
				})
			}
		}
	})
	for _, g := range w.guards {
		actor(250*time.Millisecond, func(d *dice) { // its traffic
			if p, i := g.up(), w.pick(d); p != nil && i != nil {
				w.spawn(func() { p.check(i, d.chance(0.05)) })
			}
		})
		if w.on[cuts] {
			actor(4*time.Second, func(d *dice) {
				until := w.now() + d.about(2*time.Second)
				which := d.below(3)
				if which != down {
					w.net.cut(g.id, up, until)
				}
				if which != up {
					w.net.cut(g.id, down, until)
				}
				w.tracef("guard %d: cut %d until %.9f", g.id, which, until.Seconds())
				w.seen.count(func(s *summary) { s.Cuts++ })
				// What was granted just before is the longest that can be out there.
				if e := w.newEnding(d); e != nil && d.chance(0.5) {
					w.ending(d, e)
				}
			})
		}
		if w.on[pauses] {
			actor(7*time.Second, func(d *dice) {
				if p := g.up(); p != nil {
					p.freeze(min(100*time.Millisecond+d.about(2*time.Second), 10*time.Second))
				}
			})
		}
		if w.on[guardCrashes] || w.on[releases] {
			actor(10*time.Second, func(d *dice) {
				p := g.up()
				if p == nil {
					return
				}
				if w.on[releases] && (!w.on[guardCrashes] || d.chance(0.4)) {
					p.close()
				} else {
					p.kill()
				}
				w.sleep(min(d.about(700*time.Millisecond), 3*time.Second))
				g.boot()
			})
		}
		w.clockFaults(actor, g.clock, g)
	}
	w.clockFaults(actor, w.iron, nil)
	if w.on[authorityCrashes] {
		actor(7*time.Second, func(d *dice) {
			w.restart(d, w.on[restores] && d.chance(0.3))
		})
	} else if w.on[restores] {
		actor(15*time.Second, func(d *dice) { w.restart(d, true) })
	}
	actor(3*time.Second, func(*dice) {
		b := w.store.copy()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.backups = append(w.backups, b)
	})
	actor(5*time.Second, func(*dice) {
		if a := w.up(); a != nil {
			a.tidy()
		}
	})
	if w.on[crowds] {
		for n := range 12 {
			w.spawn(func() { w.bystander(n) })
		}
	}
	if w.on[floods] {
		actor(5*time.Second, w.flood)
	}
}

// clockFaults are those of one machine. g is nil for that of the authority.
func (w *world) clockFaults(actor func(time.Duration, func(*dice)), m *machine, g *guard) {
	// A machine whose monotonic clock stands still while its wall clock is set
	// back has no clock at all, which is not promised for.
	suspended := w.on[suspends] && g != nil && (!w.on[wallJumps] || g.id%2 == 0)
	if w.on[wallJumps] && !suspended {
		actor(5*time.Second, func(d *dice) {
			by := []time.Duration{
				d.between(-time.Second, time.Second), d.between(-time.Minute, time.Minute), -d.between(0, 10*year), d.between(0, 10*year),
			}[d.below(4)]
			if g == nil && by > 5*time.Second && d.chance(0.9) {
				by = -by // forward it ends everybody's session, which shows nothing
			}
			if g == nil && m.read(w.now()).Wall+int64(by) < 0 {
				return // there are no tokens of before 1970
			}
			m.jumpBy(by)
			w.tracef("clock of %v: jumps by %v", g.nameOr("the authority"), by)
			w.seen.count(func(s *summary) { s.Jumps++ })
		})
	}
	if suspended {
		actor(8*time.Second, func(d *dice) {
			p := g.up()
			if p == nil {
				return
			}
			long := min(100*time.Millisecond+d.about(3*time.Second), 10*time.Second, w.chaos+3*time.Second-w.now())
			p.freeze(long)
			m.suspend(w.now())
			w.tracef("guard %d: suspended for %v", g.id, long)
			w.seen.count(func(s *summary) { s.Suspends++ })
			w.sleep(long)
			m.resume(w.now())
		})
	}
}

func (g *guard) nameOr(other string) string {
	if g == nil {
		return other
	}
	return g.name()
}

// bystander is one of many verifiers whose verdicts nobody looks at. They are
// there, have leases and acknowledge, and are woken together.
func (w *world) bystander(n int) {
	d := w.dice(forBystander, uint64(n))
	p := feed.Poll{Instance: fmt.Sprintf("%032x", 1<<60|n)}
	for w.sleep(d.about(2 * time.Millisecond)) {
		a := w.up()
		if a == nil {
			if !w.sleep(d.about(100 * time.Millisecond)) {
				return
			}
			continue
		}
		p.Poll++
		p.WaitMS = 1000
		q := p
		g, err := a.hub.Poll(a.ctx, "bystander", &q)
		switch {
		case errors.Is(err, feed.ErrSnapshotRequired):
			var b bytes.Buffer
			a.hub.Snapshot().WriteTo(&b)
			var h feed.SnapshotHeader
			if err := json.NewDecoder(&b).Decode(&h); err != nil {
				w.t.Errorf("a snapshot: %v", err)
			}
			p.Log, p.Seq, p.Hash = h.Log, h.Seq, h.Hash
		case err == nil && !a.isDead():
			p.Log, p.Seq, p.Hash = g.Log, g.Seq, g.Hash
			if g.Keys != nil {
				p.Keys = g.Keys.Version
			}
		}
	}
}

// flood is more than the window of the log holds.
func (w *world) flood(d *dice) {
	a := w.up()
	if a == nil || w.flooded {
		return
	}
	w.flooded = true
	w.store.change(a.clock.now(), func() {
		for range 13_000 {
			w.store.append(curfew.Revocation{
				Kind: curfew.KindSession, Target: hexID(d.next()), Reason: curfew.ReasonUser, ExpiresAt: a.clock.now().Add(d.about(5 * time.Second)),
			})
		}
	})
	a.log.Wake()
}

// ending starts a logout.
func (w *world) ending(d *dice, e *ending) {
	w.mu.Lock()
	w.waiting++
	w.mu.Unlock()
	w.spawn(func() {
		w.logOut(d, e)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waiting--
	})
}

// heal ends all faults, and waits as long as everything may take to be well
// again: messages are on their way, processes stand still, others are starting.
func (w *world) heal() {
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	w.tracef("calm")
	for g := range w.guards {
		for direction := range 2 {
			w.net.clear(g, direction)
		}
	}
	w.sleep(9 * time.Second)
}

// ask sees whether everything is well: a logout takes no time, and each guard
// has a verdict on each token.
func (w *world) ask() {
	d := w.dice(forClient, 1<<32)
	if a := w.up(); a != nil {
		a.logIn(d)
		if of := a.logIn(d); of != nil {
			began := w.now()
			w.logOut(d, &ending{kind: curfew.KindSession, of: of, target: of.claims.Session})
			w.quick = w.now() - began
		}
	}
	for _, g := range w.guards {
		for _, i := range w.tokens {
			if p := g.up(); p != nil {
				p.judge(check{token: i, last: true})
			}
		}
	}
}

// notWell returns what is not well although nothing is wrong any more.
func (w *world) notWell() []string {
	var out []string
	if w.waiting > 0 {
		out = append(out, fmt.Sprintf("live: %d logouts were never answered", w.waiting))
	}
	if w.authority == nil {
		out = append(out, "the authority never came back")
	}
	if w.quick == 0 || w.quick > 100*time.Millisecond {
		out = append(out, fmt.Sprintf("live: a logout took %v when all was well", w.quick))
	}
	asked := map[int]int{}
	fates := w.seen.fates(w.tokens)
	for _, c := range w.seen.checks {
		if !c.last {
			continue
		}
		asked[c.guard]++
		ended := fates[c.token].recorded <= c.start
		switch {
		case c.verdict == stale:
			out = append(out, fmt.Sprintf("live: guard %d is stale when all is well", c.guard))
		case c.verdict == accepted && ended:
			out = append(out, fmt.Sprintf("live: guard %d accepts token %d when all is well, and %s", c.guard, c.token.n, fates[c.token].why))
		case c.verdict == revoked && !ended || c.verdict == invalid && !ended:
			out = append(out, fmt.Sprintf("live: guard %d refuses token %d when all is well: %v", c.guard, c.token.n, c.verdict))
		}
	}
	for g := range w.guards {
		if asked[g] != len(w.tokens) {
			out = append(out, fmt.Sprintf("live: guard %d answered %d of %d when all was well", g, asked[g], len(w.tokens)))
		}
	}
	return out
}
