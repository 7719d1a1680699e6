package guardtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/token"
)

// Authority is an authority in memory.
type Authority struct {
	// URL is where it is asked; the Authority of a guard.Config.
	URL string

	t      testing.TB
	server *httptest.Server
	gate   gate
	asked  counters

	// mu covers all that follows. It makes one ending at a time append to the
	// log, as the log demands.
	mu      sync.Mutex
	lease   time.Duration
	key     string // that verifiers need; empty = none
	log     string
	entries []curfew.Revocation
	denied  *denylist.Set
	hub     *feed.Hub
	running context.Context // of the hub
	stop    func()
	signers []*token.Signer // of the keys in use; the last one signs
	// firstKey is the key that the log began with.
	firstKey string
	// issued is what introspection knows as live unless it is denied: the
	// claims of tokens and of cookies, by their text.
	issued map[string]*guard.Claims
	// known is what was ever issued to, so that a misspelt name in a test is
	// an error and not an ending of nothing.
	known map[curfew.Kind]map[string]bool
	users map[string]*User // by what they sign in with
	last  time.Time        // exp of the token that lives longest
	seen  map[string]time.Time
}

// New starts an authority that lasts until the test ends.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{
		t: t, lease: 3 * time.Second, log: curfew.NewID(),
		denied: denylist.New(), issued: map[string]*guard.Claims{}, seen: map[string]time.Time{}, users: map[string]*User{},
		known: map[curfew.Kind]map[string]bool{
			curfew.KindSession: {}, curfew.KindSubject: {}, curfew.KindClient: {}, curfew.KindKey: {},
		},
	}
	a.gate.open(up, 0)
	a.addKey()
	a.firstKey = a.signer().KeyID()
	a.start(0)
	a.server = httptest.NewServer(a.handler())
	a.URL = a.server.URL
	t.Cleanup(func() {
		a.gate.open(down, 0) // what is held is let go, or Close would wait for it
		a.server.Close()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.stop()
	})
	return a
}

// start starts a hub with the log as it is. Noted is the lease that an earlier
// one gave. The caller holds mu, or nobody else knows a yet.
func (a *Authority) start(noted time.Duration) {
	hub := feed.NewHub(feed.HubConfig{
		Lease: a.lease, Noted: noted,
		Seen: func(session string, at time.Time) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.seen[session] = at
		},
	}, feed.Base{Log: a.log})
	hub.Append(a.entries, a.head())
	hub.Loaded()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hub.Run(ctx) // ends with ctx
	}()
	a.hub, a.running = hub, ctx
	a.stop = func() {
		cancel()
		<-done
	}
	a.publish()
}

// head is the end of the log. The caller holds mu.
func (a *Authority) head() curfew.Position {
	p := curfew.Position{LogID: a.log}
	if n := len(a.entries); n > 0 {
		p.Seq, p.Hash = a.entries[n-1].Seq, a.entries[n-1].Hash
	}
	return p
}

// addKey makes a key that signs from now on. The caller holds mu.
func (a *Authority) addKey() {
	a.t.Helper()
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		a.t.Fatalf("guardtest: making a key: %v", err)
	}
	kid, err := token.KeyID(key.Public())
	if err != nil {
		a.t.Fatalf("guardtest: naming a key: %v", err)
	}
	s, err := token.NewSigner(kid, token.ES256, key)
	if err != nil {
		a.t.Fatalf("guardtest: making a signer: %v", err)
	}
	a.signers = append(a.signers, s)
	a.known[curfew.KindKey][kid] = true
}

// publish gives the keys to the guards. The caller holds mu.
func (a *Authority) publish() {
	var public []token.PublicKey
	for _, s := range a.signers {
		public = append(public, s.Public())
	}
	jwks := token.NewKeySet(public...).JWKS()
	version := sha256.Sum256(jwks)
	a.hub.SetKeys(Issuer, hex.EncodeToString(version[:16]), jwks)
}

// signer returns the key that signs. The caller holds mu.
func (a *Authority) signer() *token.Signer { return a.signers[len(a.signers)-1] }

// current returns the hub that answers now.
func (a *Authority) current() *feed.Hub {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hub
}

// SetLease makes leases shorter than the default of three seconds, for tests
// that wait until one is over. It must come before the first guard is opened.
// Below half a second a busy machine loses leases that nobody meant to end.
func (a *Authority) SetLease(d time.Duration) {
	a.t.Helper()
	if d < 10*time.Millisecond || d > time.Hour {
		a.t.Fatalf("guardtest: SetLease: a lease has 10 ms to an hour, not %v", d)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.hub.Verifiers()) > 0 {
		a.t.Fatalf("guardtest: SetLease must come before the first guard is opened: one holds a lease of %v", a.lease)
	}
	a.stop()
	a.lease = d
	a.start(0)
}

// RequireKey makes the authority refuse verifiers that do not have this key.
// Guards that [Authority.Guard] opens have it.
func (a *Authority) RequireKey(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key
}

// Guard opens a guard that follows this authority until t ends. It fills in the
// Authority and the Key if they are empty; all else is as guard.Open has it.
func (a *Authority) Guard(t testing.TB, cfg guard.Config) *guard.Guard {
	t.Helper()
	if cfg.Authority == "" {
		cfg.Authority = a.URL
	}
	if cfg.Key == "" {
		a.mu.Lock()
		cfg.Key = a.key
		a.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g, err := guard.Open(ctx, cfg)
	if err != nil {
		t.Fatalf("guardtest: Guard: %v", err)
	}
	// A release that finds nobody, because the test has ended with a silent
	// authority, is no failure.
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// patience is how long something may take that takes no time.
const patience = 20 * time.Second

// LastSeen returns when guards have last reported that a person was active in a
// session; ok is false if they never did. Reports come with polls, so they may
// take a third of a lease.
func (a *Authority) LastSeen(session string) (at time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok = a.seen[session]
	return at, ok
}

// Verifiers returns how many guards hold a lease.
func (a *Authority) Verifiers() int {
	n := 0
	for _, v := range a.current().Verifiers() {
		if v.Live {
			n++
		}
	}
	return n
}

// Asked says how often guards have asked for what, answered or not.
func (a *Authority) Asked() Asked { return a.asked.read() }

// Log returns what was revoked, oldest first.
func (a *Authority) Log() []curfew.Revocation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]curfew.Revocation(nil), a.entries...)
}

// Head is the position of the newest revocation.
func (a *Authority) Head() curfew.Seq {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head().Seq
}

// forgetIssued makes introspection know nothing any more. The caller holds mu.
func (a *Authority) forgetIssued() {
	clear(a.issued)
}
