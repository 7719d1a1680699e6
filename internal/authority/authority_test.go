package authority_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/curfewhq/curfew/internal/token"
)

const (
	alicePassword = "correct horse battery"
	issuer        = "https://id.example.com"
)

// fixture is an authority on a store of its own, with one user.
type fixture struct {
	*authority.Authority
	store store.Store
	path  string
	key   seal.Key
	cfg   authority.Config
	alice store.User
	stop  func()
}

// cheap hashing keeps the tests about sessions.
var cheap = password.Config{MemoryKiB: 64, Iterations: 1}

func newFixture(t *testing.T, cfg authority.Config, wrap ...func(store.Store) store.Store) *fixture {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curfew.db")
	if err := sqlite.Create(t.Context(), path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	key, err := seal.LoadOrCreate(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Issuer = issuer
	f := &fixture{path: path, key: key, cfg: cfg}
	f.start(t, wrap...)
	if f.alice, err = f.CreateUser(t.Context(), authority.NewUser{
		Email: "alice@example.com", Username: "alice", Password: alicePassword,
	}, authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := f.VerifyAudit(ctx, audit.Head{}); err != nil {
			t.Errorf("audit trail after the test: %v", err)
		}
		if err := f.store.Check(ctx); err != nil {
			t.Errorf("store after the test: %v", err)
		}
		f.stop()
	})
	return f
}

func (f *fixture) start(t *testing.T, wrap ...func(store.Store) store.Store) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), f.path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.store = db
	for _, w := range wrap {
		f.store = w(f.store)
	}
	hasher, err := password.New(cheap)
	if err != nil {
		t.Fatal(err)
	}
	if f.Authority, err = authority.Open(t.Context(), f.cfg, authority.Deps{Store: f.store, Hasher: hasher, Sealer: f.key}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Authority.Run(ctx) }()
	f.stop = func() { cancel(); <-done; f.store.Close() }
}

// restart closes everything and opens it again, as a new process would.
func (f *fixture) restart(t *testing.T) {
	t.Helper()
	f.stop()
	f.start(t)
}

func (f *fixture) login(t *testing.T) authority.Issued {
	t.Helper()
	i, err := f.Login(t.Context(), authority.LoginInput{Login: "alice@example.com", Password: alicePassword})
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	return i
}

func (f *fixture) logout(t *testing.T, scope authority.LogoutScope, i authority.Issued) authority.LogoutOutput {
	t.Helper()
	out, err := f.Logout(t.Context(), authority.LogoutInput{Access: []string{i.AccessToken}, Scope: scope})
	if err != nil {
		t.Fatalf("logout: %v", err)
	}
	return out
}

func (f *fixture) refresh(i authority.Issued) (authority.Issued, error) {
	return f.Refresh(context.Background(), authority.RefreshInput{Token: i.RefreshToken})
}

// mustBeDead fails the test if any credential of a session is accepted.
func (f *fixture) mustBeDead(t *testing.T, what string, i authority.Issued) {
	t.Helper()
	if _, err := f.Authenticate(t.Context(), i.AccessToken); err == nil {
		t.Errorf("%s: access token is accepted", what)
	}
	if _, err := f.refresh(i); !errors.Is(err, authority.ErrInvalidGrant) {
		t.Errorf("%s: refresh gives %v", what, err)
	}
	if in, err := f.Introspect(t.Context(), i.AccessToken); err != nil || in != nil {
		t.Errorf("%s: introspection says active (%v)", what, err)
	}
}

func (f *fixture) mustLive(t *testing.T, what string, i authority.Issued) {
	t.Helper()
	if _, err := f.Authenticate(t.Context(), i.AccessToken); err != nil {
		t.Errorf("%s: access token: %v", what, err)
	}
	if in, err := f.Introspect(t.Context(), i.AccessToken); err != nil || in == nil {
		t.Errorf("%s: introspection says inactive (%v)", what, err)
	}
}

func TestLogoutEndsTheSessionAndNoOther(t *testing.T) {
	f := newFixture(t, authority.Config{})
	one, two := f.login(t), f.login(t)
	out := f.logout(t, authority.ScopeLocal, one)
	if out.State != authority.StateEnforced || out.Ended != 1 || out.Seq == 0 {
		t.Errorf("receipt %+v", out.Receipt)
	}
	f.mustBeDead(t, "logged out", one)
	f.mustLive(t, "the other", two)
	again := f.logout(t, authority.ScopeLocal, one)
	if again.Ended != 0 || again.Seq != out.Seq {
		t.Errorf("repeated logout: %+v, first was %+v", again.Receipt, out.Receipt)
	}
}

