package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/fault"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/revlog"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
)

// Config is the policy. The zero value of a field means the default that it
// names, unless it says otherwise.
type Config struct {
	Issuer   string // the public URL; required
	Audience string // "curfew"

	Algorithm   token.Alg     // ES256
	AccessLife  time.Duration // of access tokens; 10 minutes
	RotateEvery time.Duration // life of a signing key; 90 days
	Announce    time.Duration // how long a key is known before it signs; 24 hours

	Lifetime     time.Duration // absolute limit of a session; 30 days
	IdleTimeout  time.Duration // 0 = none
	RefreshGrace time.Duration // for a retried refresh; 10 seconds
	MaxSessions  int           // live sessions of a user; 0 = no limit
	EndOldest    bool          // at MaxSessions end the oldest instead of refusing
	Retention    time.Duration // how long ended sessions are kept; 30 days

	Lease time.Duration // of verifiers; 3 seconds

	Clients       []string // that may log in; empty = any
	DefaultClient string   // "default"
	Scopes        []string // that may be asked for; empty = none

	LogoutLimit          limit.Config // useless logouts per user; 20 in 5 minutes
	LoginFailuresAccount int          // per account and address; 10, negative = off
	LoginFailuresAddress int          // per address; 100, negative = off
	LoginWindow          time.Duration
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.AccessLife, 10*time.Minute)
	def(&c.RotateEvery, 90*24*time.Hour)
	def(&c.Announce, 24*time.Hour)
	def(&c.Lifetime, 30*24*time.Hour)
	def(&c.RefreshGrace, 10*time.Second)
	def(&c.Retention, 30*24*time.Hour)
	def(&c.LoginWindow, 15*time.Minute)
	def(&c.Lease, 3*time.Second)
	if c.Audience == "" {
		c.Audience = "curfew"
	}
	if c.Algorithm == "" {
		c.Algorithm = token.ES256
	}
	if c.DefaultClient == "" {
		c.DefaultClient = "default"
	}
	if c.LogoutLimit == (limit.Config{}) {
		c.LogoutLimit = limit.Config{Limit: 20, Window: 5 * time.Minute}
	}
	if c.LoginFailuresAccount == 0 {
		c.LoginFailuresAccount = 10
	}
	if c.LoginFailuresAddress == 0 {
		c.LoginFailuresAddress = 100
	}
	return c
}

// Sealer keeps private keys closed at rest. [seal.Key] implements it.
type Sealer interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(sealed, context []byte) ([]byte, error)
}

// Observer counts what happens. Its methods must not block.
type Observer interface {
	Login(result string)
	Refresh(result string)
	Ended(reason curfew.Reason, sessions int64)
	// Enforced is told of each call that revokes, Lag of each round of
	// revocations: from being recorded to being in force at every verifier.
	Enforced(took time.Duration)
	Lag(lag time.Duration)
	// Lapsed is told of each lease that ran out.
	Lapsed(verifier string)
}

// Deps are what an Authority works with.
type Deps struct {
	Store    store.Store
	Hasher   *password.Hasher
	Sealer   Sealer
	Logger   *slog.Logger // nil = discard
	Observer Observer     // nil = none
}

// Authority logs people in and ends their sessions. Its methods may be called
// concurrently.
type Authority struct {
	cfg      Config
	store    store.Store
	hasher   *password.Hasher
	sealer   Sealer
	logger   *slog.Logger
	observe  Observer
	clock    *clock
	deny     *denylist.Set
	log      *revlog.Log
	feed     *feed.Hub
	verifier *verify.Verifier
	keys     atomic.Pointer[ring]
	apiKeys  atomic.Pointer[apiKeys]
	activity activity
	watchers watchers
	// idleWait is what idleAfter adds to the time-out, and reunited when the
	// verifiers of before the start have come back.
	idleWait atomic.Int64
	reunited time.Time

	// tokenLife is the longest life any access token was ever given. A
	// revocation by epoch must be remembered that long.
	tokenLife time.Duration

	// Up to where rows have been tidied up; used by Sweep only.
	sweptEverything curfew.Seq
	sweptClients    map[string]curfew.Seq

	logouts      *limit.Limiter
	loginPair    *limit.Limiter // failures by account and address
	loginAccount *limit.Limiter // failures by account
	loginAddress *limit.Limiter // failures by address
}

