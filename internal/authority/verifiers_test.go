package authority_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/store"
)

// remote is a verifier in another process, as the authority sees it: nothing
// but polls.
type remote struct {
	*fixture
	poll feed.Poll
}

func newRemote(f *fixture) *remote {
	return &remote{fixture: f, poll: feed.Poll{Instance: curfew.NewID(), WaitMS: 1000}}
}

// step polls once, with what was seen, and takes the position of the answer.
func (r *remote) step(ctx context.Context, seen map[string]int64) error {
	r.poll.Poll++
	p := r.poll
	p.Seen = seen
	g, err := r.Feed().Poll(ctx, "orders", &p)
	if err != nil {
		return err
	}
	r.poll.Log, r.poll.Seq, r.poll.Hash = g.Log, g.Seq, g.Hash
	if g.Keys != nil {
		r.poll.Keys = g.Keys.Version
	}
	return nil
}

// serve polls until the returned function is called.
func (r *remote) serve(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := r.step(ctx, nil); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

func endedFor(t *testing.T, f *fixture, i authority.Issued) curfew.Reason {
	t.Helper()
	s, err := f.SessionByID(t.Context(), i.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	return s.EndReason
}

// What a verifier has seen is activity. It arrives late by a poll, and the
// sweep waits for that.
func TestActivityAtVerifiersKeepsSessionsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle, slack = 5 * time.Minute, 2 * time.Second // a third of the lease, and one second
		f := newFixture(t, authority.Config{IdleTimeout: idle})
		r := newRemote(f)
		active, silent := f.login(t), f.login(t)
		begin := time.Now()
		at := func(d time.Duration) { time.Sleep(time.Until(begin.Add(d))) }
		stop := r.serve(t)
		at(idle + 900*time.Millisecond)
		stop()
		// The person did something just before the time-out was over.
		if err := r.step(t.Context(), map[string]int64{active.Session.ID: 1000}); err != nil {
			t.Fatal(err)
		}
		stop = r.serve(t)
		at(idle + slack - 100*time.Millisecond)
		for _, i := range []authority.Issued{active, silent} {
			if why := endedFor(t, f, i); why != "" {
				t.Errorf("ended too early: %s", why)
			}
		}
		at(idle + slack + 1500*time.Millisecond)
		if why := endedFor(t, f, silent); why != curfew.ReasonIdle {
			t.Errorf("the session that nobody has seen: %q", why)
		}
		at(2*idle - time.Second)
		if why := endedFor(t, f, active); why != "" {
			t.Errorf("the session that the verifier has seen ended: %s", why)
		}
		at(2*idle + slack + 1500*time.Millisecond)
		if why := endedFor(t, f, active); why != curfew.ReasonIdle {
			t.Errorf("the session that the verifier has seen once: %q", why)
		}

		// Where no verifier is left nothing can be on its way.
		stop()
		f.Feed().Poll(t.Context(), "orders", &feed.Poll{Instance: r.poll.Instance, Release: true})
		last := f.login(t)
		time.Sleep(idle + 1500*time.Millisecond)
		if why := endedFor(t, f, last); why != curfew.ReasonIdle {
			t.Errorf("without verifiers: %q", why)
		}
	})
}

// An authority that was away has missed what its verifiers have seen.
func TestNobodyIsIdleBeforeTheVerifiersAreBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{IdleTimeout: time.Minute})
		r := newRemote(f)
		active, silent := f.login(t), f.login(t)
		stop := r.serve(t)
		time.Sleep(59 * time.Second)
		stop() // here the person does something
		f.stop()
		time.Sleep(20 * time.Second)
		f.start(t)
		time.Sleep(2500 * time.Millisecond) // the sweep has run
		if err := r.step(t.Context(), map[string]int64{active.Session.ID: 22_500}); err != nil {
			t.Fatal(err)
		}
		stop = r.serve(t)
		defer stop()
		time.Sleep(6 * time.Second)
		if why := endedFor(t, f, active); why != "" {
			t.Errorf("the session that was seen ended: %s", why)
		}
		if why := endedFor(t, f, silent); why != curfew.ReasonIdle {
			t.Errorf("the session that nobody has seen: %q", why)
		}
	})
}

