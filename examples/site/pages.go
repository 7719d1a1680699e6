package main

import (
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard/site"
)

//go:embed pages
var files embed.FS

var templates = template.Must(template.ParseFS(files, "pages/*.html"))

// routes are the pages, each behind the middleware that it needs.
func routes(s *site.Site, log *slog.Logger) http.Handler {
	p := &pages{site: s, log: log, names: map[string]string{}}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", s.Recognize(http.HandlerFunc(p.home)))
	mux.Handle("GET /members", s.RequireLogin(http.HandlerFunc(p.members)))
	mux.Handle("GET /login", s.Recognize(http.HandlerFunc(p.loginForm)))
	mux.Handle("POST /login", s.Recognize(http.HandlerFunc(p.login)))
	mux.Handle("/signout", s.SignOutHandler())
	mux.Handle("POST /close", s.RequireLogin(http.HandlerFunc(p.closeAccount)))
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "pages/style.css") // the same for everybody: it may be cached
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

type pages struct {
	site *site.Site
	log  *slog.Logger

	mu sync.Mutex
	// names is what the site knows of its people, by subject. A real one would
	// have a table for that.
	names map[string]string
}

// view is what the templates show.
type view struct {
	Name   string // of who is there, or empty
	Login  string // the link to the login page
	Return string
	Typed  string // as a name before
	// Problem says why the last try failed, and Notice what has happened.
	Problem, Notice string
	NewPassword     bool
}

func (p *pages) show(w http.ResponseWriter, r *http.Request, status int, page string, v view) {
	if c := site.User(r); c != nil {
		p.mu.Lock()
		v.Name = p.names[c.Subject]
		p.mu.Unlock()
		if v.Name == "" {
			v.Name = c.Email
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := templates.ExecuteTemplate(w, page, v); err != nil {
		p.log.Error("writing a page", "page", page, "err", err)
	}
}

// home is for everybody, and greets those it knows.
func (p *pages) home(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, http.StatusOK, "home.html", view{Login: p.site.LoginURL(r, "/members")})
}

// members is reached by nobody who is not signed in.
func (p *pages) members(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, http.StatusOK, "members.html", view{})
}

// notices say why somebody has to sign in again. What is in the address is never
// shown as it is.
var notices = map[curfew.Reason]string{
	curfew.ReasonUser:    "You are signed out.",
	curfew.ReasonUserAll: "You were signed out everywhere.",
	curfew.ReasonIdle:    "You were signed out because nothing happened here for a while.",
}

func (p *pages) loginForm(w http.ResponseWriter, r *http.Request) {
	v := view{Return: p.site.ReturnTo(r)}
	if why := r.FormValue("reason"); why != "" {
		v.Notice = "You are not signed in any more. Please sign in again."
		if text := notices[curfew.Reason(why)]; text != "" {
			v.Notice = text
		}
	}
	p.show(w, r, http.StatusOK, "login.html", v)
}

func (p *pages) login(w http.ResponseWriter, r *http.Request) {
	v := view{Return: p.site.ReturnTo(r), Typed: r.PostFormValue("login")}
	began, err := p.site.SignIn(w, r, site.Credentials{
		Login: v.Typed, Password: r.PostFormValue("password"), NewPassword: r.PostFormValue("new_password"),
		Remember: r.PostFormValue("remember") == "on",
	})
	if err == nil {
		p.mu.Lock()
		p.names[began.User.ID] = began.User.Name
		p.mu.Unlock()
		http.Redirect(w, r, v.Return, http.StatusSeeOther)
		return
	}
	status := http.StatusBadRequest
	var throttled *site.ThrottledError
	switch {
	case errors.Is(err, site.ErrBadCredentials):
		v.Problem = "That is not the right name and password."
	case errors.Is(err, site.ErrPasswordChangeRequired):
		v.Problem, v.NewPassword = "Please choose a new password.", true
	case errors.Is(err, site.ErrWeakPassword), errors.Is(err, site.ErrSamePassword):
		v.Problem, v.NewPassword = "Please choose another password: longer, and not the old one.", true
	case errors.As(err, &throttled):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", strconv.Itoa(int(throttled.RetryAfter.Seconds())))
		v.Problem = "That was too often. Please wait a moment."
	case errors.Is(err, site.ErrTooManySessions):
		status, v.Problem = http.StatusForbidden, "You are signed in on too many devices. Sign out on one of them first."
	case errors.Is(err, site.ErrUnavailable):
		p.log.Error("signing in", "err", err)
		status, v.Problem = http.StatusServiceUnavailable, "Nobody can sign in at the moment. Please try again."
	default: // another site's form, or plain HTTP
		status, v.Problem = http.StatusForbidden, "That cannot be done from here."
	}
	p.show(w, r, status, "login.html", v)
}

// closeAccount shows that a handler goes on after a sign-out: the session is over
// everywhere, and the work is done before the browser is sent to the login page.
func (p *pages) closeAccount(w http.ResponseWriter, r *http.Request) {
	who := site.User(r)
	if _, err := p.site.SignOutEverywhere(w, r); err != nil {
		p.log.Error("signing out", "err", err)
		http.Error(w, "Signed out in this browser only. Please try again.", http.StatusServiceUnavailable)
		return
	}
	p.site.RedirectToLogin(w, r)
	p.mu.Lock()
	delete(p.names, who.Subject)
	p.mu.Unlock()
	p.log.Info("an account was closed", "subject", who.Subject)
}
