package webui

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/password"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

var now = time.Date(2026, 11, 21, 10, 30, 0, 0, time.UTC)

func newUI(t *testing.T, c Config) *UI {
	t.Helper()
	ui, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return ui
}

func devices(n int) []Device {
	var list []Device
	for i := range n {
		list = append(list, Device{
			ID: fmt.Sprintf("s%d", i), Name: "Chrome on Linux", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36",
			IP: "203.0.113.7", FirstSeen: now.Add(-80 * time.Hour), LastSeen: now.Add(-5 * time.Minute), Current: i == 0,
		})
	}
	return list
}

// variants are the pages in all their shapes. Each field that changes what is
// there appears.
func variants() map[string]any {
	enforced := &Notice{Kind: "others", Ended: 2, State: "enforced", Verifiers: 3, Took: 6 * time.Millisecond}
	return map[string]any{
		"login":           Login{},
		"login again":     Login{Return: "/demo", Login: "alice", Problem: "Wrong name or password.", Remember: true, Remembered: true},
		"login ended":     Login{Ended: "compromised", Remember: true},
		"login notice":    Login{Notice: enforced},
		"login other":     Login{SignedInAs: "Alice", Return: "https://app.example.com/x?a=b"},
		"login new":       Login{NewPassword: true, Login: "alice"},
		"login new again": Login{NewPassword: true, Login: "alice", Problem: "The password is too short."},
		"login demo":      Login{DemoLogin: "alice@example.com", DemoPassword: "correct horse"},
		"signout":         Signout{},
		"signout others":  Signout{User: "Alice", Return: "/demo", Others: 2, Session: "s0", IdleTimeout: time.Hour},
		"account empty":   Account{},
		"account one":     Account{User: "Alice", Devices: devices(1), Now: now},
		"account":         Account{User: "Alice", Email: "alice@example.com", Devices: devices(8), Now: now, IdleTimeout: time.Hour, Notice: enforced},
		"account problem": Account{User: "Alice", Devices: devices(2), Now: now, Problem: "That did not work.", PasswordProblem: "Wrong password."},
		"message":         Message{Status: 403, Title: "Cookies are blocked", Text: "Allow them.", Action: "/login", Label: "Try again"},
		"message plain":   Message{Title: "Gone", Text: "There is nothing here."},
		"demo":            Demo{User: "Alice"},
		"demo loaded":     Demo{User: "Alice", Session: "s0", IdleTimeout: time.Hour, Employees: []Employee{{1, "Mark", "Male", "Manager", 60000}}},
	}
}

