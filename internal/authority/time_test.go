package authority_test

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
)

func TestIdleTimeoutEndsTheSessionOnTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{IdleTimeout: 5 * time.Minute})
		i := f.login(t)
		time.Sleep(5*time.Minute - time.Second)
		f.mustLive(t, "a second before", i) // this is activity
		time.Sleep(5*time.Minute - time.Second)
		f.mustLive(t, "a second before, again", i)
		time.Sleep(5 * time.Minute)
		f.mustBeDead(t, "idle", i)
		s, err := f.SessionByID(t.Context(), i.Session.ID)
		if err != nil || s.EndReason != curfew.ReasonIdle {
			t.Errorf("reason %q, %v", s.EndReason, err)
		}
	})
}

// A tab that refreshes in the background is no person (NIST SP 800-63B-4 §5.1.2).
func TestBackgroundRefreshIsNoActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{IdleTimeout: 10 * time.Minute})
		background, active := f.login(t), f.login(t)
		var err error
		for range 4 {
			time.Sleep(4 * time.Minute)
			if active, err = f.Refresh(t.Context(), authority.RefreshInput{Token: active.RefreshToken, Active: true}); err != nil {
				t.Fatalf("active refresh: %v", err)
			}
			if next, err := f.refresh(background); err == nil {
				background = next
			}
		}
		if _, err := f.refresh(background); !errors.Is(err, authority.ErrInvalidGrant) {
			t.Errorf("background refresh after 16 minutes: %v", err)
		}
		f.mustLive(t, "active", active)
	})
}

func TestAbsoluteLifetimeIsNotExtendedByActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{Lifetime: time.Hour})
		i := f.login(t)
		for range 11 {
			time.Sleep(5 * time.Minute)
			next, err := f.refresh(i)
			if err != nil {
				t.Fatal(err)
			}
			i = next
		}
		time.Sleep(5 * time.Minute)
		f.mustBeDead(t, "after an hour", i)
		time.Sleep(2 * time.Second) // the sweeper's turn
		s, err := f.SessionByID(t.Context(), i.Session.ID)
		if err != nil || s.EndReason != curfew.ReasonExpired {
			t.Errorf("reason %q, %v", s.EndReason, err)
		}
	})
}

func TestGraceWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{RefreshGrace: 10 * time.Second})
		first := f.login(t)
		second, err := f.refresh(first)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if retried, err := f.refresh(first); err != nil || retried.RefreshToken != second.RefreshToken {
			t.Errorf("retry at the end of the window: %v", err)
		}
		// The retry has not moved the window (a sliding one never closes).
		time.Sleep(time.Microsecond)
		if _, err := f.refresh(first); !errors.Is(err, curfew.ErrReused) {
			t.Errorf("retry after the window: %v", err)
		}
		f.mustBeDead(t, "after the reuse", second)
	})
}

// With the clock set back an expired token would come to life again, and so
// would one whose revocation was forgotten because its token had expired.
func TestClockSetBackAtRestartRevivesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curfew.db")
	var fx *fixture
	var expired, revoked authority.Issued
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{})
		expired, revoked = f.login(t), f.login(t)
		f.logout(t, authority.ScopeLocal, revoked)
		time.Sleep(30 * time.Minute) // both expire, and the log is compacted
		if n := f.Denied(); n != 0 {
			t.Errorf("%d revocations are remembered", n)
		}
		if _, err := f.Authenticate(t.Context(), expired.AccessToken); !errors.Is(err, curfew.ErrExpired) {
			t.Errorf("expired token: %v", err)
		}
		fx = f
		writeBackup(t, f, path)
	})
	// A new bubble begins at the same instant as the first did, half an hour
	// before the store was written.
	synctest.Test(t, func(t *testing.T) {
		g := &fixture{path: path, key: fx.key, cfg: fx.cfg}
		g.start(t)
		defer func() { g.stop() }()
		if _, err := g.Authenticate(t.Context(), expired.AccessToken); !errors.Is(err, curfew.ErrExpired) {
			t.Errorf("expired token after the restart: %v", err)
		}
		if _, err := g.Authenticate(t.Context(), revoked.AccessToken); err == nil {
			t.Error("revoked token is accepted after the restart")
		}
		if got := g.Now(); got.Before(expired.ExpiresAt) {
			t.Errorf("authority time went back to %v", got)
		}
		i, err := g.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword})
		if err != nil {
			t.Fatal(err)
		}
		g.mustLive(t, "new login", i)
	})
}

func TestKeysRotateOnSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{RotateEvery: 24 * time.Hour, Announce: 2 * time.Hour, Lifetime: 1000 * time.Hour})
		status := func() map[store.KeyStatus]int {
			keys, err := f.Keys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n := map[store.KeyStatus]int{}
			for _, k := range keys {
				n[k.Status]++
			}
			return n
		}
		time.Sleep(21 * time.Hour)
		if n := status(); n[store.KeyActive] != 1 || len(n) != 1 {
			t.Errorf("before the announcement: %v", n)
		}
		time.Sleep(2 * time.Hour)
		if n := status(); n[store.KeyActive] != 1 || n[store.KeyAnnounced] != 1 {
			t.Errorf("announced: %v", n)
		}
		i := f.login(t)
		time.Sleep(time.Hour + 2*time.Minute)
		if n := status(); n[store.KeyActive] != 1 || n[store.KeyRetained] != 1 {
			t.Errorf("rotated: %v", n)
		}
		if next, err := f.refresh(i); err != nil {
			t.Error(err)
		} else {
			f.mustLive(t, "under the new key", next)
		}
		time.Sleep(2 * time.Hour)
		if n := status(); n[store.KeyActive] != 1 || n[store.KeyRetired] != 1 {
			t.Errorf("retired: %v", n)
		}
	})
}

func TestSessionsBelowAnEpochAreTidiedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{})
		one, two := f.login(t), f.login(t)
		r, err := f.LogoutEverybody(t.Context(), curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
		if err != nil || r.Ended != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		three := f.login(t)
		time.Sleep(2 * time.Second)
		for _, i := range []authority.Issued{one, two} {
			if s, err := f.SessionByID(t.Context(), i.Session.ID); err != nil || s.EndReason != curfew.ReasonAdmin || s.EndedSeq != r.Seq {
				t.Errorf("%q at %d, %v", s.EndReason, s.EndedSeq, err)
			}
		}
		f.mustLive(t, "login after", three)
	})
}

func TestLoginFailuresAreForgottenAfterTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{LoginFailuresAccount: 3, LoginWindow: 15 * time.Minute})
		from := authority.Origin{IP: "192.0.2.1", LimitKey: "192.0.2.1"}
		try := func(pw string) error {
			_, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: pw, From: from})
			return err
		}
		for range 3 {
			if err := try("wrong password"); !errors.Is(err, authority.ErrBadCredentials) {
				t.Fatal(err)
			}
		}
		var throttled *authority.ThrottledError
		if err := try(alicePassword); !errors.As(err, &throttled) {
			t.Errorf("after three failures: %v", err)
		}
		time.Sleep(30 * time.Minute)
		if err := try(alicePassword); err != nil {
			t.Errorf("after the window: %v", err)
		}
	})
}
