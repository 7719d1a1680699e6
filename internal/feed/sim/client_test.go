package sim

import (
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/store"
)

// ending is what a call of logout or revoke is about. It is repeated until it is
// answered, as a client does.
type ending struct {
	kind   curfew.Kind
	of     *issued
	target string
	done   bool // whether a commit has carried it out
	async  bool // asks how far it is instead of waiting
}

func (w *world) newEnding(d *dice) *ending {
	of := w.pick(d)
	if of == nil {
		return nil
	}
	e := &ending{kind: curfew.KindSession, of: of, target: of.claims.Session, async: d.chance(0.15)}
	if !w.on[widerLogouts] || d.chance(0.6) {
		return e
	}
	switch n := d.below(20); {
	case n < 6:
		e.kind, e.target = curfew.KindSubject, of.claims.Subject
	case n < 11:
		e.kind, e.target = curfew.KindToken, of.claims.ID
	case n < 14:
		e.kind, e.target = curfew.KindClient, of.claims.ClientID
	case n < 18:
		e.kind, e.target = curfew.KindKey, ""
	default:
		e.kind, e.target = curfew.KindEverything, ""
	}
	return e
}

// pick returns one of the newest tokens.
func (w *world) pick(d *dice) *issued {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tokens) == 0 {
		return nil
	}
	return w.tokens[len(w.tokens)-1-d.below(min(10, len(w.tokens)))]
}

// logOut has something ended, and repeats that until it is answered.
func (w *world) logOut(d *dice, e *ending) {
	w.seen.count(func(s *summary) { s.Logouts++ })
	for w.ctx.Err() == nil {
		a := w.up()
		if a != nil && a.end(d, e) {
			return
		}
		if !w.sleep(d.between(20*time.Millisecond, 500*time.Millisecond)) {
			return
		}
	}
}

// end is one call. It returns whether it was answered with enforced.
func (a *authority) end(d *dice, e *ending) bool {
	w := a.w
	var seq curfew.Seq
	var history int
	var began time.Duration
	ok := a.commit(d, func() {
		s := w.store
		began = w.now()
		now := a.clock.now()
		history = s.history
		r := curfew.Revocation{Kind: e.kind, Target: e.target, Reason: curfew.ReasonUser, RecordedAt: now, ExpiresAt: now.Add(maxLife + time.Second)}
		if e.done || e.of.history != s.history && e.kind != curfew.KindEverything && e.kind != curfew.KindKey {
			// It has happened already, or what it was about was lost with a log.
			// What is in the log by now must be in force before the answer.
			seq = s.head().Seq
			return
		}
		switch e.kind {
		case curfew.KindSession:
			row := s.sessions[e.target]
			if row == nil || row.ended {
				seq = s.head().Seq
				return
			}
			row.ended = true
			r.ExpiresAt = later(time.Unix(row.tokenExp, 0), now).Add(time.Second)
		case curfew.KindToken:
			r.ExpiresAt = time.Unix(e.of.claims.Exp+1, 0)
		case curfew.KindKey:
			old, ok := s.activateNext(store.KeyRevoked)
			if !ok {
				seq = s.head().Seq
				return
			}
			r.Target = pool()[old].KeyID()
		}
		e.done = true
		seq = s.append(r).Seq
		w.tracef("logout: %s %.6s is %d of log %d", e.kind, r.Target, seq, history)
	})
	if !ok {
		return false
	}
	if e.kind == curfew.KindKey {
		a.loadKeys()
	}
	if e.async {
		return a.follow(d, e, seq, history, began)
	}
	if err := a.log.Wait(a.ctx, seq); err != nil {
		return false // 503, the caller tries again
	}
	receipt, err := a.hub.Wait(a.ctx, seq)
	if err != nil || a.isDead() {
		return false
	}
	if receipt.State != feed.Enforced {
		w.t.Errorf("seed %d: waited for %d, and it is %s", w.seed, seq, receipt.State)
	}
	w.seen.enforced(enforced{at: w.now(), history: history, seq: seq, began: began, by: a})
	w.tracef("logout: %d of log %d is enforced", seq, history)
	w.probe(d, history, seq, e.of)
	return true
}

