package site_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
)

// The redirect takes place when the handler has finished: code after SignOut and
// RedirectToLogin runs, although the session is over, and what it writes as a page
// is not sent.
func TestRedirectToLoginWaitsForTheHandler(t *testing.T) {
	f := start(t, nil)
	ran := make(chan string, 10)
	f.handle("POST /leave", f.RequireLogin, func(w http.ResponseWriter, r *http.Request) {
		receipt, err := f.SignOut(w, r)
		f.RedirectToLogin(w, r)
		// The session is dead everywhere by now, and this request still runs.
		select {
		case <-r.Context().Done():
			ran <- "cancelled"
		case <-time.After(100 * time.Millisecond):
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Etag", `"x"`)
		w.Header().Set("Kept", "yes")
		w.WriteHeader(http.StatusOK)
		if _, err := io.WriteString(w, "the page of "+name(r)); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(w, strings.NewReader("more of it")); err != nil {
			t.Error(err)
		}
		ran <- fmt.Sprintf("%s %d %v", receipt.State, receipt.Ended, err)
	})
	b := f.browser()
	value := b.signIn("alice")
	p := b.post("/leave", "").wantLogin("", "user").wantDeleted(true)
	if got := <-ran; got != "enforced 1 <nil>" {
		t.Errorf("the handler: %s", got)
	}
	if p.body != "" || p.Header.Get("Content-Type") != "" || p.Header.Get("Etag") != "" || p.Header.Get("Kept") != "yes" {
		t.Errorf("%v %q", p.Header, p.body)
	}
	f.wantDead(value)
}

// A redirect elsewhere wins, and so does an error: it must not look like success.
func TestExplicitRedirectWins(t *testing.T) {
	f := start(t, nil)
	f.handle("POST /leave", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		if _, err := f.SignOut(w, r); err != nil {
			t.Error(err)
		}
		f.RedirectToLogin(w, r)
		switch r.FormValue("then") {
		case "elsewhere":
			http.Redirect(w, r, "/goodbye", http.StatusFound)
		case "error":
			http.Error(w, "the cart could not be saved", http.StatusInternalServerError)
		case "not modified":
			w.WriteHeader(http.StatusNotModified)
		case "early hints":
			w.WriteHeader(http.StatusEarlyHints)
		}
	})
	for then, want := range map[string]int{"elsewhere": 302, "error": 500, "": 303, "not modified": 303, "early hints": 303} {
		b := f.browser()
		b.signIn("alice")
		p := b.post("/leave", "then="+then).want(want).wantDeleted(true)
		switch want {
		case 302:
			if p.Header.Get("Location") != "/goodbye" {
				t.Errorf("redirected to %q", p.Header.Get("Location"))
			}
		case 500:
			if p.Header.Get("Location") != "" || !strings.Contains(p.body, "cart") {
				t.Errorf("%v %q", p.Header, p.body)
			}
		default:
			p.wantLogin("", "user")
		}
	}
}

// Without a sign-out it is a page that wants somebody, and gets them back. A form
// that was posted is not posted again.
func TestRedirectToLoginReturns(t *testing.T) {
	f := start(t, nil)
	ask := func(w http.ResponseWriter, r *http.Request) { f.RedirectToLogin(w, r) }
	f.handle("/ask", f.Recognize, ask)
	f.mux.Handle("/sub/", f.Recognize(http.StripPrefix("/sub", http.HandlerFunc(ask))))
	f.mux.HandleFunc("/bare", ask) // without a middleware
	f.mux.Handle("/login/again", f.Recognize(http.HandlerFunc(ask)))
	b := f.browser()
	b.get("/ask?a=b&c").wantLogin("/ask?a=b&c", "")
	b.get("/sub/ask").wantLogin("/sub/ask", "")
	b.post("/ask", "a=b").wantLogin("", "")
	b.get("/bare?a=b").wantLogin("/bare?a=b", "")
	b.do("HEAD", "/ask", "").wantLogin("/ask", "")
	if got := b.get("/ask").Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	b.signIn("alice", "return", "/ask")
	// Too late: the answer is on its way.
	f.handle("/late", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a page")
		f.RedirectToLogin(w, r)
	})
	b.get("/late").wantBody("a page")
}

