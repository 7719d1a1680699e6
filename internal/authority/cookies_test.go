package authority_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
)

// cookie signs alice in with a cookie.
func (f *fixture) cookie(t *testing.T) authority.Issued {
	t.Helper()
	i, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword, Cookie: true})
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	if i.Cookie == "" || i.AccessToken != "" || i.RefreshToken != "" || i.LogoutToken != "" {
		t.Fatalf("a session with a cookie has that and no tokens: %+v", i)
	}
	return i
}

// cookieDead fails the test if a cookie is accepted anywhere.
func (f *fixture) cookieDead(t *testing.T, what, value string) {
	t.Helper()
	if _, err := f.AuthenticateCookie(t.Context(), value); !errors.Is(err, curfew.ErrRevoked) && !errors.Is(err, curfew.ErrInvalidToken) {
		t.Errorf("%s: the cookie gives %v", what, err)
	}
	if in, err := f.Introspect(t.Context(), value); err != nil || in != nil {
		t.Errorf("%s: introspection says active (%v)", what, err)
	}
}

func (f *fixture) cookieLives(t *testing.T, what, value string) {
	t.Helper()
	if _, err := f.AuthenticateCookie(t.Context(), value); err != nil {
		t.Errorf("%s: the cookie: %v", what, err)
	}
	if in, err := f.Introspect(t.Context(), value); err != nil || in == nil || in.TokenType != "session" {
		t.Errorf("%s: introspection: %+v, %v", what, in, err)
	}
}

// A cookie that somebody copied is dead when its session is, whichever way that
// ended.
func TestEveryEndingKillsTheCookie(t *testing.T) {
	for name, end := range map[string]func(f *fixture, i authority.Issued) error{
		"logout": func(f *fixture, i authority.Issued) error {
			_, err := f.Logout(t.Context(), authority.LogoutInput{Cookies: []string{i.Cookie}})
			return err
		},
		"logout everywhere": func(f *fixture, i authority.Issued) error {
			_, err := f.Logout(t.Context(), authority.LogoutInput{Cookies: []string{i.Cookie}, Scope: authority.ScopeGlobal})
			return err
		},
		"logout from another device": func(f *fixture, _ authority.Issued) error {
			_, err := f.Logout(t.Context(), authority.LogoutInput{Access: []string{f.login(t).AccessToken}, Scope: authority.ScopeOthers})
			return err
		},
		"RFC 7009": func(f *fixture, i authority.Issued) error {
			_, err := f.RevokeToken(t.Context(), i.Cookie, "", authority.Origin{})
			return err
		},
		"operator": func(f *fixture, i authority.Issued) error {
			_, err := f.EndSession(t.Context(), i.Session.ID, curfew.ReasonAdmin, "", authority.System, authority.Origin{})
			return err
		},
		"client": func(f *fixture, i authority.Issued) error {
			_, err := f.LogoutClient(t.Context(), i.Session.ClientID, curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
			return err
		},
		"everybody": func(f *fixture, _ authority.Issued) error {
			_, err := f.LogoutEverybody(t.Context(), curfew.ReasonAdmin, "", false, authority.System, authority.Origin{})
			return err
		},
		"disabled": func(f *fixture, _ authority.Issued) error {
			_, err := f.DisableUser(t.Context(), f.alice.ID, authority.System, authority.Origin{})
			return err
		},
		"deleted": func(f *fixture, _ authority.Issued) error {
			_, err := f.DeleteUser(t.Context(), f.alice.ID, authority.System, authority.Origin{})
			return err
		},
		"password set": func(f *fixture, _ authority.Issued) error {
			_, err := f.SetPassword(t.Context(), f.alice.ID, "another password", false, authority.System, authority.Origin{})
			return err
		},
		"another login in the same browser": func(f *fixture, i authority.Issued) error {
			_, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword, Cookie: true, Replaces: i.Cookie})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, authority.Config{})
			i := f.cookie(t)
			f.cookieLives(t, "before", i.Cookie)
			if err := end(f, i); err != nil {
				t.Fatal(err)
			}
			f.cookieDead(t, "after", i.Cookie)
			f.restart(t)
			f.cookieDead(t, "after a restart", i.Cookie)
		})
	}
}

