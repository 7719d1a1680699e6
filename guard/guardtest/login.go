package guardtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/internal/feed"
)

// User is somebody who can sign in with a password, see [Authority.AddUser].
type User struct {
	Subject  string // empty: the Username, or else the Email
	Email    string
	Username string
	Name     string // for people to read
	Password string
	Roles    []string
	// MustChange makes the sign-in demand a new password, until one is given.
	MustChange bool
}

// AddUser lets somebody sign in at POST /sessions. The e-mail address and the
// user name are as typed here, in this case; passwords are compared as they are.
func (a *Authority) AddUser(u User) {
	a.t.Helper()
	u.Subject = or(u.Subject, or(u.Username, u.Email))
	if u.Subject == "" || u.Password == "" {
		a.t.Fatalf("guardtest: AddUser: a user needs a Password, and an Email or a Username")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, login := range []string{u.Email, u.Username} {
		if login != "" {
			a.users[login] = &u
		}
	}
}

// newCookie makes a session that is carried by a cookie. The caller holds mu.
func (a *Authority) newCookie(tok Token) (value string, c *guard.Claims) {
	c = a.claims(tok)
	c.ID = ""
	secret := make([]byte, 49)
	rand.Read(secret) // never fails, see crypto/rand
	// The prefix and the length are those of the real authority.
	value = "cs_" + base64.RawURLEncoding.EncodeToString(secret)
	a.issued[value] = c
	return value, c
}

// minPassword is how short a new password may be.
const minPassword = 8

// sessions answers POST /sessions: a sign-in for the server of a site.
func (a *Authority) sessions(w http.ResponseWriter, r *http.Request, p pass) {
	a.asked.sessions.Add(1)
	var in struct {
		Email       string `json:"email"`
		Username    string `json:"username"`
		Password    string `json:"password"`
		NewPassword string `json:"new_password"`
		Client      string `json:"client_id"`
		Replaces    string `json:"replaces"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		p.leave(r, func() { fail(w, http.StatusBadRequest, "invalid_request", "This is no JSON object") })
		return
	}
	value, c, u, code := a.signIn(or(in.Email, in.Username), in.Password, in.NewPassword, in.Client, in.Replaces)
	p.leave(r, func() {
		switch code {
		case "":
			writeJSON(w, http.StatusCreated, map[string]any{
				"session_cookie": value, "session_id": c.Session, "expires_in": c.Exp - time.Now().Unix(), "idle_timeout": 0,
				"user": map[string]any{
					"id": u.Subject, "email": u.Email, "username": u.Username, "name": u.Name, "roles": u.Roles, "status": "active",
				},
			})
		case "weak_password", "same_password":
			fail(w, http.StatusUnprocessableEntity, code, "The new password does not do")
		default:
			fail(w, http.StatusBadRequest, code, "This is not how to sign in")
		}
	})
}

// signIn returns the error_code of a sign-in that is refused.
func (a *Authority) signIn(login, password, newPassword, client, replaces string) (value string, c *guard.Claims, u User, code string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.users[login]
	switch {
	case known == nil || known.Password != password:
		return "", nil, u, "invalid_credentials"
	case !known.MustChange:
	case newPassword == "":
		return "", nil, u, "password_change_required"
	case newPassword == password:
		return "", nil, u, "same_password"
	case len(newPassword) < minPassword:
		return "", nil, u, "weak_password"
	default:
		known.Password, known.MustChange = newPassword, false
	}
	if old := a.issued[replaces]; old != nil && old.ID == "" && a.lives(old) {
		a.append(curfew.Revocation{Kind: curfew.KindSession, Target: old.Session, Reason: curfew.ReasonReplaced})
	}
	value, c = a.newCookie(Token{Subject: known.Subject, Client: client, Email: known.Email, Roles: known.Roles})
	return value, c, *known, ""
}

// logout answers POST /logout for the value of a session cookie. The credential
// is all that it asks for, as at the real authority.
func (a *Authority) logout(w http.ResponseWriter, r *http.Request) {
	p := a.enter(w, r)
	defer p.end()
	r = p.r
	a.asked.logouts.Add(1)
	var in struct {
		Cookie string `json:"session_cookie"`
		Scope  string `json:"scope"`
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			p.leave(r, func() { fail(w, http.StatusBadRequest, "invalid_request", "This is no JSON object") })
			return
		}
	} else {
		in.Cookie, in.Scope = r.PostFormValue("session_cookie"), r.PostFormValue("scope")
	}
	in.Scope = or(in.Scope, "local")
	before := time.Now()
	hub, seq, ended, ok := a.end(in.Cookie, in.Scope)
	if !ok {
		p.leave(r, func() { fail(w, http.StatusUnauthorized, "no_credential", "There is no genuine credential") })
		return
	}
	got := feed.Receipt{State: "enforced"}
	switch {
	case seq == 0: // nothing was ever ended
	case strings.Contains(r.Header.Get("Prefer"), "respond-async"):
		got = hub.Status(seq)
	default:
		// Where the call is a repetition it waits as the first one did.
		var err error
		if got, err = hub.Wait(r.Context(), seq); err != nil {
			p.leave(r, func() { fail(w, http.StatusServiceUnavailable, "unavailable", err.Error()) })
			return
		}
	}
	p.leave(r, func() {
		writeJSON(w, http.StatusOK, map[string]any{
			"message": "Logout successful", "timestamp": time.Now().UTC().Format(time.RFC3339), "scope": in.Scope, "sessions_ended": ended,
			"revocation": map[string]any{
				"seq": seq, "state": got.State, "verifiers": got.Verifiers, "took_ms": time.Since(before).Milliseconds(),
			},
		})
	})
}

// end ends what a logout asks for. ok is false if the credential is not genuine;
// one of a session that has ended already is, and ends nothing more.
func (a *Authority) end(cookie, scope string) (hub *feed.Hub, seq curfew.Seq, ended int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine := a.issued[cookie]
	if mine == nil || mine.ID != "" {
		return nil, 0, 0, false
	}
	if !a.lives(mine) {
		return a.hub, a.head().Seq, 0, true
	}
	others := map[string]bool{}
	for _, c := range a.issued {
		if c.Subject == mine.Subject && c.Session != mine.Session && a.lives(c) {
			others[c.Session] = true
		}
	}
	switch scope {
	case "global":
		a.append(curfew.Revocation{Kind: curfew.KindSubject, Target: mine.Subject, Reason: curfew.ReasonUserAll})
		ended = len(others) + 1
	case "others":
		for session := range others {
			a.append(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: curfew.ReasonUserOthers})
		}
		ended = len(others)
	default:
		a.append(curfew.Revocation{Kind: curfew.KindSession, Target: mine.Session, Reason: curfew.ReasonUser})
		ended = 1
	}
	return a.hub, a.head().Seq, ended, true
}
