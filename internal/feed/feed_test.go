package feed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
)

// rig is an authority's end of the feed over a log in memory.
type rig struct {
	t   *testing.T
	hub *feed.Hub
	// noted is what survives the authority.
	mu      sync.Mutex
	noted   time.Duration
	entries []curfew.Revocation
	log     string
	signer  *token.Signer
	stop    func()
}

const issuer = "https://id.example.com"

func newRig(t *testing.T) *rig {
	t.Helper()
	key, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	kid, err := token.KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: "log-1"}
	if r.signer, err = token.NewSigner(kid, token.EdDSA, key); err != nil {
		t.Fatal(err)
	}
	r.start()
	return r
}

// start is a start of the authority: what it does not remember from its store
// it does not know.
func (r *rig) start() {
	r.hub = feed.NewHub(feed.HubConfig{
		Noted: r.noted,
		Note: func(_ context.Context, lease time.Duration) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.noted = lease
			return nil
		},
	}, feed.Base{Log: r.log})
	r.hub.Append(r.entries, r.position())
	r.hub.Loaded()
	r.hub.SetKeys(issuer, "v-"+r.signer.KeyID()[:8], token.NewKeySet(r.signer.Public()).JWKS())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	hub := r.hub
	go func() { defer close(done); hub.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	r.t.Cleanup(r.stop)
}

func (r *rig) position() curfew.Position {
	p := curfew.Position{LogID: r.log}
	if n := len(r.entries); n > 0 {
		p.Seq, p.Hash = r.entries[n-1].Seq, r.entries[n-1].Hash
	}
	return p
}

// revoke ends a session: durable, then known to the hub.
func (r *rig) revoke(sid string) curfew.Seq {
	p := r.position()
	e := curfew.Revocation{
		Seq: p.Seq + 1, Kind: curfew.KindSession, Target: sid, Reason: curfew.ReasonUser,
		ExpiresAt: time.Now().Add(10 * time.Minute),
	}
	e.Hash = e.Chain(p.Hash)
	r.entries = append(r.entries, e)
	r.hub.Append([]curfew.Revocation{e}, r.position())
	return e.Seq
}