func TestLogoutScopes(t *testing.T) {
	f := newFixture(t, authority.Config{})
	one, two, three := f.login(t), f.login(t), f.login(t)
	if out := f.logout(t, authority.ScopeOthers, one); out.Ended != 2 {
		t.Errorf("others ended %d", out.Ended)
	}
	f.mustLive(t, "current", one)
	f.mustBeDead(t, "other", two)
	f.mustBeDead(t, "other", three)
	four := f.login(t)
	if out := f.logout(t, authority.ScopeGlobal, one); out.Ended != 2 {
		t.Errorf("global ended %d", out.Ended)
	}
	f.mustBeDead(t, "current", one)
	f.mustBeDead(t, "other", four)
	f.mustLive(t, "login after", f.login(t))
}

// A token that leaked and was revoked, or a refresh token that is spent, must
// not be able to log its owner out everywhere.
func TestAnOldCredentialEndsItsOwnSessionOnly(t *testing.T) {
	f := newFixture(t, authority.Config{})
	for name, old := range map[string]func(authority.Issued) authority.LogoutInput{
		"revoked access token": func(i authority.Issued) authority.LogoutInput {
			if _, err := f.RevokeToken(t.Context(), i.AccessToken, "", authority.Origin{}); err != nil {
				t.Fatal(err)
			}
			return authority.LogoutInput{Access: []string{i.AccessToken}}
		},
		"spent refresh token": func(i authority.Issued) authority.LogoutInput {
			second, err := f.refresh(i)
			if err == nil {
				_, err = f.refresh(second)
			}
			if err != nil {
				t.Fatal(err)
			}
			return authority.LogoutInput{Refresh: []string{i.RefreshToken}}
		},
		"of an ended session": func(i authority.Issued) authority.LogoutInput {
			f.logout(t, authority.ScopeLocal, i)
			return authority.LogoutInput{Access: []string{i.AccessToken}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mine, other := f.login(t), f.login(t)
			in := old(mine)
			in.Scope = authority.ScopeGlobal
			out, err := f.Logout(t.Context(), in)
			if err != nil || out.Scope != authority.ScopeLocal {
				t.Errorf("scope %q, %v", out.Scope, err)
			}
			f.mustBeDead(t, "its own", mine)
			f.mustLive(t, "the other", other)
			f.logout(t, authority.ScopeGlobal, other)
		})
	}
}

// A restart that forgot what was revoked would bring tokens back to life
// (CVE-2022-41316, CVE-2026-9802).
func TestRestartRemembersEveryLevel(t *testing.T) {
	f := newFixture(t, authority.Config{})
	local := f.login(t)
	f.logout(t, authority.ScopeLocal, local)
	single := f.login(t)
	if _, err := f.RevokeToken(t.Context(), single.AccessToken, "", authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	global := f.login(t)
	f.restart(t)
	f.mustBeDead(t, "local", local)
	if _, err := f.Authenticate(t.Context(), single.AccessToken); !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("revoked token: %v", err)
	}
	if _, err := f.refresh(single); err != nil {
		t.Errorf("session of a revoked token: %v", err)
	}
	f.logout(t, authority.ScopeGlobal, global)
	f.restart(t)
	f.mustBeDead(t, "global", global)
	everybody := f.login(t)
	if _, err := f.LogoutEverybody(t.Context(), curfew.ReasonAdmin, "", false, authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	client := f.login(t)
	if _, err := f.LogoutClient(t.Context(), "default", curfew.ReasonAdmin, "", false, authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	f.mustBeDead(t, "everybody", everybody)
	f.mustBeDead(t, "client", client)
	f.restart(t)
	f.mustBeDead(t, "everybody", everybody)
	f.mustBeDead(t, "client", client)
	f.mustLive(t, "login after", f.login(t))
}

func TestKeyRevokeKillsItsTokensAtOnceAndNothingElse(t *testing.T) {
	f := newFixture(t, authority.Config{})
	before := f.login(t)
	keys, err := f.Keys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	r, err := f.RevokeKey(t.Context(), keys[0].ID, authority.System, authority.Origin{})
	if err != nil || r.State != authority.StateEnforced {
		t.Fatalf("revoke: %+v, %v", r, err)
	}
	if _, err := f.Authenticate(t.Context(), before.AccessToken); err == nil {
		t.Error("a token under the revoked key is accepted")
	}
	// The session itself goes on, under the key that took its place.
	after, err := f.refresh(before)
	if err != nil {
		t.Fatal(err)
	}
	f.mustLive(t, "refreshed", after)
	f.restart(t)
	f.mustLive(t, "refreshed, after a restart", after)
	if _, err := f.Authenticate(t.Context(), before.AccessToken); err == nil {
		t.Error("a token under the revoked key is accepted after a restart")
	}
}

func TestEveryAlgorithmSignsRotatesAndIsReplaced(t *testing.T) {
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			f := newFixture(t, authority.Config{Algorithm: alg})
			before := f.login(t)
			if err := f.RotateKeys(t.Context(), authority.System, authority.Origin{}); err != nil {
				t.Fatal(err)
			}
			f.mustLive(t, "before the rotation", before)
			after := f.login(t)
			f.logout(t, authority.ScopeLocal, before)
			f.restart(t)
			f.mustBeDead(t, "logged out", before)
			f.mustLive(t, "after the rotation", after)
		})
	}
}

