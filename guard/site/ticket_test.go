package site_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
)

// startTickets starts a site for clients without cookies, and returns one.
func startTickets(t *testing.T) (*fixture, *browser) {
	t.Helper()
	f := start(t, func(c *site.Config, _ *guardtest.Authority) { c.InsecureURLTicket = true })
	f.handle("/page", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s|%s|%s", name(r), r.URL, r.RequestURI, r.Referer(), html.EscapeString(f.URL(r, "/next?a=b")), f.URL(r, "https://evil.example/"))
	})
	f.handle("/out", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		if _, err := f.SignOut(w, r); err != nil {
			http.Error(w, err.Error(), status(err))
			return
		}
		fmt.Fprint(w, name(r), f.URL(r, "/page"))
	})
	b := f.browser()
	b.c.Jar = nil
	return f, b
}

func (b *browser) ticket(login string) string {
	b.f.t.Helper()
	p := b.post("/login", "login="+login+"&password=correct+horse+battery&ticket=on&return=/page").want(http.StatusSeeOther)
	u, err := url.Parse(p.Header.Get("Location"))
	if err != nil || u.Path != "/page" || p.set() != nil {
		b.f.t.Fatalf("redirected to %s, cookie %v", u, p.set())
	}
	return u.Query().Get("ticket")
}

// Nobody gets a ticket by accident.
func TestTicketIsOffByDefault(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	if p := b.post("/login", "login=alice&password=correct+horse+battery&ticket=on").want(400); !strings.Contains(p.body, site.ErrNoTicket.Error()) {
		t.Errorf("%q", p.body)
	}
	value := b.signIn("alice")
	stranger := f.browser()
	stranger.get("/?ticket=" + value).wantBody("hello nobody")
	stranger.get("/members?ticket=" + value).want(303)
	f.handle("/link", f.Recognize, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, f.URL(r, "/next"), r.URL) })
	p := b.get("/link?ticket=mine").wantBody("/next/link?ticket=mine") // a parameter like any other
	if p.Header.Get("Referrer-Policy") != "" {
		t.Errorf("%v", p.Header)
	}
}

// The session is in the URL, and nowhere else: not in what the handler sees, and
// not in what the browser tells other sites.
func TestTicketInTheURL(t *testing.T) {
	f, b := startTickets(t)
	b.get("/page").wantBody("nobody /page /page |/next?a=b|https://evil.example/")
	ticket := b.ticket("alice")
	p := b.get("/page?x=1&ticket="+ticket+"&y=%20", header("Referer", f.server.URL+"/page?ticket="+ticket+"&z"))
	p.wantBody("alice@example.com /page?x=1&y=%20 /page?x=1&y=%20 " + f.server.URL + "/page?z|/next?a=b&amp;ticket=" + ticket + "|https://evil.example/")
	if p.Header.Get("Referrer-Policy") != "no-referrer" || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", p.Header)
	}
	b.get("/members").wantLogin("/members", "")
	b.get("/members?ticket=" + ticket).wantBody("members alice@example.com")
	b.get("/members?ticket="+ticket+"&ticket="+ticket).wantLogin("/members", "")
}

// After the sign-out it is neither in the URLs nor good for anything.
func TestTicketAfterSignOut(t *testing.T) {
	f, b := startTickets(t)
	ticket := b.ticket("alice")
	f.wantTicket(ticket, true)
	b.get("/out?ticket=" + ticket).want(http.StatusMethodNotAllowed)
	b.post("/out?ticket="+ticket, "").wantBody("nobody/page")
	f.wantTicket(ticket, false)
	p := b.get("/members?a=b&ticket="+ticket).wantLogin("/members?a=b", "user")
	if strings.Contains(fmt.Sprint(p.Header), ticket) {
		t.Errorf("the ticket is still there: %v", p.Header)
	}
	ticket = b.ticket("alice")
	b.post("/signout?ticket="+ticket, "").wantLogin("", "user")
	f.wantTicket(ticket, false)
}

func (f *fixture) wantTicket(ticket string, live bool) {
	f.t.Helper()
	b := f.browser()
	b.c.Jar = nil
	if got := b.get("/members?ticket="+ticket).StatusCode == 200; got != live {
		f.t.Fatalf("the ticket is accepted: %v, want %v", got, live)
	}
	if _, err := f.other.Verify(f.t.Context(), ticket); (err == nil) != live {
		f.t.Fatalf("another service: %v", err)
	}
}

// The attack: a link with a ticket of the attacker's, on another site or in a
// mail (session fixation). It makes nobody work in the attacker's session, where
// the browser says where the link was.
func TestTicketOfAnotherSite(t *testing.T) {
	f, b := startTickets(t)
	ticket := b.ticket("alice")
	victim := f.browser()
	for name, opts := range map[string][]option{
		"another site":    {from("cross-site")},
		"sibling domain":  {from("same-site")},
		"older browser":   {header("Sec-Fetch-Site", ""), header("Referer", "https://evil.example/mail")},
		"unknown referer": {header("Sec-Fetch-Site", ""), header("Referer", "::")},
	} {
		if p := victim.get("/?ticket="+ticket, opts...); p.body != "hello nobody" {
			t.Errorf("%s: %s %q", name, p.Status, p.body)
		}
		victim.get("/members?ticket="+ticket, opts...).wantLogin("/members", "")
	}
	for _, opts := range [][]option{
		{from("none")}, {header("Sec-Fetch-Site", "")}, {header("Sec-Fetch-Site", ""), header("Referer", f.server.URL+"/page")},
	} {
		victim.get("/?ticket="+ticket, opts...).wantBody("hello alice@example.com")
	}
	// A cookie goes before a ticket: who is signed in stays who they are.
	bob := f.browser()
	bob.signIn("bob@example.com")
	bob.get("/?ticket=" + ticket).wantBody("hello bob@example.com")
	// A ticket replaces the cookie of whoever signs in for one.
	p := bob.post("/login", "login=alice&password=correct+horse+battery&ticket=on").want(303).wantDeleted(true)
	if !strings.Contains(p.Header.Get("Location"), "/?ticket=cs_") || bob.value() != "" {
		t.Errorf("%v", p.Header)
	}
	if got := len(f.reasons()); got != 1 {
		t.Errorf("%d sessions have ended, want bob's", got)
	}
}