// The receipt of a call that takes several commits is that of all of them.
func TestReceiptsOfSeveralEndingsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{})
		r, dead := newRemote(f), newRemote(f)
		stop := r.serve(t)
		defer stop()
		if err := dead.step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		one, two := f.login(t), f.login(t)
		out, err := f.Logout(t.Context(), authority.LogoutInput{
			Access: []string{one.AccessToken, two.AccessToken}, Scope: authority.ScopeOthers,
		})
		if err != nil || out.Ended != 0 {
			t.Errorf("%+v, %v", out, err)
		}
		got, err := f.BulkEnd(t.Context(), store.SessionFilter{Subject: f.alice.ID}, curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
		if err != nil || got.Ended != 2 || got.Verifiers != 2 || got.State != authority.StateEnforced ||
			len(got.Unacknowledged) != 1 || got.Unacknowledged[0].Instance != dead.poll.Instance {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{IdleTimeout: time.Hour})
		r := newRemote(f)
		stop := r.serve(t)
		defer stop()
		before, err := f.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.MakeCanary(t.Context(), authority.OperatorActor("o"), authority.Origin{})
		if err != nil || !curfew.ValidID(c.Session) || time.Until(c.ExpiresAt) > time.Minute {
			t.Fatalf("%+v, %v", c, err)
		}
		// It is a token like any other, and nobody.
		in, err := f.Introspect(t.Context(), c.AccessToken)
		if err != nil || in == nil || in.Claims.Subject != authority.CanarySubject || in.Claims.ClientID != authority.CanaryClient || in.Claims.Session != c.Session {
			t.Errorf("introspection: %+v, %v", in, err)
		}
		if _, err := f.Authenticate(t.Context(), c.AccessToken); !errors.Is(err, curfew.ErrInvalidToken) {
			t.Errorf("as a person: %v", err)
		}
		if n, err := f.CountSessions(t.Context(), store.SessionFilter{Subject: authority.CanarySubject}); n != 0 || err != nil {
			t.Errorf("%d sessions, %v", n, err)
		}
		if after, err := f.State(t.Context()); err != nil || after.Head != before.Head {
			t.Errorf("making it moved the log from %v to %v, %v", before.Head, after.Head, err)
		}

		receipt, err := f.EndCanary(t.Context(), c.Session, authority.OperatorActor("o"), authority.Origin{})
		if err != nil || receipt.State != authority.StateEnforced || receipt.Verifiers != 1 || receipt.Seq != before.Head.Seq+1 {
			t.Errorf("%+v, %v", receipt, err)
		}
		if s := f.Feed().Status(receipt.Seq); len(s.Acks) != 1 || s.Acks[0].Instance != r.poll.Instance {
			t.Errorf("%+v", s)
		}
		if in, err := f.Introspect(t.Context(), c.AccessToken); err != nil || in != nil {
			t.Errorf("introspection after the end: %+v, %v", in, err)
		}
		rev, err := f.Revocation(t.Context(), receipt.Seq)
		if err != nil || rev.Kind != curfew.KindSession || rev.Target != c.Session || rev.ExpiresAt.Before(c.ExpiresAt) {
			t.Errorf("%+v, %v", rev, err)
		}
		rows, err := f.Audit(t.Context(), store.AuditFilter{Session: c.Session})
		if err != nil || len(rows) != 2 || rows[0].Event != audit.TokenCreated || rows[1].Event != audit.SessionLogout || rows[1].Actor != "operator:o" {
			t.Errorf("audit %+v, %v", rows, err)
		}
		// It may be repeated.
		if _, err := f.EndCanary(t.Context(), c.Session, authority.System, authority.Origin{}); err != nil {
			t.Error(err)
		}
	})
}

// The entry of a canary is forgotten within a minute. If it could name a
// session, that would live again.
func TestASessionIsNoCanary(t *testing.T) {
	t.Parallel()
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	for _, id := range []string{i.Session.ID, "", "x", authority.CanarySubject, i.Session.ID[:31] + "G"} {
		if _, err := f.EndCanary(t.Context(), id, authority.System, authority.Origin{}); !errors.Is(err, authority.ErrUnknownCanary) {
			t.Errorf("%q: %v", id, err)
		}
	}
	f.mustLive(t, "the session", i)
}

// A canary dies with everything, and under a short token life is as short.
func TestCanariesObeyThePolicy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, authority.Config{AccessLife: 5 * time.Second})
	c, err := f.MakeCanary(t.Context(), authority.System, authority.Origin{})
	if err != nil || time.Until(c.ExpiresAt) > 5*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := f.LogoutEverybody(t.Context(), curfew.ReasonAdmin, "", false, authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	if in, err := f.Introspect(t.Context(), c.AccessToken); in != nil || err != nil {
		t.Errorf("after everybody was logged out: %+v, %v", in, err)
	}
	later, err := f.MakeCanary(t.Context(), authority.System, authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if in, err := f.Introspect(t.Context(), later.AccessToken); in == nil || err != nil {
		t.Errorf("a canary of after that: %+v, %v", in, err)
	}
	if d, ok, err := f.Durability(t.Context()); !ok || err != nil || d.Problem != "" || d.Engine != "sqlite" {
		t.Errorf("%+v, %v, %v", d, ok, err)
	}
}
