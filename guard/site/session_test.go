package site_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
)

// A person comes, signs in, looks around and signs out.
func TestSignInAndOut(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	b.get("/").wantBody("hello nobody")
	b.get("/members").wantLogin("/members", "").wantDeleted(false)

	p := b.post("/login", "login=alice&password=correct+horse+battery&return=/members%3Fa%3Db").want(http.StatusSeeOther)
	if got := p.Header.Get("Location"); got != "/members?a=b" {
		t.Errorf("redirected to %q", got)
	}
	if got := p.Header.Get("Test-User"); got != "Alice" {
		t.Errorf("name %q", got)
	}
	value := b.value()
	b.get("/").wantBody("hello alice@example.com")
	b.get("/members").wantBody("members alice@example.com")
	f.wantLive(value, "alice@example.com")

	p = b.post("/signout", "").wantLogin("", "user").wantDeleted(true)
	if got := p.Header.Get("Clear-Site-Data"); got != `"storage"` {
		t.Errorf("Clear-Site-Data %q", got)
	}
	if b.value() != "" {
		t.Error("the browser has kept the cookie")
	}
	b.get("/").wantBody("hello nobody")
	b.get("/members").wantLogin("/members", "")
	f.wantDead(value)
}

// The attack: somebody has taken a copy of the cookie while the person was
// signed in, and sends it after the sign-out. FormsAuthentication accepts it
// until it expires. Here it is refused in the first request after the answer, at
// the site and at any other service, as are copies that were never used here.
func TestReplayAfterSignOut(t *testing.T) {
	f := start(t, nil)
	for range 20 {
		b := f.browser()
		stolen := b.signIn("alice")
		f.wantLive(stolen, "alice@example.com")
		b.post("/signout", "").want(http.StatusSeeOther)
		f.wantDead(stolen)
	}
	b := f.browser()
	stolen := b.signIn("alice")
	b.post("/signout", "").want(http.StatusSeeOther)
	// The browser is told again to delete it, and sent to the login page.
	b.get("/members", cookie(guard.SessionCookie, stolen)).wantLogin("/members", "user").wantDeleted(true)
	b.get("/", cookie(guard.SessionCookie, stolen)).wantBody("hello nobody").wantDeleted(true)
	b.post("/members", "x=y", cookie(guard.SessionCookie, stolen), script).want(http.StatusUnauthorized).wantDeleted(true)
}

// Signing out does not wait for the browser to do its part: with the headers of
// the answer lost on the way the session has ended all the same.
func TestSignOutDoesNotDependOnTheBrowser(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	value := b.signIn("alice")
	stubborn := f.browser() // takes no instructions
	stubborn.post("/signout", "", cookie(guard.SessionCookie, value)).want(http.StatusSeeOther)
	f.wantDead(value)
	b.get("/members").wantLogin("/members", "user").wantDeleted(true)
	if b.value() != "" {
		t.Error("the browser has kept the cookie")
	}
}

// Two browsers of one person are two sessions.
func TestSignOutScopes(t *testing.T) {
	f := start(t, nil)
	laptop, phone, bob := f.browser(), f.browser(), f.browser()
	sign := func() (string, string) { return laptop.signIn("alice@example.com"), phone.signIn("alice") }
	stranger := bob.signIn("bob@example.com")

	one, two := sign()
	laptop.post("/signout", "scope=local").wantDeleted(true)
	f.wantDead(one)
	f.wantLive(two, "alice@example.com")

	one, _ = sign()
	two = phone.value()
	p := laptop.post("/signout", "scope=others").want(http.StatusSeeOther).wantDeleted(false)
	if p.Header.Get("Location") != "/" || p.Header.Get("Clear-Site-Data") != "" {
		t.Errorf("header %v", p.Header)
	}
	f.wantLive(one, "alice@example.com")
	f.wantDead(two)

	one, two = sign()
	laptop.post("/signout", "scope=global&return=/").want(http.StatusSeeOther).wantDeleted(true)
	f.wantDead(one)
	f.wantDead(two)
	f.wantLive(stranger, "bob@example.com")
	laptop.post("/signout", "scope=galaxy").want(http.StatusBadRequest)
}

