package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/webui"
)

// handlePages serves the pages for people. They are no part of the API: their
// form may change with any release.
func (s *Server) handlePages() {
	s.handlePage("GET /{$}", func(w http.ResponseWriter, r *http.Request) error { return seeOther(w, r, afterSignIn) })
	s.handlePage("GET /login", s.loginPage)
	s.handlePage("POST /login", s.signIn)
	s.handlePage("GET /signout", s.signoutPage)
	s.handlePage("POST /signout", s.finish(s.signOut))
	s.handlePage("GET /account", s.accountPage)
	s.handlePage("POST /account/sessions", s.finish(s.endDevices))
	s.handlePage("POST /account/password", s.finish(s.newPassword))
	s.mux.Handle("GET /assets/", s.pages.Assets())
	if s.demo != nil {
		s.handlePage("GET /demo", s.demoPage)
		s.mux.Handle("GET /demo/employees", s.wrap("GET /demo/employees", s.demoEmployees, asJSON, callTimeout))
	}
}

func (s *Server) handlePage(pattern string, h handler) {
	s.mux.Handle(pattern, s.wrap(pattern, func(w http.ResponseWriter, r *http.Request) error {
		// A form on another site must neither log anybody out nor log a victim
		// in as the attacker. GET changes nothing anyway.
		if crossOrigin.Check(r) != nil {
			return errCrossOrigin
		}
		return h(w, r)
	}, s.asPage, callTimeout))
}

// asPage is the errorWriter of the pages.
func (s *Server) asPage(w http.ResponseWriter, r *http.Request, e *httpError) {
	m := webui.Message{Status: e.Status, Title: http.StatusText(e.Status), Text: e.Msg + "."}
	switch {
	case e.Code == errPlainHTTP.Code:
		m.Title = "This page needs a secure connection"
	case e.Code == errCrossOrigin.Code:
		m.Title, m.Text = "That did not come from here", "Another site tried to do something in your name. Nothing was done."
		m.Action, m.Label = afterSignIn, "Your account"
	case e.Status == http.StatusServiceUnavailable:
		m.Title = "Please try again in a moment"
		m.Action, m.Label = r.URL.Path, "Try again"
		switch {
		case r.Method != http.MethodPost:
		case strings.HasPrefix(r.URL.Path, "/account/"): // there is nothing to GET
			m.Action = afterSignIn
		case r.URL.Path == "/signout":
			m.Title = "Signed out in this browser only"
			m.Text = "The server could not record it, so nothing is promised about copies of this session. Sign in and sign out again."
			m.Action, m.Label = "/login", "Sign in"
		}
	case e.Status >= 500:
		m.Title = "Something went wrong here"
	}
	if err := s.pages.Message(w, m); err != nil {
		s.logger.Error("a page cannot be shown", "err", err)
		asJSON(w, r, e)
	}
}

