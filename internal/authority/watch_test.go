package authority_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
)

// watched returns why a watched session has ended, or "" if nobody was woken.
func watched(f *fixture, c *curfew.Claims, w *authority.Watch) curfew.Reason {
	select {
	case <-w.Woken():
	case <-time.After(time.Second):
		return ""
	}
	var ended *authority.EndedError
	if _, err := f.Standing(context.Background(), c); errors.As(err, &ended) {
		return ended.Reason
	}
	return ""
}

// Whoever watches a session is woken by every way of ending it, and finds the
// reason at once.
func TestWatchersLearnWhy(t *testing.T) {
	for want, end := range map[curfew.Reason]func(f *fixture, i authority.Issued) error{
		curfew.ReasonUser: func(f *fixture, i authority.Issued) error {
			_, err := f.Logout(context.Background(), authority.LogoutInput{Access: []string{i.AccessToken}})
			return err
		},
		curfew.ReasonUserAll: func(f *fixture, i authority.Issued) error {
			_, err := f.Logout(context.Background(), authority.LogoutInput{Access: []string{i.AccessToken}, Scope: authority.ScopeGlobal})
			return err
		},
		curfew.ReasonTokenReuse: func(f *fixture, i authority.Issued) error {
			second, err := f.refresh(i)
			if err == nil {
				_, err = f.refresh(second)
			}
			if err != nil {
				return err
			}
			_, err = f.refresh(i)
			if errors.Is(err, authority.ErrInvalidGrant) {
				return nil
			}
			return err
		},
		curfew.ReasonAdmin: func(f *fixture, _ authority.Issued) error {
			_, err := f.LogoutEverybody(context.Background(), curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
			return err
		},
		curfew.ReasonDisabled: func(f *fixture, _ authority.Issued) error {
			_, err := f.DisableUser(context.Background(), f.alice.ID, authority.System, authority.Origin{})
			return err
		},
		curfew.ReasonDeleted: func(f *fixture, _ authority.Issued) error {
			_, err := f.DeleteUser(context.Background(), f.alice.ID, authority.System, authority.Origin{})
			return err
		},
	} {
		t.Run(string(want), func(t *testing.T) {
			f := newFixture(t, authority.Config{})
			i := f.login(t)
			c, err := f.Authenticate(t.Context(), i.AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			w, ok := f.Watch(c, 10, 10)
			if !ok {
				t.Fatal("not watched")
			}
			defer w.Stop()
			if st, err := f.Standing(t.Context(), c); err != nil || st.Session.ID != i.Session.ID || st.Superseded {
				t.Fatalf("while it lives: %+v, %v", st, err)
			}
			if err := end(f, i); err != nil {
				t.Fatal(err)
			}
			if got := watched(f, c, w); got != want {
				t.Errorf("reason %q", got)
			}
		})
	}
}

func TestWatchersOfOtherSessionsSleep(t *testing.T) {
	f := newFixture(t, authority.Config{})
	mine, other := f.login(t), f.login(t)
	c, err := f.Authenticate(t.Context(), mine.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := f.Watch(c, 10, 10)
	defer w.Stop()
	f.logout(t, authority.ScopeLocal, other)
	select {
	case <-w.Woken():
		t.Error("woken by the end of another session")
	default:
	}
}

// A session goes on when only its access token has died. Its browser must not be
// told that it is over.
func TestADeadTokenIsNoDeadSession(t *testing.T) {
	for name, end := range map[string]func(f *fixture, i authority.Issued, c *curfew.Claims) error{
		"password changed, session kept": func(f *fixture, _ authority.Issued, c *curfew.Claims) error {
			_, _, err := f.ChangePassword(context.Background(), c, authority.PasswordChange{Password: "another password", Current: alicePassword, KeepCurrent: true})
			return err
		},
		"token revoked": func(f *fixture, i authority.Issued, _ *curfew.Claims) error {
			_, err := f.RevokeToken(context.Background(), i.AccessToken, "", authority.Origin{})
			return err
		},
		"key revoked": func(f *fixture, _ authority.Issued, c *curfew.Claims) error {
			_, err := f.RevokeKey(context.Background(), c.KeyID, authority.System, authority.Origin{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, authority.Config{})
			i := f.login(t)
			c, err := f.Authenticate(t.Context(), i.AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			w, _ := f.Watch(c, 10, 10)
			defer w.Stop()
			if err := end(f, i, c); err != nil {
				t.Fatal(err)
			}
			<-w.Woken()
			if st, err := f.Standing(t.Context(), c); err != nil || !st.Superseded {
				t.Errorf("%+v, %v", st, err)
			}
			if why := f.WhyEnded(t.Context(), i.AccessToken); why != "" {
				t.Errorf("the session is said to have ended: %s", why)
			}
		})
	}
}

func TestWatchersAreBounded(t *testing.T) {
	f := newFixture(t, authority.Config{})
	one, err := f.Authenticate(t.Context(), f.login(t).AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	two, err := f.Authenticate(t.Context(), f.login(t).AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	first, ok := f.Watch(one, 3, 2)
	second, ok2 := f.Watch(one, 3, 2)
	if !ok || !ok2 {
		t.Fatal("refused below the bounds")
	}
	if _, ok := f.Watch(one, 3, 2); ok {
		t.Error("one session is watched more often than allowed")
	}
	third, ok := f.Watch(two, 3, 2)
	if !ok {
		t.Error("the bound of one session holds for another")
	}
	if _, ok := f.Watch(two, 3, 2); ok {
		t.Error("more are watched than allowed")
	}
	for _, w := range []*authority.Watch{first, second, third} {
		w.Stop()
	}
	again, ok := f.Watch(one, 1, 1)
	if !ok {
		t.Error("what was stopped still counts")
	}
	again.Stop()
}

// How a session stands: what a browser counts down to.
func TestStandingSaysWhenASessionIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{IdleTimeout: 10 * time.Minute})
		i := f.cookie(t)
		time.Sleep(4 * time.Minute)
		background := authority.InBackground(t.Context())
		c, err := f.AuthenticateCookie(background, i.Cookie)
		if err != nil {
			t.Fatal(err)
		}
		st, err := f.Standing(background, c)
		if err != nil || st.IdleAt.Sub(st.Now) != 6*time.Minute {
			t.Errorf("idle in %v, %v", st.IdleAt.Sub(st.Now), err)
		}
		if _, err := f.AuthenticateCookie(t.Context(), i.Cookie); err != nil {
			t.Fatal(err)
		}
		if st, err = f.Standing(background, c); err != nil || st.IdleAt.Sub(st.Now) != 10*time.Minute {
			t.Errorf("after an activity idle in %v, %v", st.IdleAt.Sub(st.Now), err)
		}
	})
}
