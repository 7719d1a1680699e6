package site_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
)

// Browsers delete a cookie only if the deletion has the attributes of the cookie.
func TestDeletionHasTheAttributesOfTheCookie(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	set := b.post("/login", "login=alice&password=correct+horse+battery&remember=on").want(http.StatusSeeOther).set()
	deleted := b.post("/signout", "").wantDeleted(true).set()
	but := cmpopts.IgnoreFields(http.Cookie{}, "Value", "MaxAge", "Expires", "RawExpires", "Raw")
	if d := cmp.Diff(set, deleted, but); d != "" {
		t.Errorf("attributes differ:\n%s", d)
	}
	want := &http.Cookie{Name: "__Host-curfew", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if d := cmp.Diff(want, set, but); d != "" {
		t.Errorf("attributes:\n%s", d)
	}
	if want := "__Host-curfew=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; SameSite=Lax"; deleted.Raw != want {
		t.Errorf("deletion %q, want %q", deleted.Raw, want)
	}
	if b.value() != "" {
		t.Error("the jar has kept it")
	}
	if d := cmp.Diff(deleted, b.get("/", cookie(guard.SessionCookie, "cs_"+strings.Repeat("A", 66))).wantDeleted(true).set()); d != "" {
		t.Errorf("a dead cookie is deleted in another way:\n%s", d)
	}
}

// Two cookies of the name are an attempt to get one's own believed (cookie
// tossing). None is, and none is deleted: what is left would be the attacker's.
func TestCookieTossing(t *testing.T) {
	f := start(t, nil)
	attacker, victim := f.browser(), f.browser()
	planted, value := attacker.signIn("bob@example.com"), victim.signIn("alice")
	both := cookie(guard.SessionCookie, planted+"; "+guard.SessionCookie+"="+value)
	stranger := f.browser()
	stranger.get("/", both).wantBody("hello nobody").wantDeleted(false)
	stranger.get("/members", both).wantLogin("/members", "").wantDeleted(false)
	f.wantLive(planted, "bob@example.com")
	f.wantLive(value, "alice@example.com")
	// Signing out ends both: one that was overlooked would be a success that
	// leaves somebody signed in.
	stranger.post("/signout", "", both).wantLogin("", "user").wantDeleted(true)
	f.wantDead(planted)
	f.wantDead(value)
	// So does signing in.
	planted, value = attacker.signIn("bob@example.com"), victim.signIn("alice")
	both = cookie(guard.SessionCookie, planted+"; "+guard.SessionCookie+"="+value)
	f.browser().post("/login", "login=alice&password=correct+horse+battery", both).want(http.StatusSeeOther)
	for _, old := range []string{planted, value} {
		eventually(t, "the end elsewhere", func() bool { _, err := f.other.Verify(t.Context(), old); return err != nil })
		f.wantDead(old)
	}
}

// Browsers compare the prefix in any case, servers must not: __HOST-curfew is
// a cookie that anybody may have set.
func TestCookieNameIsCaseSensitive(t *testing.T) {
	f := start(t, nil)
	value := f.browser().signIn("alice")
	for _, spelled := range []string{"__host-curfew", "__HOST-CURFEW", "__Host-Curfew", "curfew", "curfew-dev", "Host-curfew"} {
		f.browser().get("/", cookie(spelled, value)).wantBody("hello nobody").wantDeleted(false)
		f.browser().post("/signout", "", cookie(spelled, value)).want(http.StatusSeeOther)
	}
	f.wantLive(value, "alice@example.com")
}

// What is no value of a session cookie is not believed, an access token neither:
// signing out could not end it.
func TestValuesThatAreNone(t *testing.T) {
	f := start(t, nil)
	token, _ := f.authority.Issue(guardtest.Token{})
	if _, err := f.other.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{token, "x", "", strings.Repeat("A", 600), "cs_" + strings.Repeat("A", 66)} {
		f.browser().get("/", cookie(guard.SessionCookie, value)).wantBody("hello nobody").wantDeleted(true)
		f.browser().post("/signout", "", cookie(guard.SessionCookie, value)).want(http.StatusSeeOther)
	}
}

// plain asks a handler over plain HTTP, or over TLS as a proxy says.
func plain(h http.Handler, method, host, peer string, opts ...option) *http.Response {
	r := httptest.NewRequest(method, "http://"+host+"/", strings.NewReader("login=alice&password=correct+horse+battery"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = peer
	for _, o := range opts {
		o(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Body = io.NopCloser(bytes.NewReader(w.Body.Bytes()))
	return resp
}

// Cookies are only set and believed over TLS, as the connection says or a proxy
// that is trusted.
func TestTLSOnly(t *testing.T) {
	const remote, proxy = "192.0.2.7:4711", "10.0.0.1:4711"
	proto := func(v string) option { return header("X-Forwarded-Proto", v) }
	for _, tc := range []struct {
		name     string
		loopback bool // Config.InsecureLoopback
		host     string
		peer     string
		opts     []option
		want     string // name of the cookie, or empty
	}{
		{"plain", false, "shop.example.com", remote, nil, ""},
		{"plain on this machine", false, "localhost:8080", "127.0.0.1:1", nil, ""},
		{"a client that claims TLS", false, "shop.example.com", remote, []option{proto("https")}, ""},
		{"a proxy with TLS", false, "shop.example.com", proxy, []option{proto("https")}, "__Host-curfew"},
		{"a proxy without", false, "shop.example.com", proxy, []option{proto("http")}, ""},
		{"a proxy that says nothing", false, "shop.example.com", proxy, nil, ""},
		{"a proxy that has appended", false, "shop.example.com", proxy, []option{proto("https, http")}, ""},
		{"two proxies", false, "shop.example.com", proxy, []option{proto("https, HTTPS")}, "__Host-curfew"},
		{"development", true, "localhost:8080", "127.0.0.1:1", nil, "curfew-dev"},
		{"development, IPv6", true, "[::1]:8080", "[::1]:1", nil, "curfew-dev"},
		{"development, by address", true, "127.0.0.1:8080", "[::ffff:127.0.0.1]:1", nil, "curfew-dev"},
		{"development, from elsewhere", true, "localhost", remote, nil, ""},
		{"development, for elsewhere", true, "shop.example.com", "127.0.0.1:1", nil, ""},
		{"development, behind a proxy", true, "localhost", "127.0.0.1:1", []option{header("X-Forwarded-For", "192.0.2.7")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, func(c *site.Config, _ *guardtest.Authority) {
				c.TrustedProxies, c.InsecureLoopback = []string{"10.0.0.0/8"}, tc.loopback
			})
			login := f.Recognize(http.HandlerFunc(f.login))
			signedIn := plain(login, "POST", tc.host, tc.peer, tc.opts...)
			members := f.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name(r)) }))
			if tc.want != "" {
				if signedIn.StatusCode != http.StatusSeeOther || len(signedIn.Cookies()) != 1 {
					t.Fatalf("signing in: %s %v", signedIn.Status, signedIn.Header)
				}
				c := signedIn.Cookies()[0]
				if c.Name != tc.want || c.Secure != strings.HasPrefix(tc.want, "__Host-") || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode {
					t.Errorf("cookie %v", c)
				}
				resp := plain(members, "GET", tc.host, tc.peer, append(tc.opts, cookie(c.Name, c.Value))...)
				if resp.StatusCode != http.StatusOK {
					t.Errorf("with the cookie: %s", resp.Status)
				}
				if strings.Contains(f.logs.String(), "plain HTTP") {
					t.Errorf("log:\n%s", f.logs)
				}
				return
			}
			if signedIn.StatusCode != http.StatusForbidden || len(signedIn.Cookies()) != 0 {
				t.Errorf("signing in: %s %v", signedIn.Status, signedIn.Header)
			}
			if n := f.authority.Asked().Sessions; n != 0 {
				t.Error("the password was passed on")
			}
			if got := strings.Count(f.logs.String(), "plain HTTP"); got != 1 || !strings.Contains(f.logs.String(), "TrustedProxies") {
				t.Errorf("%d complaints:\n%s", got, f.logs)
			}
			// A client that does not honour Secure sends a cookie in the clear.
			value, _ := f.authority.Cookie(guardtest.Token{})
			for _, name := range []string{"__Host-curfew", "curfew-dev"} {
				resp := plain(members, "GET", tc.host, tc.peer, append(tc.opts, cookie(name, value))...)
				if resp.StatusCode != http.StatusForbidden {
					t.Errorf("with a cookie %s: %s", name, resp.Status)
				}
				resp = plain(f.Recognize(members), "POST", tc.host, tc.peer, append(tc.opts, cookie(name, value))...)
				if resp.StatusCode != http.StatusForbidden {
					t.Errorf("with a cookie %s: %s", name, resp.Status)
				}
				if resp := plain(f.SignOutHandler(), "POST", tc.host, tc.peer, append(tc.opts, cookie(name, value))...); resp.StatusCode != http.StatusForbidden {
					t.Errorf("signing out: %s", resp.Status)
				}
			}
			anonymous := f.Recognize(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name(r)) }))
			resp := plain(anonymous, "GET", tc.host, tc.peer, append(tc.opts, cookie("__Host-curfew", value))...)
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(text) != "nobody" || len(resp.Cookies()) != 0 {
				t.Errorf("anonymous: %s %q %v", resp.Status, text, resp.Header)
			}
			if _, err := f.other.Verify(t.Context(), value); err != nil {
				t.Errorf("the session has ended: %v", err)
			}
		})
	}
}

