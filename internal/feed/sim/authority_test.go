package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/revlog"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
)

const (
	issuer   = "https://id.example.com"
	audience = "curfew"
)

// pool is the signing keys, the same for all runs of all times.
var pool = sync.OnceValue(func() []*token.Signer {
	var out []*token.Signer
	for n := range 40 {
		seed := sha256.Sum256(fmt.Append(nil, "a signing key of the simulation ", n))
		key := ed25519.NewKeyFromSeed(seed[:])
		kid, err := token.KeyID(key.Public())
		if err != nil {
			panic(err)
		}
		s, err := token.NewSigner(kid, token.EdDSA, key)
		if err != nil {
			panic(err)
		}
		out = append(out, s)
	}
	return out
})

// authority is one run of the authority's process, from a start to a crash.
type authority struct {
	w     *world
	ctx   context.Context
	stop  context.CancelFunc
	dead  atomic.Bool
	clock *authorityClock
	deny  *denylist.Set
	check *verify.Verifier
	hub   *feed.Hub
	log   *revlog.Log
	lease time.Duration
	since time.Duration // true time
	boot  time.Duration // true time until which leases of before may last
}

func (a *authority) isDead() bool { return a.dead.Load() }

// startAuthority does what authority.Open and Run do.
func (w *world) startAuthority() {
	w.mu.Lock()
	lease := w.leases[min(w.starts, len(w.leases)-1)]
	w.starts++
	w.mu.Unlock()
	state, _ := w.store.State(w.ctx)
	a := &authority{w: w, clock: newAuthorityClock(w, w.iron, state.TimeHighWater), deny: denylist.New(), lease: lease, since: w.now()}
	a.boot = a.since
	if state.LeaseLife > 0 {
		a.boot += w.iron.real(feed.Wait(state.LeaseLife))
	}
	a.ctx, a.stop = context.WithCancel(w.ctx)
	a.hub = feed.NewHub(feed.HubConfig{
		Lease: lease, Noted: state.LeaseLife, Time: a.clock.now, Ticks: ticks{w, w.iron},
		Note: func(_ context.Context, lease time.Duration) error {
			w.store.change(a.clock.now(), func() { w.store.leaseLife = max(w.store.leaseLife, lease) })
			return nil
		},
		Lapsed: func(string) { w.seen.count(func(s *summary) { s.Lapses++ }) },
	}, feed.Base{Log: state.Head.LogID})
	a.check = verify.New(verify.Config{
		Issuer: issuer, Audience: audience, Denylist: a.deny, CacheSize: 64,
		Clock: func() (time.Time, error) { return a.clock.now(), nil },
	})
	for {
		var err error
		if a.log, err = revlog.Open(a.ctx, w.store, a.deny, a.hub, slog.New(slog.DiscardHandler)); err == nil {
			break
		}
		if !w.sleep(10 * time.Millisecond) {
			return
		}
	}
	a.hub.Loaded()
	a.loadKeys()
	w.spawn(func() { a.log.Run(a.ctx) })
	w.spawn(func() { a.hub.Run(a.ctx) })
	w.mu.Lock()
	w.authority = a
	w.mu.Unlock()
	w.seen.count(func(s *summary) { s.Starts++ })
	w.tracef("authority: started on %s at %d, lease %v, noted %v", state.Head.LogID, a.log.Position().Seq, lease, state.LeaseLife)
}

// crash ends the process. Whatever it was about to answer is lost.
func (a *authority) crash() {
	a.w.tracef("authority: crashed")
	a.w.mu.Lock()
	a.w.authority = nil
	a.w.mu.Unlock()
	a.dead.Store(true)
	a.stop()
}

// shutDown stops the process in order: polls that wait are answered, with
// leases.
func (a *authority) shutDown(d *dice) {
	a.w.tracef("authority: stopping")
	a.w.mu.Lock()
	a.w.authority = nil
	a.w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.hub.Run(ctx) // what Run does when it is told to stop
	a.w.sleep(d.between(time.Millisecond, 200*time.Millisecond))
	a.dead.Store(true)
	a.stop()
}

// loadKeys puts the keys of the store in use.
func (a *authority) loadKeys() {
	s := a.w.store
	var public []token.PublicKey
	s.mu.Lock()
	for _, k := range s.keys {
		if k.status == store.KeyActive || k.status == store.KeyAnnounced || k.status == store.KeyRetained {
			public = append(public, pool()[k.n].Public())
		}
	}
	s.mu.Unlock()
	set := token.NewKeySet(public...)
	jwks := set.JWKS()
	version := sha256.Sum256(jwks)
	a.check.SetKeys(set)
	a.hub.SetKeys(issuer, hex.EncodeToString(version[:16]), jwks)
	for _, k := range public {
		a.w.seen.keyKnown(k.ID, a.w.now())
	}
}

