package site_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
)

// front stands before an authority and answers some calls itself.
type front struct {
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path

}

func newFront(t *testing.T, to string) (*front, string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{answers: map[string]http.HandlerFunc{}}
	proxy := httputil.NewSingleHostReverseProxy(u)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		h := f.answers[r.URL.Path]
		f.mu.Unlock()
		if h != nil {
			h(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return f, srv.URL
}

func (f *front) answer(path string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[path] = h
}

// say answers with JSON.
func say(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// never answers.
func never(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // a request that is read to its end learns when its client goes away
	<-r.Context().Done()
}

// When the authority cannot be reached, a sign-out promises nothing, and says
// so. What can be done is done: the browser forgets, this site refuses, and the
// authority hears of it as soon as it is back.
func TestSignOutWithoutTheAuthority(t *testing.T) {
	for _, scope := range []string{"local", "global"} {
		t.Run(scope, func(t *testing.T) {
			f := start(t, func(c *site.Config, a *guardtest.Authority) { c.Timeout = 2 * time.Second })
			b, phone := f.browser(), f.browser()
			value, other := b.signIn("alice"), phone.signIn("alice")
			b.get("/members").wantBody("members alice@example.com")

			f.authority.Down()
			p := b.post("/signout", "scope="+scope).want(http.StatusServiceUnavailable).wantDeleted(true)
			if !strings.Contains(p.body, "in this browser") || p.Header.Get("Clear-Site-Data") == "" {
				t.Errorf("%v %q", p.Header, p.body)
			}
			if b.value() != "" {
				t.Error("the browser has kept the cookie")
			}
			// Refused here although the guard knows nothing of it yet.
			b.get("/members", cookie(guard.SessionCookie, value)).wantLogin("/members", "user").wantDeleted(true)
			b.get("/", cookie(guard.SessionCookie, value)).wantBody("hello nobody")
			if len(f.authority.Log()) != 0 {
				t.Error("the authority knows already")
			}
			f.authority.Resume()
			eventually(t, "the delivery", func() bool { return len(f.authority.Log()) == 1 })
			want := map[string]string{"local": "user", "global": "user_all"}[scope]
			if got := f.reasons(); !cmp.Equal(got, []string{want}) {
				t.Errorf("ended for %v", got)
			}
			eventually(t, "the end elsewhere", func() bool { _, err := f.other.Verify(t.Context(), value); return err != nil })
			f.wantDead(value)
			if scope == "global" {
				eventually(t, "the end on the phone", func() bool { return phone.get("/members").StatusCode != 200 })
				f.wantDead(other)
			} else {
				f.wantLive(other, "alice@example.com")
			}
		})
	}
}

// The others are not signed out by and by: who asks for that stays and can ask
// again.
func TestSignOutOthersWithoutTheAuthority(t *testing.T) {
	f := start(t, func(c *site.Config, a *guardtest.Authority) { c.Timeout = time.Second })
	b := f.browser()
	b.signIn("alice")
	f.authority.Down()
	b.post("/signout", "scope=others").want(http.StatusServiceUnavailable).wantDeleted(false)
	f.authority.Resume()
	b.post("/signout", "scope=others").want(http.StatusSeeOther).wantDeleted(false)
	b.get("/members").wantBody("members alice@example.com")
}

// Whatever the authority answers, the browser is told to forget.
func TestSignOutAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   error // that the receipt comes with
	}{
		"500":          {say(500, `{"error_code":"internal"}`), site.ErrUnavailable},
		"503":          {say(503, `{"error_code":"unavailable"}`, "Retry-After", "1"), site.ErrUnavailable},
		"401":          {say(401, `{"error_code":"no_credential"}`), nil}, // it is unknown there
		"429":          {say(429, `{"error_code":"too_many_requests"}`, "Retry-After", "9"), nil},
		"403":          {say(403, `{}`), site.ErrUnavailable},
		"404":          {say(404, `not here`), site.ErrUnavailable},
		"a page":       {say(200, `<html>`), site.ErrUnavailable},
		"nothing":      {say(200, `{}`), site.ErrUnavailable},
		"a redirect":   {say(302, ``, "Location", "https://evil.example/"), site.ErrUnavailable},
		"broken off":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, site.ErrUnavailable},
		"never":        {never, site.ErrUnavailable},
		"recorded":     {say(200, `{"sessions_ended":1,"revocation":{"seq":7,"state":"recorded","verifiers":2,"took_ms":3}}`), nil},
		"nothing more": {say(200, `{"sessions_ended":0,"revocation":{"seq":7,"state":"enforced"}}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var fr *front
			f := start(t, func(c *site.Config, a *guardtest.Authority) {
				fr, c.Guard.Authority = newFront(t, a.URL)
				c.Timeout = 500 * time.Millisecond
			})
			var got site.Receipt
			var failed error
			f.handle("POST /out", f.Recognize, func(w http.ResponseWriter, r *http.Request) { got, failed = f.SignOut(w, r) })
			b := f.browser()
			b.signIn("alice")
			fr.answer("/logout", tc.answer)
			b.post("/out", "").want(200).wantDeleted(true)
			if !errors.Is(failed, tc.want) || tc.want == nil && failed != nil {
				t.Errorf("error %v, want %v", failed, tc.want)
			}
			want := map[string]site.Receipt{
				"recorded":     {Ended: 1, State: "recorded", Seq: 7, Verifiers: 2, Took: 3 * time.Millisecond},
				"nothing more": {State: "enforced", Seq: 7},
			}[name]
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("receipt:\n%s", d)
			}
			fr.answer("/logout", nil)
		})
	}
}

func TestSignInAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"too many":       {say(403, `{"error_code":"too_many_sessions"}`), site.ErrTooManySessions},
		"a wrong key":    {say(401, `{"error_code":"invalid_token"}`), site.ErrUnavailable},
		"503":            {say(503, `{"error_code":"unavailable"}`), site.ErrUnavailable},
		"a page":         {say(201, `<html>`), site.ErrUnavailable},
		"no cookie":      {say(201, `{"session_id":"s","user":{"id":"u"}}`), site.ErrUnavailable},
		"no user":        {say(201, `{"session_cookie":"cs_aaaaaaaaaaaaaaaaaaaaaaaa","session_id":"s"}`), site.ErrUnavailable},
		"a redirect":     {say(307, ``, "Location", "https://evil.example/"), site.ErrUnavailable},
		"broken off":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, site.ErrUnavailable},
		"never":          {never, site.ErrUnavailable},
		"no date to try": {say(429, `{"error_code":"too_many_requests"}`), &site.ThrottledError{}},
		"throttled":      {say(429, `{"error_code":"too_many_requests"}`, "Retry-After", "17"), &site.ThrottledError{}},
	} {
		t.Run(name, func(t *testing.T) {
			var fr *front
			f := start(t, func(c *site.Config, a *guardtest.Authority) {
				fr, c.Guard.Authority = newFront(t, a.URL)
				c.Timeout = 500 * time.Millisecond
			})
			var failed error
			f.handle("POST /in", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
				_, failed = f.SignIn(w, r, site.Credentials{Login: "bob@example.com", Password: bobPassword})
			})
			b := f.browser()
			value := b.signIn("alice")
			fr.answer("/sessions", tc.answer)
			if p := b.post("/in", "").want(200); p.set() != nil {
				t.Errorf("cookie %v", p.set())
			}
			var throttled *site.ThrottledError
			if errors.As(tc.want, &throttled) {
				want := map[string]time.Duration{"throttled": 17 * time.Second, "no date to try": time.Second}[name]
				if !errors.As(failed, &throttled) || throttled.RetryAfter != want {
					t.Errorf("error %v", failed)
				}
			} else if !errors.Is(failed, tc.want) {
				t.Errorf("error %v, want %v", failed, tc.want)
			}
			f.wantLive(value, "alice@example.com")
		})
	}
}

// What the authority is told: the person behind the browser, for its limits and
// its list of devices; and the key where it is needed and nowhere else.
func TestWhatTheAuthorityIsTold(t *testing.T) {
	got := make(chan string, 10)
	var fr *front
	f := start(t, func(c *site.Config, a *guardtest.Authority) {
		fr, c.Guard.Authority = newFront(t, a.URL)
		c.ClientID, c.TrustedProxies = "shop", []string{"127.0.0.1", "::1"}
	})
	fr.answer("/sessions", func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 4096)
		n, _ := r.Body.Read(b)
		got <- r.Header.Get("Authorization") + " " + string(b[:n])
		say(201, `{"session_cookie":"cs_aaaaaaaaaaaaaaaaaaaaaaaa","session_id":"s","expires_in":60,"user":{"id":"u"}}`)(w, r)
	})
	fr.answer("/logout", func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		say(200, `{"sessions_ended":1,"revocation":{"seq":1,"state":"enforced"}}`)(w, r)
	})
	f.browser().post("/login", "login=bob%40example.com&password=x&remember=on",
		header("X-Forwarded-For", "198.51.100.9"), header("X-Forwarded-Proto", "https"), header("User-Agent", "Firefox")).want(303)
	const want = `Bearer crv_site {"email":"bob@example.com","password":"x","remember":true,"client_id":"shop","ip":"198.51.100.9","user_agent":"Firefox"}`
	if told := <-got; told != want {
		t.Errorf("told %s\nwant %s", told, want)
	}
	f.browser().post("/signout", "", cookie(guard.SessionCookie, "cs_aaaaaaaaaaaaaaaaaaaaaaaa")).want(303)
	if told := <-got; told != "" {
		t.Errorf("the key was sent with a sign-out")
	}
	fr.answer("/logout", nil)
}

// Requests to sign out that make up cookies take no place from others.
func TestMadeUpSignOuts(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	for i := range 50 {
		b.post("/signout", "", cookie(guard.SessionCookie, fmt.Sprintf("cs_%066d", i))).want(303)
	}
	if len(f.authority.Log()) != 0 || strings.Contains(f.logs.String(), "not reached") {
		t.Errorf("log %v\n%s", f.authority.Log(), f.logs)
	}
}

// A process that ends without having reached the authority says what is lost.
func TestCloseWithSignOutsThatAreWaiting(t *testing.T) {
	f := start(t, func(c *site.Config, a *guardtest.Authority) {
		a.SetLease(short)
		c.Timeout = 500 * time.Millisecond
	})
	b := f.browser()
	b.signIn("alice")
	f.authority.Down()
	b.post("/signout", "").want(http.StatusServiceUnavailable)
	_ = f.Close() // its release finds nobody
	if !strings.Contains(f.logs.String(), "are lost") || !strings.Contains(f.logs.String(), "sessions=1") {
		t.Errorf("log:\n%s", f.logs)
	}

	// One that reaches it does not lose anything.
	f = start(t, func(c *site.Config, a *guardtest.Authority) { c.Timeout = 500 * time.Millisecond })
	b = f.browser()
	b.signIn("alice")
	f.authority.Down()
	b.post("/signout", "").want(http.StatusServiceUnavailable)
	f.authority.Resume()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if len(f.authority.Log()) != 1 || strings.Contains(f.logs.String(), "are lost") {
		t.Errorf("log:\n%s", f.logs)
	}
}