// Session fixation (CWE-384): no login takes over an id or a secret that the
// browser brought.
func TestEveryLoginHasANewCookie(t *testing.T) {
	f := newFixture(t, authority.Config{})
	seen := map[string]bool{}
	old := ""
	for range 20 {
		i, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword, Cookie: true, Replaces: old})
		if err != nil {
			t.Fatal(err)
		}
		if seen[i.Cookie] || seen[i.Session.ID] {
			t.Fatal("a login repeats a cookie or a session id")
		}
		seen[i.Cookie], seen[i.Session.ID] = true, true
		old = i.Cookie
	}
	// A login that fails leaves the session of before alone.
	if _, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: "wrong password", Cookie: true, Replaces: old}); !errors.Is(err, authority.ErrBadCredentials) {
		t.Fatal(err)
	}
	f.cookieLives(t, "after a failed login", old)
}

// A stolen copy of the database holds nothing that could be presented.
func TestCookiesAreNotInTheStore(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.cookie(t)
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(i.Cookie, "cs_"))
	if err != nil {
		t.Fatal(err)
	}
	var files []byte
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(f.path + suffix)
		if err != nil && suffix == "" {
			t.Fatal(err)
		}
		files = append(files, b...)
	}
	if !bytes.Contains(files, []byte(i.Session.ID)) {
		t.Fatal("the session is not in the files that were read; the test shows nothing")
	}
	for what, secret := range map[string][]byte{"the cookie": []byte(i.Cookie), "its bytes": raw, "its secret": raw[17:]} {
		if bytes.Contains(files, secret) {
			t.Errorf("%s is in the store", what)
		}
	}
}

// Only the one spelling that was given out is the cookie; everything else of its
// session, or of its form, is nothing.
func TestForgedCookies(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i, other := f.cookie(t), f.cookie(t)
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(i.Cookie, "cs_"))
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) string {
		b := bytes.Clone(raw)
		b[at] = to
		return "cs_" + base64.RawURLEncoding.EncodeToString(b)
	}
	otherRaw, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(other.Cookie, "cs_"))
	for what, value := range map[string]string{
		"empty":                      "",
		"prefix alone":               "cs_",
		"no prefix":                  i.Cookie[3:],
		"another prefix":             "cr_" + i.Cookie[3:],
		"turned into a lasting one":  change(0, 2),
		"another version":            change(0, 3),
		"another secret":             change(48, raw[48]^1),
		"another session's secret":   "cs_" + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw[:17]), otherRaw[17:]...)),
		"the session id":             i.Session.ID,
		"the stored hash":            i.Session.CookieHash,
		"cut":                        i.Cookie[:len(i.Cookie)-1],
		"longer":                     i.Cookie + "A",
		"with a line break":          i.Cookie + "\n",
		"a line break inside":        i.Cookie[:20] + "\n" + i.Cookie[20:],
		"padded":                     i.Cookie + "==",
		"a token's session's cookie": "cs_" + base64.RawURLEncoding.EncodeToString(make([]byte, 49)),
		"standard alphabet":          strings.NewReplacer("-", "+", "_", "/").Replace(i.Cookie),
	} {
		f.cookieDead(t, what, value)
	}
	// A session that has tokens has no cookie that could be guessed: its empty
	// hash equals nothing.
	tokens := f.login(t)
	if in, err := f.Introspect(t.Context(), "cs_"+base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 48)...))); in != nil || err != nil {
		t.Errorf("a cookie of nothing: %+v, %v", in, err)
	}
	f.mustLive(t, "the session with tokens", tokens)
	f.cookieLives(t, "the real one", i.Cookie)
}

// Trailing bits of the last character are another spelling of the same bytes.
func TestACookieHasOneSpelling(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.cookie(t)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, c := range alphabet {
		if value := i.Cookie[:len(i.Cookie)-1] + string(c); value != i.Cookie {
			f.cookieDead(t, "last character "+string(c), value)
		}
	}
}

