package site

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew/guard"
)

// Credentials are what somebody types to sign in.
type Credentials struct {
	Login    string // e-mail address or user name
	Password string
	// NewPassword is needed after [ErrPasswordChangeRequired], and otherwise
	// ignored.
	NewPassword string
	// Remember keeps the session when the browser is closed. On a computer that
	// others use too, that is for them.
	Remember bool
	// InsecureURLTicket carries the session in the URL instead of a cookie, see
	// Config.InsecureURLTicket. The pages must then pass on [Site.URL]s, and so
	// must the redirect that follows.
	InsecureURLTicket bool
}

// Session is what a sign-in has begun.
type Session struct {
	ID   string
	User Person
	// ExpiresIn is how long it lasts at most, and IdleTimeout after how much
	// inactivity it ends; 0 means never for that.
	ExpiresIn, IdleTimeout time.Duration
}

// Person is whom a session is about, as the authority knows them.
type Person struct {
	ID       string // the subject
	Email    string
	Username string // empty if there is none
	Name     string // for people to read; empty if there is none
	Roles    []string
}

// maxAge is what browsers cap the life of a cookie at.
const maxAge = 400 * 24 * time.Hour

// SignIn begins a session and sets its cookie. The session is always a new one:
// a value that somebody has put into the browser beforehand is of no use to them
// afterwards. The session that the request came with ends, whoever's it was: with
// its cookie overwritten nobody else would end it. [User] is from here on who has
// signed in; the redirect to the page that they want is the handler's to write,
// see [Site.ReturnTo].
//
// A sign-in needs a request that the site's own page has posted
// ([guard.ErrCrossOrigin], [ErrMethod]): by a form on another site somebody could
// be signed in to the attacker's account, and would fill it with what is theirs
// (login CSRF). Other errors are [ErrBadCredentials], [ErrPasswordChangeRequired],
// [ErrWeakPassword], [ErrSamePassword], [ErrTooManySessions], a
// *[ThrottledError], [ErrInsecure], [ErrNoTicket] and [ErrUnavailable]. After all
// of them the browser is as before; after the last one nobody knows whether a
// session has begun and the one before has ended.
func (s *Site) SignIn(w http.ResponseWriter, r *http.Request, c Credentials) (*Session, error) {
	w.Header().Set("Cache-Control", "no-store")
	how, err := s.mayChange(r)
	if err != nil {
		return nil, err
	}
	if c.InsecureURLTicket && !s.cfg.InsecureURLTicket {
		return nil, ErrNoTicket
	}
	if c.Login == "" || c.Password == "" {
		return nil, ErrBadCredentials
	}
	v := s.visitOf(r)
	if v == nil {
		v = s.look(r)
	}
	in := signIn{
		Password: c.Password, NewPassword: c.NewPassword, Remember: c.Remember, ClientID: s.cfg.ClientID, UserAgent: r.UserAgent(),
	}
	if strings.Contains(c.Login, "@") {
		in.Email = c.Login
	} else {
		in.Username = c.Login
	}
	in.IP = s.person(r).ip
	old := upTo(maxValues, slices.DeleteFunc(v.values(), func(value string) bool { return !valueOK(value) }))
	if len(old) > 0 {
		in.Replaces = old[0]
	}
	// This request may belong to the session that ends.
	guard.Outlive(r.Context())
	begun, err := s.authority.begin(r.Context(), in)
	if err != nil {
		return nil, err
	}

	for i, value := range old {
		if i > 0 {
			s.replace(r, value)
			continue
		}
		// The authority has ended it with the sign-in. Services hear of it in a
		// moment, this one now.
		s.gone.replaced(value)
	}
	age := time.Duration(0)
	if c.Remember {
		age = time.Duration(begun.ExpiresIn) * time.Second
	}
	if c.InsecureURLTicket {
		if len(r.CookiesNamed(how.name)) > 0 {
			s.setCookie(w, how, "", 0) // it would be believed before the ticket
		}
	} else {
		s.setCookie(w, how, begun.Cookie, int(min(age, maxAge)/time.Second))
	}
	now := time.Now()
	v.enter(&guard.Claims{
		Subject: begun.User.ID, Session: begun.ID, Email: begun.User.Email, Roles: begun.User.Roles, ClientID: s.cfg.ClientID,
		Iat: now.Unix(), AuthTime: now.Unix(), Exp: now.Unix() + begun.ExpiresIn,
	}, begun.Cookie, c.InsecureURLTicket)
	u := begun.User
	return &Session{
		ID: begun.ID, User: Person{ID: u.ID, Email: u.Email, Username: u.Username, Name: u.Name, Roles: u.Roles},
		ExpiresIn: time.Duration(begun.ExpiresIn) * time.Second, IdleTimeout: time.Duration(begun.IdleTimeout) * time.Second,
	}, nil
}

// person says who makes a request.
func (s *Site) person(r *http.Request) person {
	p := person{agent: r.UserAgent()}
	if addr := s.addresses.ClientAddr(r); addr.IsValid() {
		p.ip = addr.String()
	}
	return p
}

// mayChange returns an error if a request must not sign anybody in or out.
func (s *Site) mayChange(r *http.Request) (carrier, error) {
	if safe(r) {
		return carrier{}, ErrMethod
	}
	if crossOrigin.Check(r) != nil {
		return carrier{}, guard.ErrCrossOrigin
	}
	how, err := s.carrier(r)
	if err != nil {
		s.complain("somebody tried to sign in or out over it, and was refused", r)
	}
	return how, err
}

// replace ends a session in whose place another one has come, which was not the
// only one. The sign-in does not wait for services that do not answer, nor fail
// because of it.
func (s *Site) replace(r *http.Request, value string) {
	by := s.person(r)
	entry := s.gone.add(value, "local", by)
	receipt, err := s.authority.end(context.WithoutCancel(r.Context()), value, "local", by, true)
	s.gone.answered(entry, "local", receipt, err)
}