func TestLoginURL(t *testing.T) {
	f := start(t, func(c *site.Config, _ *guardtest.Authority) { c.LoginURL = "https://id.example.com/login?theme=dark" })
	f.mux.HandleFunc("/link", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, f.LoginURL(r, r.FormValue("to"))) })
	b := f.browser()
	host := strings.TrimPrefix(f.server.URL, "https://")
	b.get("/link").wantBody("https://id.example.com/login?theme=dark")
	b.get("/link?to=//evil.example").wantBody("https://id.example.com/login?theme=dark")
	b.get("/link?to=/cart").wantBody("https://id.example.com/login?return=https%3A%2F%2F" + strings.ReplaceAll(host, ":", "%3A") + "%2Fcart&theme=dark")

	f = start(t, nil)
	f.mux.HandleFunc("/link", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, f.LoginURL(r, r.FormValue("to"))) })
	b = f.browser()
	b.get("/link?to=/login%3Fa").wantBody("/login") // round and round
	b.get("/link?to=/cart").wantBody("/login?return=%2Fcart")
}

// Who is not signed in is asked to, where somebody is there to be asked.
func TestAnonymous(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	for name, tc := range map[string]struct {
		method string
		opts   []option
		want   int
	}{
		"page":                  {"GET", nil, 303},
		"page, older browser":   {"GET", []option{header("Sec-Fetch-Mode", ""), header("Sec-Fetch-Site", "")}, 303},
		"form":                  {"POST", nil, 303},
		"script":                {"GET", []option{script}, 401},
		"script, older browser": {"GET", []option{header("Sec-Fetch-Mode", ""), header("X-Requested-With", "XMLHttpRequest")}, 401},
		"program":               {"GET", []option{header("Sec-Fetch-Mode", ""), header("Accept", "*/*")}, 401},
		"image":                 {"GET", []option{header("Sec-Fetch-Mode", "no-cors")}, 401},
	} {
		p := b.do(tc.method, "/members", "", tc.opts...)
		if p.StatusCode != tc.want {
			t.Errorf("%s: %s", name, p.Status)
		}
		if json := strings.HasPrefix(p.body, `{"code":401,"error_code":"no_credential"`); json != (tc.want == 401) {
			t.Errorf("%s: %q", name, p.body)
		}
		b.do(tc.method, "/", "", tc.opts...).want(200)
	}
}

// A session that ends from elsewhere takes the requests with it that run. The
// person is told why.
func TestSessionEndsDuringARequest(t *testing.T) {
	f := start(t, nil)
	started := make(chan string, 10)
	f.handle("/slow", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		started <- site.User(r).Session
		<-r.Context().Done()
		if err := context.Cause(r.Context()); !errors.Is(err, curfew.ErrRevoked) {
			t.Errorf("cause %v", err)
		}
		io.WriteString(w, "a secret")
	})
	for _, how := range []option{from("same-origin"), script} {
		b := f.browser()
		b.signIn("alice")
		done := make(chan page, 1)
		go func() { done <- b.get("/slow", how) }()
		f.authority.Record(curfew.Revocation{Kind: curfew.KindSession, Target: <-started, Reason: curfew.ReasonIdle}).Wait()
		p := <-done
		if p.StatusCode == 401 {
			p.wantDeleted(true)
			continue
		}
		p.wantLogin("/slow", "idle").wantDeleted(true)
	}
}

// While the guard is stale nobody knows who is signed in. That is no reason to
// send people to the login page, where they lose what they were doing.
func TestStale(t *testing.T) {
	f := start(t, func(c *site.Config, a *guardtest.Authority) { a.SetLease(short) })
	b := f.browser()
	value := b.signIn("alice")
	b.get("/members").wantBody("members alice@example.com")
	f.authority.Silence()
	eventually(t, "the end of the lease", func() bool { return f.Guard().Status().Lease <= 0 })
	for _, path := range []string{"/members", "/", "/login"} {
		p := b.get(path).want(http.StatusServiceUnavailable).wantDeleted(false)
		if p.Header.Get("Retry-After") != "1" || p.Header.Get("Location") != "" || p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", p.Header)
		}
		b.get(path, script).want(http.StatusServiceUnavailable).wantDeleted(false)
	}
	f.browser().get("/").wantBody("hello nobody") // needs no knowledge
	f.browser().get("/members").wantLogin("/members", "")
	f.authority.Resume()
	eventually(t, "a lease", func() bool { return f.Guard().Status().Lease > 0 })
	b.get("/members").wantBody("members alice@example.com")
	if b.value() != value {
		t.Error("the cookie has changed")
	}
}