// What a verifier may still hold of a cookie's session must be covered by the log:
// the answer to an introspection just before the end counts for as long as an
// access token lives.
func TestTheLogRemembersACookieSessionAsLongAsItsIntrospectionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{AccessLife: 10 * time.Minute})
		i := f.cookie(t)
		time.Sleep(3 * time.Hour) // the session is older than any token
		in, err := f.Introspect(t.Context(), i.Cookie)
		if err != nil || in == nil {
			t.Fatal(err)
		}
		out, err := f.Logout(t.Context(), authority.LogoutInput{Cookies: []string{i.Cookie}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.store.Revocation(t.Context(), out.Seq)
		if err != nil {
			t.Fatal(err)
		}
		if until := time.Unix(in.Claims.Exp, 0); !r.ExpiresAt.After(until) {
			t.Errorf("the log forgets the end at %v, a verifier holds the session until %v", r.ExpiresAt, until)
		}
		if in.Claims.Exp > f.Now().Add(10*time.Minute).Unix() {
			t.Errorf("the answer counts for longer than a token: until %v", time.Unix(in.Claims.Exp, 0))
		}
	})
}

// An introspection never reaches beyond the session.
func TestIntrospectionOfACookieEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{AccessLife: 10 * time.Minute, Lifetime: time.Hour})
		i := f.cookie(t)
		time.Sleep(55 * time.Minute)
		in, err := f.Introspect(t.Context(), i.Cookie)
		if err != nil || in == nil || in.Claims.Exp > i.Session.ExpiresAt.Unix() {
			t.Fatalf("%+v, %v", in, err)
		}
		time.Sleep(5 * time.Minute)
		f.cookieDead(t, "after an hour", i.Cookie)
	})
}

func TestCookieSessionsAreIdleOnTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, authority.Config{IdleTimeout: 5 * time.Minute})
		i, quiet := f.cookie(t), f.cookie(t)
		for range 3 {
			time.Sleep(5*time.Minute - time.Second)
			if _, err := f.AuthenticateCookie(t.Context(), i.Cookie); err != nil {
				t.Fatal(err)
			}
			// A page that polls in the background is no person.
			_, err := f.AuthenticateCookie(authority.InBackground(t.Context()), quiet.Cookie)
			if err != nil && !errors.Is(err, curfew.ErrRevoked) {
				t.Fatal(err)
			}
		}
		f.cookieDead(t, "polled in the background", quiet.Cookie)
		if why := f.WhyEnded(t.Context(), quiet.Cookie); why != curfew.ReasonIdle {
			t.Errorf("reason %q", why)
		}
		time.Sleep(5 * time.Minute)
		f.cookieDead(t, "idle", i.Cookie)
	})
}

// Whoever stole the cookie before the password was changed must not come along.
func TestPasswordChangeGivesTheKeptSessionANewCookie(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i, other := f.cookie(t), f.cookie(t)
	c, err := f.AuthenticateCookie(t.Context(), i.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	_, issued, err := f.ChangePassword(t.Context(), c, authority.PasswordChange{
		Password: "another password", Current: alicePassword, KeepCurrent: true, Cookie: i.Cookie,
	})
	if err != nil {
		t.Fatal(err)
	}
	if issued == nil || issued.Cookie == "" || issued.Cookie == i.Cookie || issued.AccessToken != "" {
		t.Fatalf("issued %+v", issued)
	}
	f.cookieDead(t, "stolen before", i.Cookie)
	f.cookieDead(t, "another device", other.Cookie)
	f.cookieLives(t, "kept", issued.Cookie)
	if issued.Session.ID != i.Session.ID {
		t.Error("the kept session has another id")
	}
	lasting, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: "another password", Cookie: true, Remember: true})
	if err != nil || !authority.IsPersistentCookie(lasting.Cookie) || authority.IsPersistentCookie(issued.Cookie) {
		t.Errorf("remember: %v", err)
	}
}

