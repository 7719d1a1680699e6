package server

import (
	"net/http"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
)

type tokenBody struct {
	AccessToken  string    `json:"access_token"`
	TokenType    string    `json:"token_type"`
	ExpiresIn    int64     `json:"expires_in"` // seconds
	ExpiresAt    int64     `json:"expires_at"` // seconds since 1970
	RefreshToken string    `json:"refresh_token"`
	LogoutToken  string    `json:"logout_token"`
	Scope        string    `json:"scope,omitempty"`
	SessionID    string    `json:"session_id"`
	SessionIn    int64     `json:"session_expires_in"` // seconds
	IdleTimeout  int64     `json:"idle_timeout"`       // seconds, 0 = none
	User         *userBody `json:"user,omitempty"`
}

type userBody struct {
	ID        string   `json:"id"`
	Email     string   `json:"email"`
	Username  string   `json:"username,omitempty"`
	Name      string   `json:"name,omitempty"`
	Roles     []string `json:"roles"`
	Status    string   `json:"status"`
	CreatedAt string   `json:"created_at"`
	UpdatedAt string   `json:"updated_at"`
}

func toUser(u store.User) *userBody {
	b := &userBody{
		ID: u.ID, Email: u.Email, Username: u.Username, Name: u.Name, Roles: u.Roles, Status: string(u.Status),
		CreatedAt: timestamp(u.CreatedAt), UpdatedAt: timestamp(u.UpdatedAt),
	}
	if b.Roles == nil {
		b.Roles = []string{}
	}
	return b
}

func (s *Server) toTokens(i authority.Issued) tokenBody {
	return tokenBody{
		AccessToken: i.AccessToken, TokenType: "Bearer", ExpiresIn: int64(i.ExpiresIn.Round(time.Second) / time.Second),
		ExpiresAt: i.ExpiresAt.Unix(), RefreshToken: i.RefreshToken, Scope: i.Session.Scope, SessionID: i.Session.ID,
		LogoutToken: i.LogoutToken, SessionIn: whole(i.Session.ExpiresAt.Sub(s.authority.Now())), IdleTimeout: whole(s.authority.IdleTimeout()),
		User: toUser(i.User),
	}
}

// timestamp is RFC 3339 in UTC, with milliseconds where there are any.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
}

// token serves POST /token: the first-party login with a password, and the
// refresh of RFC 6749 §6.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var grant, email, username, pw, newPW, refresh, client, scope string
	if err := p.strs(map[string]*string{
		"grant_type": &grant, "email": &email, "username": &username, "password": &pw, "new_password": &newPW,
		"refresh_token": &refresh, "client_id": &client, "scope": &scope,
	}); err != nil {
		return err
	}
	// The grant type may stand in the query. Nothing else may: queries are
	// logged by everything that they pass through.
	if q := r.URL.Query()["grant_type"]; len(q) > 0 {
		if len(q) > 1 || grant != "" && grant != q[0] {
			return badRequest("grant_type is given twice")
		}
		grant = q[0]
	}
	var issued authority.Issued
	switch grant {
	case "":
		return badRequest("grant_type is missing")
	case "password":
		if email != "" && username != "" {
			return badRequest("Give email or username, not both")
		}
		if refresh != "" {
			return badRequest("refresh_token does not belong to this grant type")
		}
		if email+username == "" || pw == "" {
			return badRequest("email or username, and password are required")
		}
		issued, err = s.authority.Login(r.Context(), authority.LoginInput{
			Login: email + username, Password: pw, NewPassword: newPW, ClientID: client, Scope: scope, From: s.origin(r),
		})
	case "refresh_token":
		if refresh == "" {
			return badRequest("refresh_token is missing")
		}
		var active bool
		if active, err = p.flag("active"); err != nil {
			return err
		}
		issued, err = s.authority.Refresh(r.Context(), authority.RefreshInput{
			Token: refresh, ClientID: client, Scope: scope, Active: active, From: s.origin(r),
		})
	default:
		return &httpError{Status: 400, Code: "unsupported_grant_type", Msg: "grant_type is password or refresh_token", OAuth: "unsupported_grant_type"}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache") // RFC 6749 §5.1
	writeJSON(w, http.StatusOK, s.toTokens(issued))
	return nil
}

// reauthenticate serves POST /reauthenticate.
func (s *Server) reauthenticate(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	pw, err := p.str("password")
	if err != nil {
		return err
	}
	if pw == "" {
		return badRequest("password is missing")
	}
	issued, err := s.authority.Reauthenticate(r.Context(), c.Claims, pw, s.origin(r))
	if err != nil {
		return err
	}
	if issued.AccessToken == "" {
		writeJSON(w, http.StatusOK, s.toCookieSession(issued))
		return nil
	}
	writeJSON(w, http.StatusOK, s.toTokens(issued))
	return nil
}
