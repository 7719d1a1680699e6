package site_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/guard/site"
)

// The attack: another site makes the victim's browser do something with the
// cookie that it adds by itself (cross-site request forgery): with a form, an
// image, a link, a prefetch, or a script. None of it signs anybody out.
func TestNobodyElseCanSignOut(t *testing.T) {
	f := start(t, nil)
	f.handle("/out", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		if _, err := f.SignOut(w, r); err != nil {
			http.Error(w, err.Error(), status(err))
		}
	})
	b := f.browser()
	value := b.signIn("alice")
	for name, tc := range map[string]struct {
		method string
		opts   []option
		want   int
	}{
		"form of another site":       {"POST", []option{from("cross-site")}, 403},
		"form of a sibling domain":   {"POST", []option{from("same-site")}, 403},
		"script of another site":     {"POST", []option{script, header("Sec-Fetch-Site", "cross-site")}, 403},
		"form, older browser":        {"POST", []option{header("Sec-Fetch-Site", ""), header("Origin", "https://evil.example")}, 403},
		"form in a sandboxed frame":  {"POST", []option{header("Sec-Fetch-Site", ""), header("Origin", "null")}, 403},
		"link":                       {"GET", []option{from("cross-site")}, 405},
		"link on this site":          {"GET", nil, 405},
		"image":                      {"GET", []option{from("cross-site"), header("Sec-Fetch-Dest", "image"), header("Sec-Fetch-Mode", "no-cors")}, 405},
		"prefetch":                   {"GET", []option{header("Sec-Purpose", "prefetch;prerender")}, 405},
		"HEAD":                       {"HEAD", nil, 405},
		"OPTIONS of another site":    {"OPTIONS", []option{from("cross-site")}, 405},
		"DELETE of another site":     {"DELETE", []option{from("cross-site")}, 403},
		"GET that claims to be POST": {"GET", []option{header("X-HTTP-Method-Override", "POST")}, 405},
	} {
		for _, path := range []string{"/signout", "/out"} {
			p := b.do(tc.method, path+"?scope=global", "", tc.opts...).want(tc.want)
			if p.set() != nil || p.Header.Get("Clear-Site-Data") != "" {
				t.Errorf("%s, %s: %v", name, path, p.Header)
			}
		}
	}
	f.wantLive(value, "alice@example.com")
	b.get("/members").wantBody("members alice@example.com")
	if n := f.authority.Asked().Logouts; n != 0 {
		t.Errorf("the authority was asked %d times", n)
	}
	b.get("/signout").want(405)
	if got := b.get("/signout").Header.Get("Allow"); got != "POST" {
		t.Errorf("Allow %q", got)
	}
}

// The attack: a form on another site signs the victim in to the attacker's
// account, where the victim then leaves what is theirs (login CSRF).
func TestNobodyElseCanSignIn(t *testing.T) {
	f := start(t, nil)
	f.handle("GET /in", f.Recognize, func(w http.ResponseWriter, r *http.Request) {
		if _, err := f.SignIn(w, r, site.Credentials{Login: "bob@example.com", Password: bobPassword}); err != nil {
			http.Error(w, err.Error(), status(err))
		}
	})
	victim := f.browser()
	const form = "login=bob@example.com&password=staple+correct+horse"
	for _, opts := range [][]option{
		{from("cross-site")}, {from("same-site")}, {header("Sec-Fetch-Site", ""), header("Origin", "https://evil.example")},
	} {
		if p := victim.post("/login", form, opts...).want(http.StatusForbidden); p.set() != nil {
			t.Errorf("cookie %v", p.set())
		}
	}
	victim.get("/in").want(http.StatusMethodNotAllowed)
	value := victim.signIn("alice")
	victim.post("/login", form, from("cross-site")).want(http.StatusForbidden)
	victim.get("/").wantBody("hello alice@example.com")
	f.wantLive(value, "alice@example.com")
	if n := f.authority.Asked().Sessions; n != 1 {
		t.Errorf("the authority was asked %d times", n)
	}
}

// What a handler behind the site's middleware changes is protected as well.
func TestOtherSitesCannotAct(t *testing.T) {
	f := start(t, nil)
	b := f.browser()
	b.signIn("alice")
	for _, path := range []string{"/", "/members"} {
		b.post(path, "x=y", from("cross-site")).want(http.StatusForbidden).wantDeleted(false)
		b.get(path, from("cross-site")).want(http.StatusOK) // a link
		b.get(path, from("cross-site"), header("Upgrade", "websocket"), header("Connection", "Upgrade")).want(http.StatusForbidden)
	}
	// Without a cookie it is nobody's session: a payment provider may post.
	f.browser().post("/", "x=y", from("cross-site")).wantBody("hello nobody")
}

