package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/feed/feedhttp"
	"github.com/curfewhq/curfew/internal/fresh"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
)

// Claims is what a verified access token says. It is shared and read-only.
type Claims = curfew.Claims

// Mode says what a guard does when it has lost its lease, because it has not
// heard from the authority for longer than that.
type Mode int

const (
	// Default is the Mode of the Config; in a Config it is Deny.
	Default Mode = iota
	// Deny refuses with 503 and Retry-After: 1.
	Deny
	// Ask asks the authority about each request, as long as there is no lease:
	// for services that reach the authority, but at times too slowly for leases.
	Ask
	// Strict asks the authority on each request whether there is anything new,
	// always, by a round trip that begins after the request has arrived. It
	// needs no clock. Requests that arrive together share a round trip.
	Strict
)

func (m Mode) String() string {
	switch m {
	case Default:
		return "default"
	case Deny:
		return "deny"
	case Ask:
		return "ask"
	case Strict:
		return "strict"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// Config is what a Guard works with. Only Authority is required.
type Config struct {
	// Authority is the URL of the authority. Plain http is refused unless it is
	// on this machine.
	Authority string
	// Audience is what tokens must be for; "curfew" if empty.
	Audience string
	// Key is the verifier's key, made by `curfew verifiers add NAME`. An
	// authority that runs as `curfew dev` asks for none.
	Key string
	// Mode is that of routes that name none; Deny if zero.
	Mode Mode
	// Sources are where credentials are looked for, in order; Bearer alone if
	// empty.
	Sources []Source
	// Refused answers requests that are not let through; nil writes the JSON of
	// the authority's own errors. The error wraps [curfew.ErrStale] where the
	// answer must be 503, and is [ErrNoCredential] or wraps
	// [curfew.ErrInvalidToken], [curfew.ErrExpired] or [curfew.ErrRevoked] where
	// it is 401, or [ErrCrossOrigin] where it is 403.
	Refused func(w http.ResponseWriter, r *http.Request, err error)
	// Metrics is told what happens; nil means nobody.
	Metrics Metrics
	// Logger gets what an operator should know; nil discards it.
	Logger *slog.Logger
	// TLS is for connections to the authority; nil trusts the system's roots.
	TLS *tls.Config
	// CacheSize is how many verified tokens are remembered, 65,536 if 0. Each
	// takes about three times its length.
	CacheSize int
	// MaxRevocations bounds the memory of the denylist, at about 20 bytes each;
	// 20 million if 0. A guard that would need more is stale.
	MaxRevocations int
	// StartStale makes Open return at once. Until the authority is heard from
	// the guard is stale.
	StartStale bool

	// InsecurePlainHTTP lets the authority be asked over plain http beyond this
	// machine. Whoever is on the way can then forge keys.
	InsecurePlainHTTP bool
	// InsecureOutliveLease lets requests that were let through run on when the
	// lease is lost. Without it their contexts are cancelled half a second
	// later, since nobody can know any more whether their session has ended.
	InsecureOutliveLease bool
}

// openTimeout bounds Open where its context has no deadline.
const openTimeout = 30 * time.Second

// Guard verifies credentials. Its methods may be called concurrently.
type Guard struct {
	cfg      Config
	client   *feedhttp.Client
	follower *feed.Follower
	verifier *verify.Verifier
	running  running
	keys     atomic.Pointer[token.KeySet]
	// opaque is replaced together with the denylist: answers from before say
	// nothing in another log.
	opaque  atomic.Pointer[opaqueCache]
	asked   fresh.Group[string, *Claims]
	asking  chan struct{} // bounds the introspections under way
	lookUps lookUps

	stop    context.CancelFunc
	stopped sync.WaitGroup
	close   sync.Once
	closed  error
}

// Open returns a Guard that has heard from the authority and may answer. It
// waits for that until ctx ends, 30 seconds if ctx has no deadline; a key that
// is refused is an error at once. ctx is for opening only: the Guard lives
// until [Guard.Close].
func Open(ctx context.Context, cfg Config) (*Guard, error) {
	if cfg.Audience == "" {
		cfg.Audience = "curfew"
	}
	if cfg.Mode == Default {
		cfg.Mode = Deny
	}
	if cfg.Mode < Deny || cfg.Mode > Strict {
		return nil, fmt.Errorf("guard: there is no %v", cfg.Mode)
	}
	if len(cfg.Sources) == 0 {
		cfg.Sources = []Source{Bearer}
	}
	if cfg.Metrics == nil {
		cfg.Metrics = nobody{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Authority == "" {
		return nil, errors.New("guard: Authority is required: the URL of the authority")
	}
	client, err := feedhttp.New(cfg.Authority, cfg.Key, cfg.TLS, cfg.InsecurePlainHTTP)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	g := &Guard{cfg: cfg, client: client, asking: make(chan struct{}, maxAsking)}
	g.verifier = verify.New(verify.Config{
		Audience: cfg.Audience, Denylist: denylist.New(), CacheSize: cfg.CacheSize,
		Clock: func() (time.Time, error) { return g.follower.Now() },
	})
	g.follower = feed.NewFollower(feed.FollowerConfig{
		Transport: client, Target: target{g}, MaxEntries: cfg.MaxRevocations, Logger: cfg.Logger,
	})
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	g.stopped.Go(func() { g.follower.Run(run) })
	g.stopped.Go(func() { g.watch(run) })
	if cfg.StartStale {
		return g, nil
	}
	if err := g.wait(ctx); err != nil {
		g.stop()
		g.stopped.Wait()
		g.client.CloseIdle()
		return nil, fmt.Errorf("guard: the authority %s: %w", cfg.Authority, err)
	}
	return g, nil
}

// wait waits for the first lease.
func (g *Guard) wait(ctx context.Context) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openTimeout)
		defer cancel()
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-g.follower.Ready():
			return nil
		case <-look.C:
			if err := g.follower.Status().Err; errors.Is(err, feed.ErrInvalidKey) {
				return fmt.Errorf("%w; make one with 'curfew verifiers add NAME'", err)
			}
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), g.follower.Status().Err)
		}
	}
}