// The attack: a value is put into the victim's browser before they sign in, and
// used by the attacker afterwards (session fixation). A sign-in never goes on
// with what was there: it begins another session, and ends that one.
func TestSessionFixation(t *testing.T) {
	f := start(t, nil)
	attacker := f.browser()
	planted := attacker.signIn("bob@example.com")
	victim := f.browser()
	p := victim.post("/login", "login=alice&password=correct+horse+battery", cookie(guard.SessionCookie, planted)).want(http.StatusSeeOther)
	value := victim.value()
	if value == planted || value == "" {
		t.Fatal("the session that was planted is the victim's")
	}
	f.wantLive(value, "alice@example.com")
	f.wantDead(planted)
	if got := f.reasons(); !cmp.Equal(got, []string{"replaced"}) {
		t.Errorf("ended for %v", got)
	}
	// Made-up values do not become sessions either.
	madeUp := "cs_" + strings.Repeat("A", 66)
	victim = f.browser()
	victim.post("/login", "login=alice&password=correct+horse+battery", cookie(guard.SessionCookie, madeUp)).want(http.StatusSeeOther)
	if victim.value() == madeUp {
		t.Error("a made-up value was taken")
	}
	f.wantDead(madeUp)
	if p.Header.Get("Test-Session") == "" {
		t.Error("no session id")
	}
	// Each sign-in is a session of its own.
	ids := map[string]bool{}
	for range 5 {
		p := victim.post("/login", "login=alice&password=correct+horse+battery").want(http.StatusSeeOther)
		ids[victim.value()], ids[p.Header.Get("Test-Session")] = true, true
	}
	if len(ids) != 10 {
		t.Errorf("%d different values and ids, want 10", len(ids))
	}
}

// "Not Alice? Click here to sign in." Another person signs in on the same
// browser, with a sign-out before and without one.
func TestAnotherUserSignsIn(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	alice := b.signIn("alice")
	b.post("/signout", "").wantLogin("", "user")
	bob := b.signIn("bob@example.com")
	b.get("/").wantBody("hello bob@example.com")
	f.wantDead(alice)

	// Straight from the login page.
	again := b.signIn("alice")
	b.get("/").wantBody("hello alice@example.com")
	f.wantDead(bob)
	f.wantLive(again, "alice@example.com")

	// A sign-in that fails changes nothing.
	b.post("/login", "login=bob@example.com&password=wrong").want(http.StatusBadRequest).wantDeleted(false)
	b.get("/").wantBody("hello alice@example.com")
}

// Two tabs: a sign-in in one of them replaces the session, and the other one,
// which has sent the old cookie just before, gets its answer last. Deleting the
// dead cookie there would delete the new one, which has the same name.
func TestALateAnswerDoesNotDeleteTheNewCookie(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	old := b.signIn("alice")
	next := b.signIn("alice")
	f.browser().get("/members", cookie(guard.SessionCookie, old)).want(http.StatusSeeOther).wantDeleted(false)
	f.wantDead(old)
	f.wantLive(next, "alice@example.com")
}

// In the request that signs in, the page knows who it is, although the session
// that it came with has ended and took all other requests with it.
func TestUserChangesWithinARequest(t *testing.T) {
	f := start(t, nil)
	f.handle("POST /switch", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		before := name(r)
		if _, err := f.SignIn(w, r, site.Credentials{Login: "bob@example.com", Password: bobPassword}); err != nil {
			t.Error(err)
		}
		during := name(r)
		if _, err := f.SignOut(w, r); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s, %s, %s", before, during, name(r))
	})
	b := f.browser()
	alice := b.signIn("alice")
	b.post("/switch", "").wantBody("alice@example.com, bob@example.com, nobody").wantDeleted(true)
	f.wantDead(alice)
	if got := f.reasons(); !cmp.Equal(got, []string{"replaced", "user"}) {
		t.Errorf("ended for %v", got)
	}
}

// A cookie that ends with the browser is the default.
func TestRemember(t *testing.T) {
	f := start(t, nil)
	p := f.browser().post("/login", "login=alice&password=correct+horse+battery").want(http.StatusSeeOther)
	if c := p.set(); c.MaxAge != 0 || !c.Expires.IsZero() {
		t.Errorf("the cookie stays: %v", c)
	}
	p = f.browser().post("/login", "login=alice&password=correct+horse+battery&remember=on").want(http.StatusSeeOther)
	// guardtest's sessions live as long as this.
	if age := time.Duration(p.set().MaxAge) * time.Second; age > guardtest.Life || age < guardtest.Life-10*time.Second {
		t.Errorf("the cookie stays for %v", age)
	}
}

func TestPasswordChangeRequired(t *testing.T) {
	f := start(t, nil)
	f.authority.AddUser(guardtest.User{Username: "carol", Password: "temporary", MustChange: true})
	b := f.browser()
	for form, want := range map[string]error{
		"login=carol&password=temporary":                        site.ErrPasswordChangeRequired,
		"login=carol&password=temporary&new_password=short":     site.ErrWeakPassword,
		"login=carol&password=temporary&new_password=temporary": site.ErrSamePassword,
		"login=carol&password=wrong&new_password=long+enough":   site.ErrBadCredentials,
		"login=&password=":          site.ErrBadCredentials,
		"login=nobody&password=abc": site.ErrBadCredentials,
	} {
		if p := b.post("/login", form).want(http.StatusBadRequest); strings.TrimSpace(p.body) != want.Error() {
			t.Errorf("%s: %q, want %q", form, p.body, want)
		}
	}
	b.post("/login", "login=carol&password=temporary&new_password=long+enough").want(http.StatusSeeOther)
	b.post("/login", "login=carol&password=long+enough").want(http.StatusSeeOther)
}
