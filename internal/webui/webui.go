package webui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

// Config is what the pages need to know. The zero value works.
type Config struct {
	// Product is the name beside the logo; empty = Curfew.
	Product string
	// FormAction are the origins that a form may end up at, beside our own.
	// Chromium holds the redirect after a POST against form-action too, so
	// without its origin here nobody gets back to an application that sent
	// them to sign in. "http://localhost:*" means any port.
	FormAction []string
}

// UI renders pages.
type UI struct {
	product string
	csp     string
	pages   map[string]*template.Template
	assets  map[string]asset // by URL path
}

// sourceExpr is an origin as CSP writes it. Anything looser could carry a
// semicolon, and with it another directive.
var sourceExpr = regexp.MustCompile(`^https?://([a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\])(:([0-9]{1,5}|\*))?$`)

// New parses the templates and names the assets.
func New(c Config) (*UI, error) {
	ui := &UI{product: c.Product, pages: map[string]*template.Template{}}
	if ui.product == "" {
		ui.product = "Curfew"
	}
	formAction := "form-action 'self'"
	for _, origin := range c.FormAction {
		if !sourceExpr.MatchString(origin) {
			return nil, fmt.Errorf("webui: %q is no origin like https://app.example.com", origin)
		}
		formAction += " " + origin
	}
	ui.csp = strings.Join([]string{
		"default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "connect-src 'self'",
		formAction, "base-uri 'none'", "frame-ancestors 'none'",
	}, "; ")

	names, err := ui.loadAssets()
	if err != nil {
		return nil, err
	}
	funcs := template.FuncMap{
		"asset": func(name string) (string, error) {
			if url, ok := names[name]; ok {
				return url, nil
			}
			return "", fmt.Errorf("no asset %q", name)
		},
		"ago": ago, "stamp": stamp, "day": day, "full": full, "icon": icon,
		"notice": noticeText, "ended": endedText, "serious": serious, "count": count[int], "number": number,
	}
	layout, err := template.New("layout.html").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html")
	if err != nil {
		return nil, fmt.Errorf("webui: %w", err)
	}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("webui: %w", err)
	}
	for _, f := range files {
		if f.Name() == "layout.html" {
			continue
		}
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, path.Join("templates", f.Name()))
		}
		if err != nil {
			return nil, fmt.Errorf("webui: %w", err)
		}
		ui.pages[strings.TrimSuffix(f.Name(), ".html")] = t
	}
	return ui, nil
}

// page is what the layout sees around a view.
type page struct {
	Product string
	Title   string
	User    string // shown at the top; empty = nobody is signed in
	// Wide is for pages with lists; the others are one narrow card.
	Wide bool
	// Live pages show what only this session may see: the session script
	// watches over them.
	Live    bool
	Session string
	Idle    int // seconds; 0 = no time-out
	// Return is where signing in again leads; empty = this page.
	Return string
	Now    time.Time
	View   any
}

// Login renders the page where people sign in.
func (ui *UI) Login(w http.ResponseWriter, status int, v Login) error {
	title := "Sign in"
	if v.NewPassword {
		title = "Choose a new password"
	}
	return ui.render(w, status, "login", page{Title: problem(title, v.Problem), View: v})
}

// Signout renders the page that asks before it signs out.
func (ui *UI) Signout(w http.ResponseWriter, status int, v Signout) error {
	// After a sign-out elsewhere nobody wants to sign in just to be asked
	// whether they want to sign out.
	back := v.Return
	if back == "" {
		back = accountPath
	}
	return ui.render(w, status, "signout", page{
		Title: "Sign out", Live: true, Session: v.Session, Idle: idle(v.IdleTimeout), Return: back, View: v,
	})
}

// Account renders a user's devices.
func (ui *UI) Account(w http.ResponseWriter, status int, v Account) error {
	if v.Now.IsZero() {
		v.Now = time.Now()
	}
	session := ""
	for _, d := range v.Devices {
		if d.Current {
			session = d.ID
		}
	}
	return ui.render(w, status, "account", page{
		Title: problem("Your account", v.Problem+v.PasswordProblem), User: v.User, Wide: true, Return: accountPath,
		Live: true, Session: session, Idle: idle(v.IdleTimeout), Now: v.Now, View: v,
	})
}

// Message renders a page that says one thing, with the status in v.
func (ui *UI) Message(w http.ResponseWriter, v Message) error {
	return ui.render(w, v.Status, "message", page{Title: v.Title, View: v})
}

// Demo renders the page with data that only a session gets.
func (ui *UI) Demo(w http.ResponseWriter, status int, v Demo) error {
	return ui.render(w, status, "demo", page{
		Title: "Employees", User: v.User, Wide: true, Live: true, Session: v.Session, Idle: idle(v.IdleTimeout), View: v,
	})
}

const accountPath = "/account"

// problem puts first what a screen reader says first.
func problem(title, problem string) string {
	if problem == "" {
		return title
	}
	return "Problem: " + title
}

func idle(d time.Duration) int { return int(d / time.Second) }

// render writes a page. It returns an error only while nothing is written yet;
// a client that hangs up is nobody's error. Status 0 is 200.
func (ui *UI) render(w http.ResponseWriter, status int, name string, p page) error {
	p.Product = ui.product
	var body bytes.Buffer
	if err := ui.pages[name].ExecuteTemplate(&body, "layout.html", p); err != nil {
		return fmt.Errorf("webui: page %s: %w", name, err)
	}
	if status == 0 {
		status = http.StatusOK
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	// Back must show nothing after a sign-out.
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", ui.csp)
	// Not no-referrer: with that, browsers send "Origin: null" with our own
	// forms, and those that do not know Sec-Fetch-Site would be refused by
	// http.CrossOriginProtection. To others same-origin tells just as little.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
	return nil
}