// Close stops the guard. From then on everything is refused as stale, and no
// logout waits for this process. Close the servers first.
func (g *Guard) Close() error {
	g.close.Do(func() {
		g.stop()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		g.closed = g.follower.Close(ctx)
		g.stopped.Wait()
		g.cancel(g.running.each(func(*work) error { return ErrClosed }))
		g.client.CloseIdle()
	})
	return g.closed
}

// ErrClosed is the cause with which requests end that still run when their
// guard is closed. It wraps [curfew.ErrStale].
var ErrClosed = fmt.Errorf("%w: the guard was closed", curfew.ErrStale)

// Status says where a guard stands.
type Status struct {
	Instance string        // this process, as the authority names it
	Seq      curfew.Seq    // the watermark: every revocation up to it is enforced here
	Lease    time.Duration // that is left; 0 or less means stale
	Lag      time.Duration // since the authority was last heard from; negative means never
	Entries  int           // revocations that are remembered
	Running  int           // requests that are let through and not finished
	Err      error         // of the last poll; nil if it was answered
}

// Status returns where the guard stands now.
func (g *Guard) Status() Status {
	s := g.follower.Status()
	return Status{
		Instance: s.Instance, Seq: s.Position.Seq, Lease: s.Lease, Lag: s.Heard, Entries: s.Entries,
		Running: g.running.len(), Err: s.Err,
	}
}

const (
	watchEvery = 100 * time.Millisecond
	// staleGrace is how long requests may run without a lease, those too that
	// began when there was none because the authority was asked about them. The
	// authority calls their end enforced a little later than the lease ends
	// here, and a request may outlive that by a second, of which it needs
	// watchEvery until that is seen, and cutOffAfter.
	staleGrace = time.Second - watchEvery - cutOffAfter
)

// watch cancels what runs when the lease is lost for good, and reports changes.
func (g *Guard) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	stale := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := g.follower.Now()
		was := stale
		if stale = err != nil; stale != was {
			g.cfg.Metrics.Stale(stale)
			if stale {
				g.cfg.Logger.Error("this guard is stale: it has lost its lease and refuses with 503", "err", g.follower.Status().Err)
			} else {
				g.cfg.Logger.Info("this guard has a lease")
			}
		}
		if (stale || was) && !g.cfg.InsecureOutliveLease {
			g.cancel(g.running.each(func(w *work) error { return w.unsureFor(stale, time.Now()) }))
		}
	}
}

// unsureFor returns why w must end if it has run without a lease for too long.
func (w *work) unsureFor(stale bool, now time.Time) error {
	switch {
	case !stale:
		w.unsure = time.Time{}
	case w.unsure.IsZero():
		w.unsure = now
	case now.Sub(w.unsure) >= staleGrace:
		return errLeaseLost
	}
	return nil
}

var errLeaseLost = fmt.Errorf("%w: the lease ran out while the request was running", curfew.ErrStale)

// target is the part of a guard that its follower talks to.
type target struct{ g *Guard }

// Replace implements [feed.Target].
func (t target) Replace(set *denylist.Set) {
	g := t.g
	g.verifier.Replace(set)
	g.opaque.Store(newOpaqueCache())
	g.cancel(g.running.each(g.replaced))
}

// replaced returns why w ends when another denylist takes the place of the one
// that it was accepted under, as after the restore of a backup. What began with
// a token from before the horizon ends as well: its session may have ended in
// what the snapshot has forgotten.
func (g *Guard) replaced(w *work) error {
	switch err := g.judge(w.claims); {
	case errors.Is(err, curfew.ErrRevoked) || errors.Is(err, curfew.ErrExpired):
		return &EndedError{Session: w.claims.Session}
	case err != nil || w.claims.KeyID == "":
		// The authority's word for a cookie is from before, too.
		return errReplaced
	}
	return nil
}

var errReplaced = fmt.Errorf("%w: it took a snapshot while the request was running", curfew.ErrStale)

// judge judges again what was accepted a moment or longer ago. The position in a
// token does not kill it in a log that was restored from a backup and is shorter:
// that its key is gone does.
func (g *Guard) judge(c *Claims) error {
	if err := g.verifier.Denied(c); err != nil || c.KeyID == "" {
		return err
	}
	if keys := g.keys.Load(); keys != nil {
		if _, ok := keys.Lookup(c.KeyID); ok {
			return nil
		}
	}
	return fmt.Errorf("%w: its key is no longer in use", curfew.ErrInvalidToken)
}

// SetIssuer implements [feed.Target].
func (t target) SetIssuer(issuer string, keys *token.KeySet) {
	t.g.keys.Store(keys)
	t.g.verifier.SetIssuer(issuer, keys)
	t.g.lookUps.announce()
}

// Applied implements [feed.Target].
func (t target) Applied(entries []curfew.Revocation) {
	g := t.g
	g.cancel(g.running.ended(entries))
	g.cfg.Metrics.Applied(entries[len(entries)-1].Seq, len(entries))
}

// cancel ends requests, without holding up the acknowledgement: what a
// cancelled context sets off is the service's own code.
func (g *Guard) cancel(list []ending) {
	list = slices.DeleteFunc(list, func(e ending) bool { return !e.mark() })
	if len(list) == 0 {
		return
	}
	g.cfg.Metrics.Cancelled(len(list))
	go func() {
		for _, e := range list {
			e.end()
		}
	}()
}