// follow asks for the state of a revocation until it is enforced.
func (a *authority) follow(d *dice, e *ending, seq curfew.Seq, history int, began time.Duration) bool {
	w := a.w
	a.log.Wake()
	for !a.isDead() {
		if a.log.Position().Seq >= seq && a.hub.Status(seq).State == feed.Enforced {
			w.seen.enforced(enforced{at: w.now(), history: history, seq: seq, began: began, by: a, late: true})
			w.tracef("logout: %d of log %d has been enforced", seq, history)
			w.probe(d, history, seq, e.of)
			return true
		}
		if !w.sleep(d.between(time.Millisecond, 300*time.Millisecond)) {
			return false
		}
	}
	return false
}

// probe has every guard asked about what has just ended, as good as at once and
// then for some time.
func (w *world) probe(d *dice, history int, seq curfew.Seq, of *issued) {
	var ended []*issued
	if of != nil {
		ended = append(ended, of)
	}
	w.mu.Lock()
	e := w.store.entry(history, seq)
	for n := len(w.tokens) - 1; n >= 0 && len(ended) < 2 && e != nil; n-- {
		if i := w.tokens[n]; i != of && i.history == history && covers(*e, i.claims) {
			ended = append(ended, i)
		}
	}
	w.mu.Unlock()
	for _, i := range ended {
		if w.seen.probed(i, w.now()) {
			continue
		}
		if a := w.up(); a != nil {
			a.judge(i)
		}
		for g := range w.guards {
			more := w.dice(forProbe, uint64(g), uint64(i.n), w.at())
			w.spawn(func() {
				for n, wait := range []time.Duration{50 * time.Microsecond, 5 * time.Millisecond, 150 * time.Millisecond, 2 * time.Second} {
					if !w.sleep(more.about(wait)) {
						return
					}
					if p := w.guards[g].up(); p != nil {
						p.check(i, n == 2 && more.chance(0.25))
					}
				}
			})
		}
	}
}

// entry returns an entry of a log, if that is still the one in use.
func (s *durable) entry(history int, seq curfew.Seq) *curfew.Revocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if history != s.history || seq < 1 || int(seq) > len(s.entries) {
		return nil
	}
	return &s.entries[seq-1]
}

// restart is the end of one run of the authority and the beginning of another,
// perhaps from a backup.
func (w *world) restart(d *dice, restore bool) {
	a := w.up()
	if a == nil {
		return
	}
	if d.chance(0.3) {
		a.shutDown(d)
	} else {
		a.crash()
	}
	if d.chance(0.5) {
		w.sleep(d.about(30 * time.Millisecond))
	} else {
		w.sleep(min(d.about(time.Second), 3*time.Second))
	}
	var history int
	var head curfew.Seq
	if restore {
		history, head = w.restore(d)
	}
	w.startAuthority()
	if restore {
		w.awaitRestore(history, head)
	}
}

// restore puts an older state of the store in place.
func (w *world) restore(d *dice) (history int, head curfew.Seq) {
	w.mu.Lock()
	n := len(w.backups)
	var b *durable
	if n > 0 {
		b = w.backups[d.below(n)]
	}
	w.mu.Unlock()
	if b == nil {
		b = newStore(w)
	}
	wall := time.Unix(0, w.iron.read(w.now()).Wall)
	history, head = w.store.restore(b, wall)
	w.seen.restored(w.now(), history)
	w.tracef("restored: log %d at %d", history, head)
	w.seen.count(func(s *summary) { s.Restores++ })
	return history, head
}

// awaitRestore waits until what a restore has revoked is in force.
func (w *world) awaitRestore(history int, head curfew.Seq) {
	a := w.up()
	if a == nil {
		return
	}
	w.spawn(func() {
		receipt, err := a.hub.Wait(a.ctx, head)
		if err == nil && receipt.State == feed.Enforced && !a.isDead() {
			w.seen.enforced(enforced{at: w.now(), history: history, seq: head, began: a.since, by: a})
			w.probe(w.dice(forProbe, w.at()), history, head, nil)
		}
	})
}
