package authority_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/store"
)

// interleaved does something at a chosen moment of somebody else's call.
type interleaved struct {
	store.Store
	mu           sync.Mutex
	beforeCommit func(store.Change) bool // says whether this is the moment
	beforeUser   bool
	then         func()
}

// take returns what to do now, once.
func (s *interleaved) take(now func() bool) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.then == nil || !now() {
		return func() {}
	}
	then := s.then
	s.then = nil
	return then
}

func (s *interleaved) Commit(ctx context.Context, c store.Change) (store.Committed, error) {
	s.take(func() bool { return s.beforeCommit != nil && s.beforeCommit(c) })()
	return s.Store.Commit(ctx, c)
}

func (s *interleaved) User(ctx context.Context, id string) (store.User, error) {
	s.take(func() bool { return s.beforeUser })()
	return s.Store.User(ctx, id)
}

func interleave(t *testing.T) (*fixture, *interleaved) {
	t.Helper()
	var in *interleaved
	f := newFixture(t, authority.Config{}, func(s store.Store) store.Store { in = &interleaved{Store: s}; return in })
	return f, in
}

func insertsSession(c store.Change) bool { return len(c.InsertSessions) > 0 }

// Whoever logs in with a compromised password while it is being declared so
// must set a new one like everybody after.
func TestLoginUnderWayWhenTheAccountIsDeclaredCompromised(t *testing.T) {
	f, in := interleave(t)
	in.beforeCommit, in.then = insertsSession, func() {
		if _, err := f.LogoutUser(context.Background(), f.alice.ID, curfew.ReasonCompromised, "", authority.System, authority.Origin{}); err != nil {
			t.Error(err)
		}
	}
	_, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword})
	if !errors.Is(err, authority.ErrPasswordChangeRequired) {
		t.Errorf("login: %v", err)
	}
	if n, _ := f.CountSessions(t.Context(), store.SessionFilter{Live: true}); n != 0 {
		t.Errorf("%d live sessions", n)
	}
}

// A login that upgrades its hash reads the user again; it must see then that
// the user was disabled.
func TestLoginUnderWayWithAnUpgradeWhenTheUserIsDisabled(t *testing.T) {
	f, in := interleave(t)
	other, err := password.New(password.Config{MemoryKiB: 128, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := other.Hash(t.Context(), alicePassword)
	if err != nil {
		t.Fatal(err)
	}
	u, err := f.CreateUser(t.Context(), authority.NewUser{Email: "old@example.com", PasswordHash: hash}, authority.System, authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	in.beforeUser, in.then = true, func() {
		if _, err := f.DisableUser(context.Background(), u.ID, authority.System, authority.Origin{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Login(t.Context(), authority.LoginInput{Login: u.Email, Password: alicePassword}); !errors.Is(err, authority.ErrBadCredentials) {
		t.Errorf("login: %v", err)
	}
	if n, _ := f.CountSessions(t.Context(), store.SessionFilter{Live: true}); n != 0 {
		t.Errorf("%d live sessions", n)
	}
}

// Keeping the current session over a change of password lifts its epoch. That
// must not lift it over a logout of everybody, or of its client.
func TestKeptSessionIsNotLiftedOverALogoutOfEverything(t *testing.T) {
	for name, logout := range map[string]func(*fixture) error{
		"everybody": func(f *fixture) error {
			_, err := f.LogoutEverybody(context.Background(), curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
			return err
		},
		"client": func(f *fixture) error {
			_, err := f.LogoutClient(context.Background(), "default", curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, in := interleave(t)
			i := f.login(t)
			c, err := f.Authenticate(t.Context(), i.AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			in.beforeCommit = func(c store.Change) bool { return len(c.UpdateSessions) > 0 && c.UpdateSessions[0].RaiseEpoch }
			in.then = func() {
				if err := logout(f); err != nil {
					t.Error(err)
				}
			}
			_, kept, err := f.ChangePassword(t.Context(), c, authority.PasswordChange{Password: "a new password", Current: alicePassword, KeepCurrent: true})
			if !errors.Is(err, curfew.ErrRevoked) || kept != nil {
				t.Errorf("change: %v, tokens %v", err, kept != nil)
			}
			f.mustBeDead(t, "logged out", i)
		})
	}
}

// While a slow disk writes the end of a session, a verifier asks about its cookie
// and is told that it lives, as it does. It holds that answer for the life of a
// token, and the log must not forget the end before.
func TestTheLogOutlivesAnAnswerThatWasGivenDuringASlowCommit(t *testing.T) {
	for name, logout := range map[string]func(f *fixture, cookie string) (authority.Receipt, error){
		"session": func(f *fixture, cookie string) (authority.Receipt, error) {
			out, err := f.Logout(context.Background(), authority.LogoutInput{Cookies: []string{cookie}})
			return out.Receipt, err
		},
		"subject": func(f *fixture, _ string) (authority.Receipt, error) {
			return f.LogoutUser(context.Background(), f.alice.ID, curfew.ReasonAdmin, "", authority.System, authority.Origin{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, in := interleave(t)
				i := f.cookie(t)
				var held *authority.Introspection
				in.beforeCommit, in.then = func(c store.Change) bool { return len(c.Revocations) > 0 }, func() {
					time.Sleep(20 * time.Second)
					var err error
					if held, err = f.Introspect(context.Background(), i.Cookie); err != nil || held == nil {
						t.Errorf("during the commit: %+v, %v", held, err)
					}
				}
				receipt, err := logout(f, i.Cookie)
				if err != nil || held == nil {
					t.Fatal(err)
				}
				r, err := f.store.Revocation(t.Context(), receipt.Seq)
				if err != nil {
					t.Fatal(err)
				}
				if until := time.Unix(held.Claims.Exp, 0); !r.ExpiresAt.After(until) {
					t.Errorf("the log forgets it at %v, the verifier holds the answer until %v", r.ExpiresAt, until)
				}
			})
		})
	}
}