func seeOther(w http.ResponseWriter, r *http.Request, target string) error {
	// Not http.Redirect, which rewrites the target: what was checked is what the
	// browser gets.
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// signedIn returns who is in front of a page, or sends the browser to the login
// page and returns false.
func (s *Server) signedIn(w http.ResponseWriter, r *http.Request) (caller, bool, error) {
	value, err := s.sessionCookie(r)
	if err != nil {
		return caller{}, false, err
	}
	query := url.Values{}
	if r.Method == http.MethodGet {
		query.Set("return", r.URL.RequestURI())
	}
	if value != "" {
		c, err := s.authority.AuthenticateCookie(r.Context(), value)
		if err == nil {
			return caller{c, value}, true, nil
		}
		var ended *authority.EndedError
		switch {
		case errors.As(err, &ended) && ended.Reason == curfew.ReasonReplaced:
			// By a sign-in in this browser, most likely. Its answer, with the new
			// cookie of the same name, may be there before this one.
			query.Set("reason", string(ended.Reason))
			return caller{}, false, seeOther(w, r, "/login?"+query.Encode())
		case errors.As(err, &ended):
			query.Set("reason", string(ended.Reason))
		case !errors.Is(err, curfew.ErrInvalidToken):
			return caller{}, false, err
		}
		s.endCookie(w, r)
	}
	target := "/login"
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return caller{}, false, seeOther(w, r, target)
}

// loginPage serves GET /login.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	t := s.transport(r)
	if t == plainHTTP {
		s.warnPlain(r)
		return errPlainHTTP
	}
	q := r.URL.Query()
	v := webui.Login{
		Return: s.returnTo(q.Get("return"), ""), Login: clipTo(q.Get("login"), 254), Ended: clip(q.Get("reason")), Notice: s.takeNotice(w, r, t),
	}
	if value, err := s.sessionCookie(r); err == nil && value != "" {
		if c, err := s.authority.AuthenticateCookie(authority.InBackground(r.Context()), value); err == nil {
			v.SignedInAs = c.Email
		}
	}
	return s.showLogin(w, r, t, http.StatusOK, v)
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, t transport, status int, v webui.Login) error {
	v.Remember = s.cookies.Remember
	if s.demo != nil {
		v.DemoLogin, v.DemoPassword = s.demo.Login, s.demo.Password
	}
	if !s.keepsCookies(r, t) {
		s.putCookie(w, t, s.cookieName(t)+probeSuffix, "1", 0)
	}
	return s.pages.Login(w, status, v)
}

// keepsCookies reports whether the browser has sent the cookie that the login
// page gives it. One that keeps none would begin a session with each try that
// nobody can use or end.
func (s *Server) keepsCookies(r *http.Request, t transport) bool {
	return len(r.CookiesNamed(s.cookieName(t)+probeSuffix)) > 0
}

// signIn serves POST /login.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	t := s.transport(r)
	if t == plainHTTP {
		s.warnPlain(r)
		return errPlainHTTP
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var login, pw, newPW, remember, back string
	if err := p.strs(map[string]*string{"login": &login, "password": &pw, "new_password": &newPW, "remember": &remember, "return": &back}); err != nil {
		return err
	}
	v := webui.Login{Return: s.returnTo(back, ""), Login: login, NewPassword: newPW != "", Remembered: remember != ""}
	if !s.keepsCookies(r, t) {
		v.Problem = "Your browser did not send back the cookie of this page. Allow cookies for this site, then try again."
		return s.showLogin(w, r, t, http.StatusBadRequest, v)
	}
	if login == "" || pw == "" {
		v.Problem = "Enter your name and your password."
		return s.showLogin(w, r, t, http.StatusUnprocessableEntity, v)
	}
	old, err := s.sessionCookie(r)
	if err != nil {
		return err
	}
	issued, err := s.authority.Login(r.Context(), authority.LoginInput{
		Login: login, Password: pw, NewPassword: newPW, From: s.origin(r),
		Cookie: true, Remember: s.cookies.Remember && remember != "", Replaces: old,
	})
	if err != nil {
		status, problem := signInProblem(err)
		if problem == "" {
			return err
		}
		if e := wire(err); e.Header != nil {
			w.Header().Set("Retry-After", e.Header.Get("Retry-After"))
		}
		v.NewPassword = v.NewPassword || errors.Is(err, authority.ErrPasswordChangeRequired)
		v.Problem = problem
		return s.showLogin(w, r, t, status, v)
	}
	s.beginCookie(w, r, issued)
	return seeOther(w, r, s.returnTo(back, afterSignIn))
}

// signInProblem says what a person can do about a failed sign-in, or "" where
// it is none of a person's doing.
func signInProblem(err error) (status int, text string) {
	e := wire(err)
	var throttled *authority.ThrottledError
	switch {
	case errors.Is(err, authority.ErrBadCredentials):
		return http.StatusUnprocessableEntity, "That name and password do not match."
	case errors.Is(err, authority.ErrPasswordChangeRequired):
		return http.StatusUnprocessableEntity, "You need a new password. Enter the old one and choose another."
	case errors.As(err, &throttled):
		return e.Status, "Too many tries. Wait " + wait(throttled.Reset) + ", then try again."
	case errors.Is(err, password.ErrBusy):
		return e.Status, "Too many people are signing in at once. Try again in a moment."
	case e.Code == "weak_password", e.Code == "same_password", e.Code == "too_many_sessions":
		return e.Status, e.Msg + "."
	}
	return 0, ""
}