func TestKeyRotationKeepsTokensGood(t *testing.T) {
	f := newFixture(t, authority.Config{})
	before := f.login(t)
	if err := f.RotateKeys(t.Context(), authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	after := f.login(t)
	f.mustLive(t, "before", before)
	f.mustLive(t, "after", after)
	f.restart(t)
	f.mustLive(t, "before", before)
}

func TestPasswordChangeEndsEverythingButWhatIsKept(t *testing.T) {
	f := newFixture(t, authority.Config{})
	mine, other := f.login(t), f.login(t)
	c, err := f.Authenticate(t.Context(), mine.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	_, kept, err := f.ChangePassword(t.Context(), c, authority.PasswordChange{Password: "a new password", Current: alicePassword, KeepCurrent: true})
	if err != nil {
		t.Fatal(err)
	}
	f.mustBeDead(t, "other", other)
	if _, err := f.Authenticate(t.Context(), mine.AccessToken); !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("old access token of the kept session: %v", err)
	}
	f.mustLive(t, "kept", *kept)
	if kept.Session.ID != mine.Session.ID {
		t.Error("the kept session is another one")
	}
	if _, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword}); !errors.Is(err, authority.ErrBadCredentials) {
		t.Errorf("login with the old password: %v", err)
	}
}

func TestReauthenticationIsForgottenAtLogout(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	c, _ := f.Authenticate(t.Context(), i.AccessToken)
	change := authority.PasswordChange{Password: "a new password"}
	if _, _, err := f.ChangePassword(t.Context(), c, change); !errors.Is(err, authority.ErrReauthRequired) {
		t.Fatalf("without reauthentication: %v", err)
	}
	re, err := f.Reauthenticate(t.Context(), c, alicePassword, authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	f.logout(t, authority.ScopeLocal, i)
	if s, err := f.SessionByID(t.Context(), c.Session); err != nil || !s.ReauthAt.IsZero() {
		t.Errorf("reauthentication after logout: %v, %v", s.ReauthAt, err)
	}
	f.mustBeDead(t, "reauthenticated", re)
}

func TestRefreshRetryGetsTheSameSuccessorAndReuseEndsTheSession(t *testing.T) {
	f := newFixture(t, authority.Config{})
	first := f.login(t)
	second, err := f.refresh(first)
	if err != nil {
		t.Fatal(err)
	}
	retried, err := f.refresh(first)
	if err != nil || retried.RefreshToken != second.RefreshToken {
		t.Fatalf("retry: same successor %v, %v", retried.RefreshToken == second.RefreshToken, err)
	}
	third, err := f.refresh(second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.refresh(first); !errors.Is(err, curfew.ErrReused) {
		t.Errorf("reuse: %v", err)
	}
	f.mustBeDead(t, "after reuse", third)
	s, err := f.SessionByID(t.Context(), first.Session.ID)
	if err != nil || s.EndReason != curfew.ReasonTokenReuse {
		t.Errorf("reason %q, %v", s.EndReason, err)
	}
	lines, err := f.Audit(t.Context(), store.AuditFilter{Event: audit.TokenReused})
	if err != nil || len(lines) != 1 || lines[0].Session != s.ID {
		t.Errorf("audit: %+v, %v", lines, err)
	}
}

// A refreshed token must not outlive the absolute limit of its session.
func TestAccessTokenEndsWithItsSession(t *testing.T) {
	f := newFixture(t, authority.Config{Lifetime: 3 * time.Minute})
	i := f.login(t)
	if i.ExpiresAt.After(i.Session.ExpiresAt) {
		t.Errorf("token until %v, session until %v", i.ExpiresAt, i.Session.ExpiresAt)
	}
	next, err := f.refresh(i)
	if err != nil {
		t.Fatal(err)
	}
	if next.ExpiresAt.After(i.Session.ExpiresAt) || !next.Session.ExpiresAt.Equal(i.Session.ExpiresAt) {
		t.Errorf("refreshed token until %v, session until %v (was %v)", next.ExpiresAt, next.Session.ExpiresAt, i.Session.ExpiresAt)
	}
}

func TestMaxSessions(t *testing.T) {
	t.Run("refuse", func(t *testing.T) {
		f := newFixture(t, authority.Config{MaxSessions: 2})
		one := f.login(t)
		f.login(t)
		if _, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword}); !errors.Is(err, authority.ErrTooManySessions) {
			t.Errorf("third login: %v", err)
		}
		f.logout(t, authority.ScopeLocal, one)
		f.login(t)
	})
	t.Run("end the oldest", func(t *testing.T) {
		f := newFixture(t, authority.Config{MaxSessions: 2, EndOldest: true})
		one, two, three := f.login(t), f.login(t), f.login(t)
		if s, err := f.SessionByID(t.Context(), one.Session.ID); err != nil || s.EndReason != curfew.ReasonReplaced {
			t.Errorf("oldest: %q, %v", s.EndReason, err)
		}
		f.mustBeDead(t, "oldest", one)
		f.mustLive(t, "second", two)
		f.mustLive(t, "third", three)
	})
}

