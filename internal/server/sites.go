package server

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/netaddr"
)

// cookieSessionBody is a session that a cookie carries. The cookie's value is
// in it only where a site's own server has asked for it: pages never see it.
type cookieSessionBody struct {
	SessionCookie string    `json:"session_cookie,omitempty"`
	SessionID     string    `json:"session_id"`
	ExpiresIn     int64     `json:"expires_in"`   // seconds
	IdleTimeout   int64     `json:"idle_timeout"` // seconds, 0 = none
	User          *userBody `json:"user"`
}

func (s *Server) toCookieSession(i authority.Issued) cookieSessionBody {
	return cookieSessionBody{
		SessionCookie: i.Cookie, SessionID: i.Session.ID, User: toUser(i.User),
		ExpiresIn: whole(i.Session.ExpiresAt.Sub(s.authority.Now())), IdleTimeout: whole(s.authority.IdleTimeout()),
	}
}

// beginSession serves POST /sessions: the sign-in of a site that has a login
// page of its own, called by its server. It needs a verifier's key, because the
// limits on failed logins count by the address that the site gives.
func (s *Server) beginSession(w http.ResponseWriter, r *http.Request) error {
	key, err := bearer(r)
	if err != nil {
		return err
	}
	if key == "" && !s.openFeed {
		return errNoCredential
	}
	if _, ok := s.authority.CheckAPIKey(key); !ok && !s.openFeed {
		return &httpError{Status: http.StatusUnauthorized, Code: "invalid_token", Msg: "Signing people in needs an operator's or verifier's key", Bearer: "invalid_token"}
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var email, username, pw, newPW, client, old string
	if err := p.strs(map[string]*string{
		"email": &email, "username": &username, "password": &pw, "new_password": &newPW, "client_id": &client,
		"replaces": &old,
	}); err != nil {
		return err
	}
	remember, err := p.flag("remember")
	if err != nil {
		return err
	}
	if email != "" && username != "" {
		return badRequest("Give email or username, not both")
	}
	if email+username == "" || pw == "" {
		return badRequest("email or username, and password are required")
	}
	from, err := s.onBehalf(r, p)
	if err != nil {
		return err
	}
	issued, err := s.authority.Login(r.Context(), authority.LoginInput{
		Login: email + username, Password: pw, NewPassword: newPW, ClientID: client, From: from,
		Cookie: true, Remember: remember, Replaces: old,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, s.toCookieSession(issued))
	return nil
}

// verifierKeyHeader has a verifier's key where the Authorization header is for the
// credential of whoever logs out.
const verifierKeyHeader = "Curfew-Verifier-Key"

// onBehalf is origin for calls that a site's server makes for somebody: it says
// whose address and browser it is. The caller has checked its key.
func (s *Server) onBehalf(r *http.Request, p params) (authority.Origin, error) {
	from := s.origin(r)
	var ip, agent string
	if err := p.strs(map[string]*string{"ip": &ip, "user_agent": &agent}); err != nil {
		return from, err
	}
	if ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return from, badRequest("ip is no IP address")
		}
		from.IP, from.LimitKey = addr.Unmap().WithZone("").String(), netaddr.LimitKey(addr)
	}
	if agent != "" {
		from.UserAgent = strings.ToValidUTF8(agent, "?")
	}
	return from, nil
}

// leaver is where a logout comes from. Without a key that is good a site's word
// for the address counts for nothing, and the logout goes on: the audit trail
// names the connection then.
func (s *Server) leaver(r *http.Request, p params) (authority.Origin, error) {
	claimed, err := s.onBehalf(r, p)
	if err != nil {
		return claimed, err
	}
	if _, ok := s.authority.CheckAPIKey(r.Header.Get(verifierKeyHeader)); ok || s.openFeed {
		return claimed, nil
	}
	return s.origin(r), nil
}