// With a logout token nothing can be done but log out.
func TestALogoutTokenCanDoNothingElse(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	if _, err := f.Authenticate(t.Context(), i.LogoutToken); !errors.Is(err, curfew.ErrInvalidToken) {
		t.Errorf("as an access token: %v", err)
	}
	if _, err := f.AuthenticateCookie(t.Context(), i.LogoutToken); !errors.Is(err, curfew.ErrInvalidToken) {
		t.Errorf("as a cookie: %v", err)
	}
	if _, err := f.Refresh(t.Context(), authority.RefreshInput{Token: i.LogoutToken}); !errors.Is(err, authority.ErrInvalidGrant) {
		t.Errorf("as a refresh token: %v", err)
	}
	if in, err := f.Introspect(t.Context(), i.LogoutToken); in != nil || err != nil {
		t.Errorf("introspection: %+v, %v", in, err)
	}
	for what, forged := range map[string]string{
		"of another session": "cl_" + f.login(t).LogoutToken[3:20] + i.LogoutToken[20:],
		"a refresh token":    "cl_" + i.RefreshToken[3:],
		"cut":                i.LogoutToken[:len(i.LogoutToken)-1],
		"empty":              "cl_",
	} {
		if _, err := f.Logout(t.Context(), authority.LogoutInput{Logout: []string{forged}}); !errors.Is(err, authority.ErrNoCredential) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.mustLive(t, "after all that", i)

	// It is good for the whole session, however often that was refreshed, and
	// the same all along.
	next, err := f.refresh(i)
	if err != nil || next.LogoutToken != i.LogoutToken {
		t.Fatalf("after a refresh: %v", err)
	}
	out, err := f.Logout(t.Context(), authority.LogoutInput{Logout: []string{i.LogoutToken}})
	if err != nil || out.Ended != 1 || out.State != authority.StateEnforced {
		t.Fatalf("%+v, %v", out, err)
	}
	f.mustBeDead(t, "logged out", next)
}

// A logout that was made without a network arrives when its session may be long
// over. It must not end what its person has begun since.
func TestALateLogoutTokenLeavesLaterSessionsAlone(t *testing.T) {
	f := newFixture(t, authority.Config{})
	i := f.login(t)
	f.logout(t, authority.ScopeLocal, i)
	later := f.login(t)
	out, err := f.Logout(t.Context(), authority.LogoutInput{Logout: []string{i.LogoutToken}, Scope: authority.ScopeGlobal})
	if err != nil || out.Ended != 0 || out.Scope != authority.ScopeLocal {
		t.Errorf("%+v, %v", out, err)
	}
	f.mustLive(t, "begun since", later)
}

// A request with a cookie that races its logout: when the logout is answered, the
// cookie is dead.
func TestCookieRacingLogout(t *testing.T) {
	f := newFixture(t, authority.Config{})
	parallel(t, races()/5, func(int) error {
		ctx := context.Background()
		i, err := f.Login(ctx, authority.LoginInput{Login: "alice", Password: alicePassword, Cookie: true})
		if err != nil {
			return err
		}
		var logoutErr error
		together(
			func() { f.AuthenticateCookie(ctx, i.Cookie) },
			func() { _, logoutErr = f.Logout(ctx, authority.LogoutInput{Cookies: []string{i.Cookie}}) },
		)
		if logoutErr != nil {
			return logoutErr
		}
		if _, err := f.AuthenticateCookie(ctx, i.Cookie); !errors.Is(err, curfew.ErrRevoked) {
			return fmt.Errorf("after the logout: %v", err)
		}
		return nil
	})
}

// Two sign-ins of one browser at once, and a limit on sessions: each replaces
// what the browser had, and none of them is counted twice.
func TestReplacedSessionsMakeRoom(t *testing.T) {
	f := newFixture(t, authority.Config{MaxSessions: 1})
	i := f.cookie(t)
	next, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword, Cookie: true, Replaces: i.Cookie})
	if err != nil {
		t.Fatalf("the session that is replaced still counts: %v", err)
	}
	f.cookieDead(t, "replaced", i.Cookie)
	f.cookieLives(t, "new", next.Cookie)
	if _, err := f.Login(t.Context(), authority.LoginInput{Login: "alice", Password: alicePassword}); !errors.Is(err, authority.ErrTooManySessions) {
		t.Errorf("one more: %v", err)
	}
}