// With its page in a cache, the Back button or the next person at the computer
// sees what was there.
func TestPagesOfSignedInPeopleAreNotKept(t *testing.T) {
	f := start(t, nil)
	f.handle("/error", f.Recognize, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no "+name(r), 404) })
	f.handle("/empty", f.Recognize, func(http.ResponseWriter, *http.Request) {})
	f.handle("/flush", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})
	f.handle("/own", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=60")
		w.WriteHeader(200)
	})
	b := f.browser()
	p := b.get("/").wantBody("hello nobody")
	if p.Header.Get("Cache-Control") != "" || p.Header.Get("Vary") != "Cookie" {
		t.Errorf("anonymous: %v", p.Header)
	}
	value := b.signIn("alice")
	for path, want := range map[string]string{
		"/": "no-store", "/members": "no-store", "/error": "no-store", "/empty": "no-store", "/flush": "no-store", "/own": "private, max-age=60",
	} {
		if got := b.get(path).Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, want)
		}
	}
	if got := b.post("/signout", "").Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("sign-out: Cache-Control %q", got)
	}
	for path, with := range map[string]option{
		"/members":      func(*http.Request) {},
		"/members?dead": cookie(guard.SessionCookie, value),
		"/?dead":        cookie(guard.SessionCookie, value),
	} {
		if got := b.get(path, with).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
}