func wait(d time.Duration) string {
	if d <= time.Minute {
		return "a minute"
	}
	return strconv.Itoa(int(math.Ceil(d.Minutes()))) + " minutes"
}

// signoutPage serves GET /signout. It asks: a link, an image or a prefetch must
// not log anybody out.
func (s *Server) signoutPage(w http.ResponseWriter, r *http.Request) error {
	c, ok, err := s.signedIn(w, r)
	if err != nil || !ok {
		return err
	}
	list, err := s.authority.OwnSessions(r.Context(), c.Claims)
	if err != nil {
		return err
	}
	return s.pages.Signout(w, http.StatusOK, webui.Signout{
		User: s.nameOf(r, c), Return: s.returnTo(r.URL.Query().Get("return"), ""), Others: max(len(list)-1, 0),
		Session: c.Session, IdleTimeout: s.authority.IdleTimeout(),
	})
}

// signOut serves POST /signout. A session that has ended already is signed out
// as well: a button that is pressed twice is no error.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	back, err := p.str("return")
	if err != nil {
		return err
	}
	scope, err := logoutScope(r, p)
	if err != nil {
		return err
	}
	if scope == authority.ScopeOthers {
		return badRequest("scope is local or global")
	}
	values, err := s.sessionCookies(r)
	if err != nil {
		return err
	}
	s.endCookie(w, r)
	target := s.returnTo(back, "/login")
	if len(values) == 0 {
		return seeOther(w, r, target)
	}
	out, err := s.authority.Logout(r.Context(), authority.LogoutInput{Cookies: values, Scope: scope, From: s.origin(r)})
	var throttled *authority.ThrottledError
	switch {
	case errors.Is(err, authority.ErrNoCredential), errors.As(err, &throttled): // there is nothing left to end
		return seeOther(w, r, target)
	case err != nil:
		return err
	}
	kind := "signout"
	if out.Scope == authority.ScopeGlobal {
		kind = "global"
	}
	s.leaveNotice(w, r, notice(kind, out.Receipt))
	return seeOther(w, r, target)
}

// accountPage serves GET /account.
func (s *Server) accountPage(w http.ResponseWriter, r *http.Request) error {
	c, ok, err := s.signedIn(w, r)
	if err != nil || !ok {
		return err
	}
	return s.showAccount(w, r, c, http.StatusOK, webui.Account{Notice: s.takeNotice(w, r, s.transport(r))})
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, c caller, status int, v webui.Account) error {
	list, err := s.authority.OwnSessions(r.Context(), c.Claims)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b curfew.Session) int {
		switch {
		case a.ID == c.Session:
			return -1
		case b.ID == c.Session:
			return 1
		}
		return b.LastSeenAt.Compare(a.LastSeenAt)
	})
	for _, x := range list {
		v.Devices = append(v.Devices, webui.Device{
			ID: x.ID, Name: x.Device, UserAgent: x.UserAgent, IP: x.IP, FirstSeen: x.CreatedAt, LastSeen: x.LastSeenAt,
			Expires: x.ExpiresAt, Current: x.ID == c.Session,
		})
	}
	v.User, v.Email, v.IdleTimeout, v.Now = s.nameOf(r, c), c.Email, s.authority.IdleTimeout(), s.authority.Now()
	return s.pages.Account(w, status, v)
}

func (s *Server) nameOf(r *http.Request, c caller) string {
	if u, err := s.authority.User(r.Context(), c.Claims); err == nil && u.Name != "" {
		return u.Name
	}
	return c.Email
}