// The attack: a link to the login page leads to a page of the attacker's
// afterwards, which says that the password was wrong (open redirect).
func TestReturnAddresses(t *testing.T) {
	f := start(t, func(c *site.Config, _ *guardtest.Authority) {
		c.ReturnOrigins = []string{"https://shop.example.com", "http://localhost:5173"}
	})
	for address, want := range map[string]string{
		"/":                                 "/",
		"/members":                          "/members",
		"/members?a=b&c=//d#top":            "/members?a=b&c=//d#top",
		"/a%20b/%C3%A4":                     "/a%20b/%C3%A4",
		"/@evil.example":                    "/@evil.example",
		"/https://evil.example":             "",
		"/?next=https://evil.example":       "/?next=https://evil.example",
		"https://shop.example.com":          "https://shop.example.com",
		"https://shop.example.com/cart?a#b": "https://shop.example.com/cart?a#b",
		"http://localhost:5173/":            "http://localhost:5173/",

		"":                                        "",
		"members":                                 "",
		"./members":                               "",
		"?a=b":                                    "",
		"#top":                                    "",
		"//evil.example":                          "",
		"///evil.example":                         "",
		"/\\evil.example":                         "",
		"\\\\evil.example":                        "",
		"/\t/evil.example":                        "",
		"/\n/evil.example":                        "",
		"\t//evil.example":                        "",
		" //evil.example":                         "",
		"//evil.example/\r\nSet-Cookie: a":        "",
		"/\x00/evil.example":                      "",
		"/%2F/evil.example":                       "",
		"/%2Fevil.example":                        "",
		"/%5Cevil.example":                        "",
		"/%09/evil.example":                       "",
		"/%0D%0ASet-Cookie:%20a=b":                "",
		"/.//evil.example":                        "",
		"/x/..//evil.example":                     "",
		"/%zz":                                    "",
		"/\u00a0/evil.example":                    "",
		"/\xff":                                   "",
		"https://evil.example":                    "",
		"HTTPS://EVIL.EXAMPLE":                    "",
		"https:evil.example":                      "",
		"https:/evil.example":                     "",
		"https:///evil.example":                   "",
		"https:\\\\evil.example":                  "",
		"http://shop.example.com":                 "", // not that origin
		"https://shop.example.com:8443/":          "",
		"https://shop.example.com.evil.example/":  "",
		"https://shop.example.com@evil.example/":  "",
		"https://evil.example@shop.example.com/":  "",
		"https://shop.example.com\\@evil.example": "",
		"https://evil.example/https://shop.example.com": "",
		"https://shop.example.com%2eevil.example/":      "",
		"javascript:alert(1)":                           "",
		"JaVaScRiPt:alert(1)":                           "",
		"data:text/html,x":                              "",
		"//shop.example.com/":                           "", // of which scheme?
		"/" + strings.Repeat("a", 5000):                 "",
		"https://xn--shp-hoa.example.com/":              "",
	} {
		got, ok := f.SafeReturn(address)
		if got != want || ok != (want != "") {
			t.Errorf("SafeReturn(%q) = %q, %v; want %q", address, got, ok, want)
		}
		if want == "" {
			want = "/"
		}
		p := f.browser().post("/login?return="+url.QueryEscape(address), "login=alice&password=correct+horse+battery").want(http.StatusSeeOther)
		if got := p.Header.Get("Location"); got != want {
			t.Errorf("%q: signed in and led to %q, want %q", address, got, want)
		}
		if want == "/" && address != "/" {
			want = "/login?reason=user"
		}
		p = f.browser().post("/signout", "return="+url.QueryEscape(address)).want(http.StatusSeeOther)
		if got := p.Header.Get("Location"); got != want {
			t.Errorf("%q: signed out and led to %q, want %q", address, got, want)
		}
	}
	// The page that was asked for is an address that somebody has made up, too.
	r := httptest.NewRequest("GET", "https://shop.example.com//evil.example/%2e%2e", nil)
	from("cross-site")(r)
	w := httptest.NewRecorder()
	f.RequireLogin(http.NotFoundHandler()).ServeHTTP(w, r)
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != "/login" {
		t.Errorf("%d, redirected to %q", w.Code, got)
	}
}

func TestConfig(t *testing.T) {
	a := guardtest.New(t)
	for want, change := range map[string]func(*site.Config){
		"Guard.Sources":                     func(c *site.Config) { c.Guard.Sources = []guard.Source{guard.Bearer} },
		"Guard.Refused":                     func(c *site.Config) { c.Guard.Refused = func(http.ResponseWriter, *http.Request, error) {} },
		"must begin with __Host-":           func(c *site.Config) { c.CookieName = "session" },
		`"__host-curfew" must begin`:        func(c *site.Config) { c.CookieName = "__host-curfew" },
		`"__Host-a;b"`:                      func(c *site.Config) { c.CookieName = "__Host-a;b" },
		`"https://shop.example.com/" is no`: func(c *site.Config) { c.ReturnOrigins = []string{"https://shop.example.com/"} },
		`"https://*.example.com" is no`:     func(c *site.Config) { c.ReturnOrigins = []string{"https://*.example.com"} },
		`"*" is no`:                         func(c *site.Config) { c.ReturnOrigins = []string{"*"} },
		"LoginURL":                          func(c *site.Config) { c.LoginURL = "javascript:alert(1)" },
		`LoginURL "//evil.example"`:         func(c *site.Config) { c.LoginURL = "//evil.example" },
		"Home":                              func(c *site.Config) { c.Home = "https://evil.example" },
		`there is no "*" to clear`:          func(c *site.Config) { c.ClearSiteData = []string{"*"} },
		"Timeout":                           func(c *site.Config) { c.Timeout = -1 },
		"trusts every address":              func(c *site.Config) { c.TrustedProxies = []string{"0.0.0.0/0"} },
		"must be asked over https":          func(c *site.Config) { c.Guard.Authority = "http://id.example.com" },
		"Authority is required":             func(c *site.Config) { c.Guard.Authority = "" },
	} {
		cfg := site.Config{Guard: guard.Config{Authority: a.URL}}
		change(&cfg)
		ctx, cancel := context.WithCancel(t.Context())
		s, err := site.Open(ctx, cfg)
		cancel()
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "site: ") {
			t.Errorf("%s: error %v", want, err)
		}
	}
}