func TestClearSiteData(t *testing.T) {
	for _, tc := range []struct {
		list []string
		want string
	}{
		{nil, `"storage"`}, {[]string{}, ""}, {[]string{"cache", "storage"}, `"cache", "storage"`},
	} {
		f := start(t, func(c *site.Config, _ *guardtest.Authority) { c.ClearSiteData = tc.list })
		b := f.browser()
		b.signIn("alice")
		if got := b.post("/signout", "").Header.Get("Clear-Site-Data"); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.list, got, tc.want)
		}
	}
}

// A session that has ended by itself or from elsewhere is over in the next
// request, and the browser forgets it.
func TestDeadCookie(t *testing.T) {
	f := start(t, nil)
	end := func(session string, why curfew.Reason) {
		f.authority.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: why}).Wait()
	}
	for _, why := range []curfew.Reason{curfew.ReasonIdle, curfew.ReasonAdmin} {
		b := f.browser()
		value := b.signIn("alice")
		c, err := f.other.Verify(t.Context(), value)
		if err != nil {
			t.Fatal(err)
		}
		b.get("/members").wantBody("members alice@example.com")
		end(c.Session, why)
		b.get("/members?x=1", script).want(http.StatusUnauthorized).wantDeleted(true)
		b.get("/members?x=1", cookie(guard.SessionCookie, value)).wantLogin("/members?x=1", "ended").wantDeleted(true)
		b.get("/", cookie(guard.SessionCookie, value)).wantBody("hello nobody").wantDeleted(true)
	}
	// Its time is over.
	value, _ := f.authority.Cookie(guardtest.Token{Life: 1500 * time.Millisecond})
	f.browser().get("/members", cookie(guard.SessionCookie, value)).want(200)
	eventually(t, "the end", func() bool {
		return f.browser().get("/members", cookie(guard.SessionCookie, value)).StatusCode != 200
	})
	f.browser().get("/members", cookie(guard.SessionCookie, value)).wantLogin("/members", "ended").wantDeleted(true)
}