func render(t *testing.T, ui *UI, view any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	var err error
	switch v := view.(type) {
	case Login:
		err = ui.Login(w, http.StatusOK, v)
	case Signout:
		err = ui.Signout(w, http.StatusOK, v)
	case Account:
		err = ui.Account(w, http.StatusOK, v)
	case Message:
		err = ui.Message(w, v)
	case Demo:
		err = ui.Demo(w, http.StatusOK, v)
	default:
		t.Fatalf("no page for %T", view)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func parse(t *testing.T, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// find returns the elements called name; "" is every element.
func find(doc *html.Node, name string) []*html.Node {
	var found []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (name == "" || n.Data == name) {
			found = append(found, n)
		}
	}
	return found
}

func attr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// nameOf is what assistive technology calls a control.
func nameOf(n *html.Node, labels map[string]string) string {
	if label, ok := attr(n, "aria-label"); ok {
		return label
	}
	if id, ok := attr(n, "id"); ok && labels[id] != "" {
		return labels[id]
	}
	return text(n)
}

func TestEveryPageIsWellMade(t *testing.T) {
	ui := newUI(t, Config{})
	for name, view := range variants() {
		t.Run(name, func(t *testing.T) {
			w := render(t, ui, view)
			doc := parse(t, w)

			for element, want := range map[string]int{"h1": 1, "main": 1, "header": 1, "footer": 1, "title": 1, "style": 0, "iframe": 0, "base": 0} {
				if got := len(find(doc, element)); got != want {
					t.Errorf("%d <%s>, want %d", got, element, want)
				}
			}
			if lang, _ := attr(find(doc, "html")[0], "lang"); lang != "en" {
				t.Errorf("lang %q", lang)
			}
			if !strings.HasSuffix(text(find(doc, "title")[0]), " · Curfew") {
				t.Errorf("title %q", text(find(doc, "title")[0]))
			}

			labels, ids := map[string]string{}, map[string]bool{}
			for _, n := range find(doc, "label") {
				id, _ := attr(n, "for")
				labels[id] = text(n)
			}
			for _, n := range find(doc, "") {
				if id, ok := attr(n, "id"); ok {
					if ids[id] {
						t.Errorf("two elements have id %q", id)
					}
					ids[id] = true
				}
			}
			level := 0
			for _, n := range find(doc, "") {
				for _, a := range n.Attr {
					switch {
					case a.Key == "style", strings.HasPrefix(a.Key, "on"):
						t.Errorf("<%s> has %s inline", n.Data, a.Key)
					case a.Key == "src", a.Key == "href" && n.Data == "link":
						if _, ok := ui.assets[a.Val]; !ok {
							t.Errorf("<%s> loads %s, which is no asset", n.Data, a.Val)
						}
					case a.Key == "for", a.Key == "aria-describedby", a.Key == "aria-labelledby", a.Key == "data-shows", a.Key == "data-confirm":
						for _, id := range strings.Fields(a.Val) {
							if !ids[id] {
								t.Errorf("%s points at %q, which is not there", a.Key, id)
							}
						}
					}
				}
				switch n.Data {
				case "script":
					if kind, _ := attr(n, "type"); kind != "module" || n.FirstChild != nil {
						t.Error("a script is inline or no module")
					}
				case "img":
					if _, ok := attr(n, "alt"); !ok {
						t.Error("an image has no alt")
					}
				case "input":
					kind, ok := attr(n, "type")
					_, hidden := attr(n, "hidden")
					if !ok || kind != "hidden" && !hidden && nameOf(n, labels) == "" {
						t.Errorf("input has no type or no label: %v", n.Attr)
					}
					if _, completes := attr(n, "autocomplete"); kind == "password" && !completes {
						t.Error("a password manager does not know what this field is")
					}
				case "button":
					if nameOf(n, labels) == "" {
						t.Errorf("button without a name: %v", n.Attr)
					}
				case "form":
					method, _ := attr(n, "method")
					action, _ := attr(n, "action")
					if method != "dialog" && (method != "post" && action != "/demo" || !strings.HasPrefix(action, "/")) {
						t.Errorf("form with method %q and action %q", method, action)
					}
				case "h1", "h2", "h3", "h4":
					if next := int(n.Data[1] - '0'); next > level+1 {
						t.Errorf("<%s> after level %d", n.Data, level)
					} else {
						level = next
					}
				}
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	ui := newUI(t, Config{FormAction: []string{"https://app.example.com", "http://localhost:*", "https://[2001:db8::1]:8443"}})
	want := http.Header{
		"Content-Type":  {"text/html; charset=utf-8"},
		"Cache-Control": {"no-store"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
			"form-action 'self' https://app.example.com http://localhost:* https://[2001:db8::1]:8443; base-uri 'none'; frame-ancestors 'none'"},
		"Referrer-Policy":            {"same-origin"},
		"X-Content-Type-Options":     {"nosniff"},
		"X-Frame-Options":            {"DENY"},
		"Cross-Origin-Opener-Policy": {"same-origin"},
		"Permissions-Policy":         {"camera=(), geolocation=(), microphone=()"},
	}
	for name, view := range variants() {
		w := render(t, ui, view)
		want.Set("Content-Length", strconv.Itoa(w.Body.Len()))
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestStatus(t *testing.T) {
	ui := newUI(t, Config{})
	for status, want := range map[int]int{0: 200, 200: 200, 403: 403, 503: 503} {
		if got := render(t, ui, Message{Status: status}).Code; got != want {
			t.Errorf("message with %d is sent with %d", status, got)
		}
		w := httptest.NewRecorder()
		if err := ui.Login(w, status, Login{}); err != nil || w.Code != want {
			t.Errorf("login with %d is sent with %d, %v", status, w.Code, err)
		}
	}
}

func TestOnlyOriginsReachThePolicy(t *testing.T) {
	for _, origin := range []string{
		"", "*", "https:", "https://*", "https://*.example.com", "app.example.com", "javascript:alert(1)", "https://a.example; script-src *",
		"https://a.example/path", "https://a.example 'unsafe-inline'", "https://a.example,b", "https://a.example\n", "https://user@a.example",
	} {
		if _, err := New(Config{FormAction: []string{origin}}); err == nil {
			t.Errorf("%q is taken for an origin", origin)
		}
	}
}

// hostile breaks out of text, attributes, URLs and scripts where nothing stops it.
const hostile = `javascript:alert(1)//"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`

// fill puts s into every string of v, however deep.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), s)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), s)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Bool:
		v.SetBool(true)
	}
}

func TestHostileTextStaysText(t *testing.T) {
	for _, product := range []string{"", hostile} {
		ui := newUI(t, Config{Product: product})
		for _, view := range []any{&Login{}, &Signout{}, &Account{}, &Message{}, &Demo{}} {
			name := reflect.TypeOf(view).Elem().Name()
			v := reflect.ValueOf(view).Elem()
			fill(v, hostile)
			hurt := []any{v.Interface()}
			if login, ok := v.Interface().(Login); ok { // each part of the page stands where another is missing
				login.Problem = ""
				hurt = append(hurt, login)
				login.Notice = nil
				hurt = append(hurt, login)
			}
			if message, ok := v.Interface().(Message); ok {
				message.Status = 200
				hurt[0] = message
			}
			for _, h := range hurt {
				doc := parse(t, render(t, ui, h))
				for _, n := range find(doc, "") {
					if _, asset := attr(n, "src"); (n.Data == "script" || n.Data == "img") && (!asset || n.FirstChild != nil) {
						t.Errorf("%s: <%s> got in: %v", name, n.Data, n.Attr)
					}
					for _, a := range n.Attr {
						if strings.HasPrefix(a.Key, "on") {
							t.Errorf("%s: <%s> got %s", name, n.Data, a.Key)
						}
						if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/") && a.Val != "#ZgotmplZ" {
							t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
						}
					}
				}
			}
		}
	}
}

func TestUnknownReasonIsNotEchoed(t *testing.T) {
	ui := newUI(t, Config{})
	body := render(t, ui, Login{Ended: "call 555-0100 and tell us your password"}).Body.String()
	if strings.Contains(body, "555") || !strings.Contains(body, "You have been signed out. Please sign in again.") {
		t.Error("whoever makes a link can write into the login page")
	}
}

func TestReturnAddressSurvives(t *testing.T) {
	ui := newUI(t, Config{})
	const back = "https://app.example.com/x?a=b&c=d#e"
	for _, view := range []any{Login{Return: back}, Signout{Return: back}} {
		doc := parse(t, render(t, ui, view))
		i := slices.IndexFunc(find(doc, "input"), func(n *html.Node) bool { name, _ := attr(n, "name"); return name == "return" })
		if i < 0 {
			t.Fatalf("%T has no return field", view)
		}
		if got, _ := attr(find(doc, "input")[i], "value"); got != back {
			t.Errorf("%T returns to %q", view, got)
		}
	}
}

// forms lists what each form of a page sends, by the name of its button.
func forms(doc *html.Node) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, f := range find(doc, "form") {
		action, _ := attr(f, "action")
		fields := map[string]string{"": action}
		for _, n := range find(f, "input") {
			if name, ok := attr(n, "name"); ok {
				_, checked := attr(n, "checked")
				if kind, _ := attr(n, "type"); kind != "radio" || checked {
					fields[name], _ = attr(n, "value")
				}
			}
		}
		for _, b := range find(f, "button") {
			if kind, _ := attr(b, "type"); kind == "submit" {
				out[nameOf(b, nil)] = fields
			}
		}
	}
	return out
}

func TestForms(t *testing.T) {
	ui := newUI(t, Config{})
	two := devices(2)
	two[1].Name, two[1].IP = "Safari on iPhone", "198.51.100.4"
	for name, test := range map[string]struct {
		view any
		want map[string]map[string]string
	}{
		"login": {Login{Return: "/demo", Remember: true}, map[string]map[string]string{
			"Sign in": {"": "/login", "return": "/demo", "login": "", "password": "", "remember": "on"},
		}},
		"new password": {Login{NewPassword: true}, map[string]map[string]string{
			"Change password and sign in": {"": "/login", "return": "", "login": "", "password": "", "new_password": ""},
		}},
		"signout":       {Signout{}, map[string]map[string]string{"Sign out": {"": "/signout", "return": "", "scope": "local"}}},
		"signout there": {Signout{Others: 1}, map[string]map[string]string{"Sign out": {"": "/signout", "return": "", "scope": "local"}}},
		"account": {Account{Devices: two, Now: now, IdleTimeout: time.Hour}, map[string]map[string]string{
			"Sign out": {"": "/signout", "scope": "local"},
			"Sign out Safari on iPhone, 198.51.100.4": {"": "/account/sessions", "end": "s1"},
			"Sign out all other devices":              {"": "/account/sessions", "scope": "others"},
			"Sign out everywhere":                     {"": "/account/sessions", "scope": "global"},
			"Change password":                         {"": "/account/password", "current_password": "", "new_password": "", "keep": "on"},
			"Sign out now":                            {"": "/signout", "scope": "local"},
		}},
		"demo": {Demo{}, map[string]map[string]string{
			"Load employees": {"": "/demo", "load": "1"},
			"Log Off":        {"": "/signout", "scope": "local", "return": "/demo"},
		}},
		"message": {Message{}, map[string]map[string]string{}},
	} {
		if diff := cmp.Diff(test.want, forms(parse(t, render(t, ui, test.view)))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What the page's script needs to know. Where nobody is signed in there is
// nothing to watch.
func TestLivePages(t *testing.T) {
	ui := newUI(t, Config{})
	for name, test := range map[string]struct {
		view any
		want map[string]string
	}{
		"login":   {Login{}, map[string]string{"class": "narrow"}},
		"message": {Message{}, map[string]string{"class": "narrow"}},
		"signout": {Signout{Session: "s0"}, map[string]string{"class": "narrow", "data-session": "s0", "data-idle-timeout": "0", "data-return": "/account"}},
		"account": {Account{Devices: devices(2), Now: now, IdleTimeout: 90 * time.Second}, map[string]string{
			"class": "wide", "data-session": "s0", "data-idle-timeout": "90", "data-return": "/account", "data-now": "2026-11-21T10:30:00Z",
		}},
		"demo": {Demo{Session: "s0"}, map[string]string{"class": "wide", "data-session": "s0", "data-idle-timeout": "0", "data-return": ""}},
	} {
		doc := parse(t, render(t, ui, test.view))
		got := map[string]string{}
		for _, a := range find(doc, "body")[0].Attr {
			got[a.Key] = a.Val
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		_, live := test.want["data-session"]
		watched := slices.ContainsFunc(find(doc, "script"), func(n *html.Node) bool {
			src, _ := attr(n, "src")
			return strings.HasPrefix(src, "/assets/live.")
		})
		if watched != live {
			t.Errorf("%s: script is there: %v, want %v", name, watched, live)
		}
	}
}

// The hint and the browser's own check say what the server demands.
func TestPasswordHintIsTheRule(t *testing.T) {
	ui := newUI(t, Config{})
	for _, view := range []any{Login{NewPassword: true}, Account{}} {
		body := render(t, ui, view).Body.String()
		for _, want := range []string{fmt.Sprintf(`minlength="%d"`, password.MinLength), fmt.Sprintf("At least %d characters.", password.MinLength)} {
			if !strings.Contains(body, want) {
				t.Errorf("%T lacks %q", view, want)
			}
		}
	}
}

// A page with everything it loads; the account with eight devices.
func TestPagesAreSmall(t *testing.T) {
	const budget = 30_000
	ui := newUI(t, Config{})
	for _, name := range slices.Sorted(maps.Keys(variants())) {
		body := render(t, ui, variants()[name]).Body.String()
		size := len(body)
		for url, a := range ui.assets {
			// demo.js loads live.js, the stylesheet three pictures.
			used := strings.Contains(body, url)
			for other, by := range ui.assets {
				used = used || strings.Contains(body, other) && strings.Contains(string(by.body), url)
			}
			if used {
				size += len(a.body)
			}
		}
		t.Logf("%-16s %5d bytes, %5d of them HTML", name, size, len(body))
		if size > budget {
			t.Errorf("%s is %d bytes, budget %d", name, size, budget)
		}
	}
}