// commit makes a change durable. It returns false if the process died on the
// way, be it before or after.
func (a *authority) commit(d *dice, f func()) bool {
	if !a.w.sleep(d.about(300*time.Microsecond)) || a.isDead() {
		return false
	}
	a.w.store.change(a.clock.now(), f)
	return a.w.sleep(d.about(300*time.Microsecond)) && !a.isDead()
}

// tidy forgets what no token can need, as Tidy does.
func (a *authority) tidy() {
	now := a.clock.now()
	a.w.store.change(now, func() {})
	compacted := a.w.store.compact(now)
	a.deny.Forget(now)
	a.hub.Forget(now)
	a.w.seen.count(func(s *summary) { s.Compactions++ })
	a.w.tracef("authority: compacted up to %d, horizon %d", compacted, now.Unix())
}

// issued is a token that somebody has.
type issued struct {
	n       int
	claims  curfew.Claims
	raw     string
	history int // the log that it was issued under
	at      time.Duration
	// verify is whether verifiers verify its signature. The others are put into
	// their caches, which costs less.
	verify bool
}

// logIn begins a session and returns its first token, or nil.
func (a *authority) logIn(d *dice) *issued {
	n := uint64(d.next())
	row := &session{
		id: hexID(n), subject: []string{"ann", "bob", "eve", "joe"}[d.below(4)], client: []string{"web", "app"}[d.below(2)],
	}
	var out *issued
	if !a.commit(d, func() {
		s := a.w.store
		row.epoch = s.head().Seq
		out = a.issue(d, row)
		s.sessions[row.id] = row
	}) {
		return nil
	}
	return out.deliver(a)
}

func hexID(n uint64) string {
	var b [16]byte
	for i := range b {
		b[i] = byte(mix(n) >> (i % 8 * 8))
		if i == 7 {
			n++
		}
	}
	return hex.EncodeToString(b[:])
}

// refresh returns another token of the session of one, or nil.
func (a *authority) refresh(d *dice, of *issued) *issued {
	var out *issued
	if !a.commit(d, func() {
		row := a.w.store.sessions[of.claims.Session]
		if row != nil && !a.w.store.dead(row) {
			out = a.issue(d, row)
		}
	}) || out == nil {
		return nil
	}
	return out.deliver(a)
}

// issue composes a token in a commit.
func (a *authority) issue(d *dice, row *session) *issued {
	s := a.w.store
	var key int
	for _, k := range s.keys {
		if k.status == store.KeyActive {
			key = k.n
		}
	}
	now := a.clock.now().Unix()
	life := 4 + d.below(int(maxLife/time.Second)-5)
	out := &issued{history: s.history, verify: d.chance(0.05), claims: curfew.Claims{
		Issuer: issuer, Audience: []string{audience}, Subject: row.subject, ClientID: row.client, Session: row.id,
		ID: hexID(d.next()), Iat: now, Exp: now + int64(life), Ver: row.epoch,
	}}
	row.tokenExp = max(row.tokenExp, out.claims.Exp)
	var err error
	if out.raw, err = pool()[key].Sign(out.claims); err != nil {
		a.w.t.Errorf("signing: %v", err)
	}
	out.claims.KeyID = pool()[key].KeyID()
	return out
}

// deliver gives the token to its owner.
func (i *issued) deliver(a *authority) *issued {
	w := a.w
	w.mu.Lock()
	i.n, i.at = len(w.tokens), w.now()
	w.tokens = append(w.tokens, i)
	w.mu.Unlock()
	w.tracef("token %d: session %.6s of %s at %s, ver %d, key %.6s, log %d", i.n, i.claims.Session, i.claims.Subject, i.claims.ClientID, i.claims.Ver, i.claims.KeyID, i.history)
	return i
}

// activateNext makes the announced key the active one, announces another, and
// gives the active one the status that it has from now on. It returns false if
// there are no keys left.
func (s *durable) activateNext(then store.KeyStatus) (old int, ok bool) {
	next := len(s.keys)
	if next >= len(pool()) {
		return 0, false
	}
	for i, k := range s.keys {
		switch k.status {
		case store.KeyActive:
			s.keys[i].status = then
			old = k.n
		case store.KeyAnnounced:
			s.keys[i].status = store.KeyActive
		}
	}
	s.keys = append(s.keys, keyRow{next, store.KeyAnnounced})
	return old, true
}