// endDevices serves POST /account/sessions: one device, all others, or all.
func (s *Server) endDevices(w http.ResponseWriter, r *http.Request) error {
	c, ok, err := s.signedIn(w, r)
	if err != nil || !ok {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var id, scope string
	if err := p.strs(map[string]*string{"end": &id, "scope": &scope}); err != nil {
		return err
	}
	var receipt authority.Receipt
	kind := "session"
	switch {
	case id != "" && scope == "":
		receipt, err = s.authority.EndOwnSession(r.Context(), c.Claims, id, s.origin(r))
		if errors.Is(err, store.ErrNotFound) {
			err = nil // ended long ago, or never one of this person's
		}
	case id == "" && (scope == string(authority.ScopeOthers) || scope == string(authority.ScopeGlobal)):
		kind = scope
		var out authority.LogoutOutput
		out, err = s.authority.Logout(r.Context(), authority.LogoutInput{
			Cookies: []string{c.Cookie}, Scope: authority.LogoutScope(scope), From: s.origin(r),
		})
		receipt = out.Receipt
	default:
		return badRequest("Choose a device, the others, or all")
	}
	if err != nil {
		return err
	}
	s.leaveNotice(w, r, notice(kind, receipt))
	if id == c.Session || kind == string(authority.ScopeGlobal) {
		s.endCookie(w, r)
		return seeOther(w, r, "/login")
	}
	return seeOther(w, r, afterSignIn)
}

// newPassword serves POST /account/password.
func (s *Server) newPassword(w http.ResponseWriter, r *http.Request) error {
	c, ok, err := s.signedIn(w, r)
	if err != nil || !ok {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var current, pw, keep string
	if err := p.strs(map[string]*string{"current_password": &current, "new_password": &pw, "keep": &keep}); err != nil {
		return err
	}
	if current == "" || pw == "" {
		return s.showAccount(w, r, c, http.StatusUnprocessableEntity, webui.Account{PasswordProblem: "Enter your password and the new one."})
	}
	receipt, issued, err := s.authority.ChangePassword(r.Context(), c.Claims, authority.PasswordChange{
		Password: pw, Current: current, KeepCurrent: keep != "", Cookie: c.Cookie, From: s.origin(r),
	})
	if err != nil {
		status, problem := signInProblem(err)
		if errors.Is(err, authority.ErrBadCredentials) {
			problem = "That is not your password."
		}
		if problem == "" {
			return err
		}
		return s.showAccount(w, r, c, status, webui.Account{PasswordProblem: problem})
	}
	s.leaveNotice(w, r, notice("password", receipt))
	if issued != nil {
		s.beginCookie(w, r, *issued)
		return seeOther(w, r, afterSignIn)
	}
	s.endCookie(w, r)
	return seeOther(w, r, "/login")
}

func notice(kind string, r authority.Receipt) webui.Notice {
	return webui.Notice{Kind: kind, Ended: r.Ended, State: r.State, Verifiers: r.Verifiers, Took: r.Took}
}

// leaveNotice keeps what an ending did for the page that comes next. It is a
// cookie and not a query: a link could claim anything.
func (s *Server) leaveNotice(w http.ResponseWriter, r *http.Request, n webui.Notice) {
	t := s.transport(r)
	b, err := json.Marshal(n)
	if err != nil || t == plainHTTP {
		return
	}
	s.putCookie(w, t, s.cookieName(t)+noticeSuffix, base64.RawURLEncoding.EncodeToString(b), time.Minute)
}

// takeNotice returns the notice that is waiting, and removes it.
func (s *Server) takeNotice(w http.ResponseWriter, r *http.Request, t transport) *webui.Notice {
	name := s.cookieName(t) + noticeSuffix
	found := r.CookiesNamed(name)
	if len(found) == 0 {
		return nil
	}
	s.putCookie(w, t, name, "", 0)
	b, err := base64.RawURLEncoding.DecodeString(found[0].Value)
	var n webui.Notice
	if err != nil || json.Unmarshal(b, &n) != nil || n.Ended < 0 || n.Took < 0 || n.Verifiers < 0 {
		return nil
	}
	return &n
}
