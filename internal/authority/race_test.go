package authority_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
)

func writeBackup(t *testing.T, f *fixture, path string) {
	t.Helper()
	var b bytes.Buffer
	if err := f.Backup(t.Context(), &b, authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// races is how many interleavings of each kind are tried.
func races() int {
	if testing.Short() {
		return 300
	}
	return 10_000
}

// A refresh that slipped past a logout would leave a live token behind a
// success (Keycloak CVE-2026-1035 and its kin).
func TestRefreshRacingLogoutLeavesNothingAlive(t *testing.T) {
	f := newFixture(t, authority.Config{})
	var won atomic.Int64
	parallel(t, races(), func(n int) error {
		i, err := f.Login(context.Background(), authority.LoginInput{Login: "alice", Password: alicePassword})
		if err != nil {
			return err
		}
		var next authority.Issued
		var refreshErr, logoutErr error
		together(
			func() { next, refreshErr = f.refresh(i) },
			func() {
				_, logoutErr = f.Logout(context.Background(), authority.LogoutInput{Access: []string{i.AccessToken}})
			},
		)
		if logoutErr != nil {
			return fmt.Errorf("logout: %w", logoutErr)
		}
		if refreshErr != nil && !errors.Is(refreshErr, authority.ErrInvalidGrant) {
			return fmt.Errorf("refresh: %w", refreshErr)
		}
		if refreshErr == nil {
			won.Add(1)
			if err := f.alive(next); err != nil {
				return fmt.Errorf("refreshed: %w", err)
			}
		}
		return f.alive(i)
	})
	t.Logf("refresh won %d of %d races", won.Load(), races())
}

// A login that committed during a logout everywhere must either die with it or
// be ordered after it; one that began after the answer must live.
func TestLoginRacingLogoutAll(t *testing.T) {
	f := newFixture(t, authority.Config{})
	users := make([]store.User, 8)
	for i := range users {
		var err error
		users[i], err = f.CreateUser(t.Context(), authority.NewUser{Email: fmt.Sprintf("u%d@example.com", i), Password: alicePassword}, authority.System, authority.Origin{})
		if err != nil {
			t.Fatal(err)
		}
	}
	var survived atomic.Int64
	var locks [8]sync.Mutex // one race per user at a time
	parallel(t, races(), func(n int) error {
		u := users[n%len(users)]
		locks[n%len(users)].Lock()
		defer locks[n%len(users)].Unlock()
		ctx := context.Background()
		login := func() (authority.Issued, error) {
			return f.Login(ctx, authority.LoginInput{Login: u.Email, Password: alicePassword})
		}
		before, err := login()
		if err != nil {
			return err
		}
		var during authority.Issued
		var loginErr, logoutErr error
		together(
			func() { during, loginErr = login() },
			func() {
				_, logoutErr = f.Logout(ctx, authority.LogoutInput{Access: []string{before.AccessToken}, Scope: authority.ScopeGlobal})
			},
		)
		if err := errors.Join(loginErr, logoutErr); err != nil {
			return err
		}
		if err := f.alive(before); err != nil {
			return fmt.Errorf("logged in before: %w", err)
		}
		s, err := f.SessionByID(ctx, during.Session.ID)
		if err != nil {
			return err
		}
		user, err := f.FindUser(ctx, u.ID)
		if err != nil {
			return err
		}
		// The row, the epoch and the token must tell the same story.
		_, tokenErr := f.Authenticate(ctx, during.AccessToken)
		rowLives := !s.Ended() && s.Epoch >= user.Epoch
		if rowLives != (tokenErr == nil) {
			return fmt.Errorf("row lives: %v, token: %w", rowLives, tokenErr)
		}
		if rowLives {
			survived.Add(1)
		}
		after, err := login()
		if err != nil {
			return fmt.Errorf("login after the answer: %w", err)
		}
		if _, err := f.Authenticate(ctx, after.AccessToken); err != nil {
			return fmt.Errorf("a login that began after the answer was lost: %w", err)
		}
		_, err = f.Logout(ctx, authority.LogoutInput{Access: []string{after.AccessToken}, Scope: authority.ScopeGlobal})
		return err
	})
	t.Logf("%d of %d logins were ordered after the logout", survived.Load(), races())
}

// A login that checked the old password must not commit after the password was
// changed: it would leave the thief logged in who made the change necessary.
func TestLoginRacingPasswordChange(t *testing.T) {
	// Logins that lose the race are failures, which is not what is tested here.
	f := newFixture(t, authority.Config{LoginFailuresAccount: -1, LoginFailuresAddress: -1})
	const workers = 8
	users := make(chan store.User, workers)
	for i := range workers {
		u, err := f.CreateUser(t.Context(), authority.NewUser{Email: fmt.Sprintf("p%d@example.com", i), Password: "password 0"}, authority.System, authority.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		users <- u
	}
	var committed atomic.Int64
	parallel(t, races()/5, func(n int) error {
		u := <-users
		defer func() { users <- u }()
		ctx := context.Background()
		old := fmt.Sprint("password ", n)
		if _, err := f.SetPassword(ctx, u.ID, old, false, authority.System, authority.Origin{}); err != nil {
			return err
		}
		var during authority.Issued
		var loginErr, changeErr error
		together(
			func() {
				during, loginErr = f.Login(ctx, authority.LoginInput{Login: u.Email, Password: old})
			},
			func() {
				_, changeErr = f.SetPassword(ctx, u.ID, old+"!", false, authority.System, authority.Origin{})
			},
		)
		if changeErr != nil {
			return changeErr
		}
		if errors.Is(loginErr, authority.ErrBadCredentials) {
			return nil
		}
		if loginErr != nil {
			return loginErr
		}
		committed.Add(1)
		return f.alive(during)
	})
	t.Logf("%d of %d logins committed before the change", committed.Load(), races()/5)
}

// Many clients of one session refresh at once: nobody is logged out by it, and
// all of them hold the same successor (the false logouts of other products).
func TestParallelRefreshesAgree(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	for round := range 50 {
		var mu sync.Mutex
		got := map[string]int{}
		var last authority.Issued
		parallel(t, 16, func(int) error {
			next, err := f.refresh(i)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			got[next.RefreshToken]++
			last = next
			return nil
		})
		if len(got) != 1 {
			t.Fatalf("round %d: %d different successors", round, len(got))
		}
		i = last
	}
	f.mustLive(t, "after the rounds", i)
}

func TestSessionLimitHoldsUnderParallelLogins(t *testing.T) {
	f := newFixture(t, authority.Config{MaxSessions: 3})
	var ok atomic.Int64
	parallel(t, 40, func(int) error {
		_, err := f.Login(context.Background(), authority.LoginInput{Login: "alice", Password: alicePassword})
		if err == nil {
			ok.Add(1)
		} else if !errors.Is(err, authority.ErrTooManySessions) {
			return err
		}
		return nil
	})
	if n, err := f.CountSessions(t.Context(), store.SessionFilter{Subject: f.alice.ID, Live: true}); n != 3 || ok.Load() != 3 {
		t.Errorf("%d live sessions, %d logins succeeded (%v)", n, ok.Load(), err)
	}
}

// A thousand guesses sent at once must not all pass the limit before the first
// of them has failed.
func TestParallelGuessesAreLimited(t *testing.T) {
	f := newFixture(t, authority.Config{LoginFailuresAccount: 5})
	from := authority.Origin{IP: "192.0.2.7", LimitKey: "192.0.2.7"}
	var checked atomic.Int64
	parallel(t, 200, func(n int) error {
		_, err := f.Login(context.Background(), authority.LoginInput{Login: "alice", Password: fmt.Sprint("guess number ", n), From: from})
		var throttled *authority.ThrottledError
		switch {
		case errors.Is(err, authority.ErrBadCredentials):
			checked.Add(1)
		case !errors.As(err, &throttled):
			return fmt.Errorf("guess %d: %v", n, err)
		}
		return nil
	})
	// Each hash that runs at the moment of the last failure may be one more.
	if n, most := checked.Load(), int64(5+runtime.GOMAXPROCS(0)); n > most {
		t.Errorf("%d guesses were checked, want at most %d", n, most)
	}
}

// alive returns an error if any credential is accepted.
func (f *fixture) alive(i authority.Issued) error {
	if _, err := f.Authenticate(context.Background(), i.AccessToken); !errors.Is(err, curfew.ErrRevoked) {
		return fmt.Errorf("access token after the logout: %v", err)
	}
	if _, err := f.refresh(i); !errors.Is(err, authority.ErrInvalidGrant) {
		return fmt.Errorf("refresh token after the logout: %v", err)
	}
	return nil
}

// together runs both at the same time.
func together(a, b func()) {
	start, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); <-start; a() }()
	close(start)
	b()
	<-done
}

// parallel runs f for 0..n-1 on several goroutines and fails on an error.
func parallel(t *testing.T, n int, f func(int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Bool
	for range 16 {
		wg.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= n || failed.Load() {
					return
				}
				if err := f(k); err != nil {
					if !failed.Swap(true) {
						t.Errorf("run %d: %v", k, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() {
		t.FailNow()
	}
}