// Open starts an authority on an open store: it notes the policy's token life,
// loads keys and log, and makes the keys that are missing. [Authority.Run] must
// run as long as it is used.
func Open(ctx context.Context, cfg Config, d Deps) (*Authority, error) {
	if cfg.Issuer == "" {
		return nil, errors.New("authority: an issuer is required")
	}
	cfg = cfg.withDefaults()
	if cfg.Lease < 100*time.Millisecond || cfg.Lease > maxLease {
		return nil, fmt.Errorf("authority: a lease of %v is not between 100ms and %v", cfg.Lease, maxLease)
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Observer == nil {
		d.Observer = nobody{}
	}
	state, err := d.Store.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	a := &Authority{
		cfg: cfg, store: d.Store, hasher: d.Hasher, sealer: d.Sealer, logger: d.Logger, observe: d.Observer,
		clock: newClock(state.TimeHighWater), deny: denylist.New(), tokenLife: max(state.TokenLife, cfg.AccessLife),
		logouts:      limit.New(cfg.LogoutLimit),
		loginPair:    limit.New(limit.Config{Limit: cfg.LoginFailuresAccount, Window: cfg.LoginWindow}),
		loginAccount: limit.New(limit.Config{Limit: 10 * cfg.LoginFailuresAccount, Window: cfg.LoginWindow}),
		loginAddress: limit.New(limit.Config{Limit: cfg.LoginFailuresAddress, Window: cfg.LoginWindow}),
	}
	a.verifier = verify.New(verify.Config{Issuer: cfg.Issuer, Audience: cfg.Audience, Denylist: a.deny, Clock: a.clock.check})
	if a.tokenLife > state.TokenLife {
		if _, err := a.store.Commit(ctx, store.Change{At: a.clock.now(), TokenLife: a.tokenLife}); err != nil {
			return nil, fmt.Errorf("noting the life of access tokens: %w", err)
		}
	}
	if state.LeaseLife > 0 {
		a.reunited = time.Now().Add(reunion)
	}
	a.feed = feed.NewHub(a.feedConfig(state), feed.Base{Log: state.Head.LogID})
	if a.log, err = revlog.Open(ctx, a.store, a.deny, sinks{a.feed, &a.watchers}, a.logger); err != nil {
		return nil, err
	}
	a.feed.Loaded()
	a.idleWait.Store(int64(a.reportDelay()))
	if err := a.loadKeys(ctx); err != nil {
		return nil, err
	}
	if err := a.loadAPIKeys(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Ready returns an error if the authority cannot serve now.
func (a *Authority) Ready(ctx context.Context) error {
	state, err := a.store.State(ctx)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if lag := state.Head.Seq - a.log.Position().Seq; lag > 10_000 {
		return fmt.Errorf("revocation log: %d entries behind", lag)
	}
	return nil
}

// Feed returns what verifiers poll.
func (a *Authority) Feed() *feed.Hub { return a.feed }

// maxLease is the longest lease that may be configured.
const maxLease = time.Minute

func (a *Authority) feedConfig(state store.State) feed.HubConfig {
	c := feed.HubConfig{
		Lease: a.cfg.Lease, Noted: state.LeaseLife, Time: a.clock.now, Logger: a.logger,
		Enforced: a.observe.Lag, Lapsed: a.observe.Lapsed,
		Note: func(ctx context.Context, lease time.Duration) error {
			_, err := a.store.Commit(ctx, store.Change{At: a.clock.now(), LeaseLife: lease})
			return err
		},
	}
	if a.cfg.IdleTimeout > 0 {
		c.Seen = a.activity.note
	}
	return c
}

// Now returns authority time.
func (a *Authority) Now() time.Time { return a.clock.now() }

// Issuer returns the issuer of the tokens.
func (a *Authority) Issuer() string { return a.cfg.Issuer }

// Denied returns the number of revocations that are remembered.
func (a *Authority) Denied() int { return a.deny.Len() }

// Position returns how far the log is in force.
func (a *Authority) Position() curfew.Position { return a.log.Position() }

// Origin is where a call comes from. It is recorded and carries no authority.
type Origin struct {
	IP        string // canonical text, empty if unknown
	LimitKey  string // what limits count by: the address, or its /64
	UserAgent string
}

const maxUserAgent = 256

// Actor says who does something, as the audit trail names it.
type Actor string

// The actors.
const (
	Anonymous Actor = "anonymous"
	System    Actor = "system"
)

// UserActor is a user acting on its own behalf.
func UserActor(id string) Actor { return Actor("user:" + id) }

// OperatorActor is the holder of an operator key.
func OperatorActor(name string) Actor { return Actor("operator:" + name) }

// entry begins an audit entry.
func (a *Authority) entry(e audit.Event, by Actor, from Origin) audit.Entry {
	return audit.Entry{At: a.clock.now(), Event: e, Actor: string(by), IP: from.IP, UserAgent: clip(from.UserAgent, maxUserAgent)}
}

// maxAttempts bounds how often a decision is made again after a conflict. Each
// conflict means that somebody else succeeded.
const maxAttempts = 50

// decide commits the change that build makes of what it reads, and makes it
// again as long as it conflicts with others. A change of nothing is not
// committed.
func (a *Authority) decide(ctx context.Context, build func() (store.Change, error)) (store.Committed, error) {
	for attempt := 1; ; attempt++ {
		c, err := build()
		if err != nil {
			return store.Committed{}, err
		}
		if isEmpty(c) {
			return store.Committed{Head: a.log.Position()}, nil
		}
		c.At = a.clock.now()
		if len(c.Revocations) > 0 {
			fault.Point(fault.BeforeCommit)
		}
		done, err := a.store.Commit(ctx, c)
		if errors.Is(err, store.ErrConflict) && attempt < maxAttempts {
			continue
		}
		if errors.Is(err, store.ErrUnknownOutcome) {
			a.log.Wake() // if it was applied, let it be in force soon
		}
		return done, err
	}
}

func isEmpty(c store.Change) bool {
	return len(c.InsertUsers)+len(c.UpdateUsers)+len(c.InsertSessions)+len(c.UpdateSessions)+len(c.EndSubjects)+
		len(c.Touch)+len(c.InsertKeys)+len(c.UpdateKeys)+len(c.InsertAPIKeys)+len(c.DeleteAPIKeys)+
		len(c.Revocations)+len(c.Audit) == 0
}

type nobody struct{}

func (nobody) Login(string)               {}
func (nobody) Refresh(string)             {}
func (nobody) Ended(curfew.Reason, int64) {}
func (nobody) Enforced(time.Duration)     {}
func (nobody) Lag(time.Duration)          {}
func (nobody) Lapsed(string)              {}

// clip cuts s to at most n bytes without splitting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// Scopes lists the scopes that may be asked for.
func (a *Authority) Scopes() []string { return a.cfg.Scopes }