func (r *rig) token(sid string) string {
	r.t.Helper()
	raw, err := r.signer.Sign(curfew.Claims{
		Issuer: issuer, Audience: []string{"curfew"}, Subject: "u", ClientID: "web", ID: curfew.NewID(), Session: sid,
		Iat: time.Now().Unix(), Exp: time.Now().Add(10 * time.Minute).Unix(), Ver: r.position().Seq,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// direct is a transport without a network. A test can cut it.
type direct struct {
	rig  *rig
	name string
	mu   sync.Mutex
	cut  bool
}

var errCut = errors.New("the link is cut")

func (d *direct) set(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = cut
}

func (d *direct) isCut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

func (d *direct) Poll(ctx context.Context, p *feed.Poll) ([]byte, error) {
	if d.isCut() {
		return nil, errCut
	}
	g, err := d.rig.hub.Poll(ctx, d.name, p)
	if err != nil || g == nil {
		return nil, err
	}
	if d.isCut() {
		return nil, errCut
	}
	return g.Append(nil), nil
}

func (d *direct) Snapshot(context.Context) (io.ReadCloser, error) {
	if d.isCut() {
		return nil, errCut
	}
	r, w := io.Pipe()
	go func() {
		_, err := d.rig.hub.Snapshot().WriteTo(w)
		w.CloseWithError(err)
	}()
	return r, nil
}

// service is a verifier: a follower and the check.
type service struct {
	*feed.Follower
	*verify.Verifier
	link *direct
	stop func()
}

type target struct{ v *verify.Verifier }

func (t target) Replace(s *denylist.Set)                     { t.v.Replace(s) }
func (t target) SetIssuer(issuer string, keys *token.KeySet) { t.v.SetIssuer(issuer, keys) }
func (t target) Applied([]curfew.Revocation)                 {}

func (r *rig) service(name string) *service {
	s := &service{link: &direct{rig: r, name: name}}
	s.Verifier = verify.New(verify.Config{
		Audience: "curfew", Denylist: denylist.New(), CacheSize: 64,
		Clock: func() (time.Time, error) { return s.Follower.Now() },
	})
	s.Follower = feed.NewFollower(feed.FollowerConfig{Transport: s.link, Target: target{s.Verifier}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	s.stop = func() { cancel(); <-done }
	r.t.Cleanup(s.stop)
	<-s.Ready()
	return s
}

func (r *rig) want(s *service, raw string, want error) {
	r.t.Helper()
	if _, err := s.Check(raw); !errors.Is(err, want) {
		r.t.Errorf("check: %v, want %v", err, want)
	}
}

func TestEnforcedMeansRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var all []*service
		for i := range 3 {
			all = append(all, r.service(fmt.Sprint("s", i)))
		}
		for i := range 50 {
			sid := curfew.NewID()
			raw := r.token(sid)
			for _, s := range all {
				r.want(s, raw, nil)
			}
			began := time.Now()
			receipt, err := r.hub.Wait(t.Context(), r.revoke(sid))
			if err != nil || receipt.State != feed.Enforced || receipt.Verifiers != 3 || len(receipt.Acks) != 3 || len(receipt.Unacknowledged) != 0 {
				t.Fatalf("receipt %+v, %v", receipt, err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("logout %d took %v without a network", i, took)
			}
			for _, s := range all {
				r.want(s, raw, curfew.ErrRevoked)
			}
		}
	})
}

// Live: a verifier that is cut off delays a logout until its lease is over, and
// is stale by then.
func TestADeadVerifierDelaysByOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		good, bad := r.service("good"), r.service("bad")
		sid := curfew.NewID()
		raw := r.token(sid)
		bad.link.set(true)
		began := time.Now()
		seq := r.revoke(sid)
		synctest.Wait()
		if s := r.hub.Status(seq); s.State != feed.Recorded || len(s.Unacknowledged) != 1 || s.Unacknowledged[0].Verifier != "bad" {
			t.Errorf("while it is waited for: %+v", s)
		}
		r.want(good, raw, curfew.ErrRevoked)
		r.want(bad, raw, nil) // nothing has been promised yet
		receipt, err := r.hub.Wait(t.Context(), seq)
		took := time.Since(began)
		if err != nil || receipt.Verifiers != 2 || len(receipt.Unacknowledged) != 1 || receipt.Unacknowledged[0].Verifier != "bad" {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
		if took > feed.Wait(3*time.Second) || took < time.Second {
			t.Errorf("took %v", took)
		}
		r.want(bad, raw, curfew.ErrStale)

		// The next logout does not wait for it.
		began = time.Now()
		if _, err := r.hub.Wait(t.Context(), r.revoke(curfew.NewID())); err != nil || time.Since(began) > 0 {
			t.Errorf("took %v, %v", time.Since(began), err)
		}
		// It comes back, and refuses.
		bad.link.set(false)
		time.Sleep(2 * time.Second)
		r.want(bad, raw, curfew.ErrRevoked)
		if v := r.hub.Verifiers(); !slices.ContainsFunc(v, func(v feed.Verifier) bool { return v.Name == "bad" && v.Live }) {
			t.Errorf("verifiers %+v", v)
		}
	})
}

// Rule 6: leases of before a restart are waited out, and not the second time.
func TestAfterARestartOldLeasesAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		s.link.set(true) // its lease is all that is left of it
		time.Sleep(10 * time.Millisecond)
		sid := curfew.NewID()
		raw := r.token(sid)
		r.stop()
		r.start()
		began := time.Now()
		if _, err := r.hub.Wait(t.Context(), r.revoke(sid)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != feed.Wait(3*time.Second) {
			t.Errorf("took %v", took)
		}
		r.want(s, raw, curfew.ErrStale)
		began = time.Now()
		if _, err := r.hub.Wait(t.Context(), r.revoke(curfew.NewID())); err != nil || time.Since(began) > 0 {
			t.Errorf("the second logout took %v, %v", time.Since(began), err)
		}
	})
}

// Rule 12.
func TestAReleasedLeaseIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		sid := curfew.NewID()
		raw := r.token(sid)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.stop()
		r.want(s, raw, curfew.ErrStale)
		began := time.Now()
		receipt, err := r.hub.Wait(t.Context(), r.revoke(sid))
		if err != nil || receipt.Verifiers != 0 || time.Since(began) > 0 {
			t.Errorf("receipt %+v after %v, %v", receipt, time.Since(began), err)
		}
	})
}

// A restored authority: the same positions, another history.
func TestARestoredAuthorityForcesASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		for range 20 {
			r.revoke(curfew.NewID())
		}
		synctest.Wait()
		if got := s.Status().Position.Seq; got != 20 {
			t.Fatalf("applied %d", got)
		}
		r.stop()
		r.entries, r.log = r.entries[:5], "log-2"
		r.start()
		sid := curfew.NewID()
		r.revoke(sid)
		time.Sleep(2 * time.Second)
		if p := s.Status().Position; p.LogID != "log-2" || p.Seq != 6 {
			t.Errorf("position %+v", p)
		}
		r.want(s, r.token(sid), curfew.ErrRevoked)
		r.want(s, r.token(curfew.NewID()), nil)
	})
}

// Strict mode: every confirmation begins after it was asked for, and needs no
// lease.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.service("s")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				sid := curfew.NewID()
				if now, err := s.Confirm(t.Context()); err != nil {
					t.Error(err)
				} else if _, err := s.CheckAt(r.token(sid), now); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		sid := curfew.NewID()
		raw := r.token(sid)
		r.revoke(sid)
		now, err := s.Confirm(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.CheckAt(raw, now); !errors.Is(err, curfew.ErrRevoked) {
			t.Error(err)
		}
		s.link.set(true)
		if _, err := s.Confirm(t.Context()); !errors.Is(err, curfew.ErrStale) {
			t.Error(err)
		}
	})
}