// A route within another one asks for more, and does not ask twice.
func TestRoutesWithinRoutes(t *testing.T) {
	f := start(t, nil)
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name(r)) })
	f.mux.Handle("/a", f.Recognize(f.RequireLogin(who)))
	f.mux.Handle("/b", f.RequireLogin(f.Recognize(who)))
	f.mux.Handle("/strict", f.Recognize(f.Route(guard.Route{Mode: guard.Strict})(who)))
	b := f.browser()
	for _, path := range []string{"/a", "/b", "/strict"} {
		b.get(path).wantLogin(path, "")
	}
	value := b.signIn("alice")
	before := f.authority.Asked()
	for _, path := range []string{"/a", "/b", "/strict"} {
		b.get(path).wantBody("alice@example.com")
	}
	if n := f.authority.Asked().Confirms - before.Confirms; n != 1 {
		t.Errorf("%d confirmations, want that of strict", n)
	}
	if n := f.Guard().Status().Running; n != 0 {
		t.Errorf("%d requests still run", n)
	}
	b.post("/signout", "").want(303)
	for _, path := range []string{"/a", "/b", "/strict"} {
		b.get(path, cookie(guard.SessionCookie, value)).wantLogin(path, "user").wantDeleted(true)
	}
}

// Refused is for sites that have pages of their own for that.
func TestRefused(t *testing.T) {
	var seen error
	f := start(t, func(c *site.Config, _ *guardtest.Authority) {
		c.Refused = func(w http.ResponseWriter, r *http.Request, err error) {
			seen = err
			w.WriteHeader(http.StatusTeapot)
		}
	})
	b := f.browser()
	b.get("/members", script).want(http.StatusTeapot)
	if !errors.Is(seen, guard.ErrNoCredential) {
		t.Errorf("error %v", seen)
	}
	b.post("/signout", "", from("cross-site")).want(http.StatusTeapot)
	if !errors.Is(seen, guard.ErrCrossOrigin) {
		t.Errorf("error %v", seen)
	}
}

// The guard of a site works without the site's middleware: for what is asked by
// scripts only.
func TestGuardAlone(t *testing.T) {
	f := start(t, nil)
	f.handle("/api", f.Guard().Middleware, func(w http.ResponseWriter, r *http.Request) {
		c, _ := guard.FromContext(r.Context())
		fmt.Fprint(w, c.Email, site.User(r) == nil)
	})
	b := f.browser()
	b.get("/api").want(http.StatusUnauthorized).wantDeleted(false)
	value := b.signIn("alice")
	b.get("/api").wantBody("alice@example.comtrue")
	b.post("/signout", "").want(http.StatusSeeOther)
	b.get("/api", cookie(guard.SessionCookie, value), script).want(http.StatusUnauthorized)
}

// Connections that are taken over, and files, go through.
func TestHijackAndFiles(t *testing.T) {
	f := start(t, nil)
	f.handle("/raw", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nraw")
		rw.Flush()
	})
	f.handle("/file", f.Recognize, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "doc.go") })
	b := f.browser()
	for range 2 {
		b.get("/raw").wantBody("raw")
		if p := b.get("/file").want(200); !strings.HasPrefix(p.body, "// Package site") {
			t.Errorf("%.40q", p.body)
		}
		b.signIn("alice")
	}
}

// Many people come and go at once.
func TestConcurrently(t *testing.T) {
	f := start(t, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			b := f.browser()
			for range 5 {
				value := b.signIn("alice")
				var some sync.WaitGroup
				for range 3 {
					some.Go(func() {
						if p := b.get("/"); p.StatusCode != 200 && p.StatusCode != 303 {
							t.Errorf("%s", p.Status)
						}
					})
				}
				b.post("/signout", "").want(303)
				if p := b.get("/members", cookie(guard.SessionCookie, value)); p.StatusCode != 303 {
					t.Errorf("after the sign-out: %s", p.Status)
				}
				some.Wait()
			}
		})
	}
	all.Wait()
}