func TestCompromisedUserMustSetANewPassword(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	if _, err := f.LogoutUser(t.Context(), f.alice.ID, curfew.ReasonCompromised, "", authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	f.mustBeDead(t, "compromised", i)
	in := authority.LoginInput{Login: "alice", Password: alicePassword}
	if _, err := f.Login(t.Context(), in); !errors.Is(err, authority.ErrPasswordChangeRequired) {
		t.Errorf("login: %v", err)
	}
	in.NewPassword = "quite another password"
	fresh, err := f.Login(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	f.mustLive(t, "fresh", fresh)
	if _, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword}); !errors.Is(err, authority.ErrBadCredentials) {
		t.Errorf("login with the compromised password: %v", err)
	}
}

func TestDeletedUserIsGoneAndTheNameIsFree(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	if _, err := f.DeleteUser(t.Context(), f.alice.ID, authority.System, authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	f.mustBeDead(t, "deleted", i)
	again, err := f.CreateUser(t.Context(), authority.NewUser{Email: "alice@example.com", Password: alicePassword}, authority.System, authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if again.ID == f.alice.ID {
		t.Error("the id was given out again")
	}
	f.mustBeDead(t, "of the deleted user", i)
}

// Tokens issued after a backup carry positions that the restored log has yet
// to reach, so they must die by their keys.
func TestAfterRestoreNothingFromBeforeIsAccepted(t *testing.T) {
	f := newFixture(t, authority.Config{})
	before := f.login(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	writeBackup(t, f, backup)
	loggedOut := before
	f.logout(t, authority.ScopeLocal, loggedOut)
	after := f.login(t)

	f.stop()
	f.path = backup
	db, err := sqlite.Open(t.Context(), backup, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	old, _ := db.State(t.Context())
	if err := authority.AfterRestore(t.Context(), db, 3*time.Second); err != nil {
		t.Fatal(err)
	}
	state, _ := db.State(t.Context())
	if state.Head.LogID == old.Head.LogID || state.Everything <= old.Head.Seq {
		t.Errorf("state after the restore %+v, before %+v", state, old)
	}
	db.Close()
	f.start(t)
	f.mustBeDead(t, "logged out after the backup", loggedOut)
	f.mustBeDead(t, "issued after the backup", after)
	f.mustLive(t, "login after the restore", f.login(t))
}
