package server

import (
	"net/http"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
)

type meBody struct {
	*userBody
	SessionID string `json:"session_id"`
	ClientID  string `json:"client_id"`
	ExpiresAt int64  `json:"expires_at"`
}

// user serves GET /user.
func (s *Server) user(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	u, err := s.authority.User(r.Context(), c.Claims)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, meBody{userBody: toUser(u), SessionID: c.Session, ClientID: c.ClientID, ExpiresAt: c.Exp})
	return nil
}

// changedBody is the answer to a change of password. The tokens are those of
// the session that was kept.
type changedBody struct {
	logoutBody
	User   *userBody  `json:"user,omitempty"`
	Tokens *tokenBody `json:"tokens,omitempty"`
}

// updateUser serves PUT /user: a new password, or the profile.
func (s *Server) updateUser(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var pw, current, name, email string
	if err := p.strs(map[string]*string{"password": &pw, "current_password": &current, "name": &name, "email": &email}); err != nil {
		return err
	}
	if pw != "" {
		if p.has("name") || p.has("email") {
			return badRequest("Change the password or the profile, not both in one call")
		}
		return s.changePassword(w, r, c, p, pw, current)
	}
	change := authority.ProfileChange{Current: current, From: s.origin(r)}
	if p.has("name") {
		change.Name = &name
	}
	if p.has("email") {
		change.Email = &email
	}
	if change.Name == nil && change.Email == nil {
		return badRequest("There is nothing to change: give password, name or email")
	}
	u, err := s.authority.ChangeProfile(r.Context(), c.Claims, change)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toUser(u))
	return nil
}

func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, c caller, p params, pw, current string) error {
	keep, err := p.flag("keep_current")
	if err != nil {
		return err
	}
	receipt, issued, err := s.authority.ChangePassword(r.Context(), c.Claims, authority.PasswordChange{
		Password: pw, Current: current, KeepCurrent: keep, Cookie: c.Cookie, From: s.origin(r),
	})
	if err != nil {
		return err
	}
	body := changedBody{logoutBody: s.ended("Password changed", receipt)}
	switch {
	case issued != nil && issued.Cookie != "":
		body.User = toUser(issued.User)
		s.beginCookie(w, r, *issued)
	case issued != nil:
		tokens := s.toTokens(*issued)
		tokens.User = nil
		body.Tokens, body.User = &tokens, toUser(issued.User)
	case c.Cookie != "":
		s.endCookie(w, r)
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

// sessionBody is a session as its owner and operators see it.
type sessionBody struct {
	ID         string `json:"id"`
	Subject    string `json:"subject,omitempty"`
	ClientID   string `json:"client_id"`
	Device     string `json:"device"`
	UserAgent  string `json:"user_agent,omitempty"`
	IP         string `json:"ip,omitempty"`
	CreatedAt  string `json:"created_at"`
	LastSeenAt string `json:"last_seen_at"`
	ExpiresAt  string `json:"expires_at"`
	EndedAt    string `json:"ended_at,omitempty"`
	EndReason  string `json:"end_reason,omitempty"`
	EndedSeq   int64  `json:"ended_seq,omitempty"`
	Current    bool   `json:"current"`
}

func toSession(x curfew.Session, current string) sessionBody {
	return sessionBody{
		ID: x.ID, ClientID: x.ClientID, Device: x.Device, UserAgent: x.UserAgent, IP: x.IP,
		CreatedAt: timestamp(x.CreatedAt), LastSeenAt: timestamp(x.LastSeenAt), ExpiresAt: timestamp(x.ExpiresAt),
		EndedAt: timestamp(x.EndedAt), EndReason: string(x.EndReason), EndedSeq: int64(x.EndedSeq), Current: x.ID == current,
	}
}

// sessions serves GET /sessions: my devices.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	rows, err := s.authority.OwnSessions(r.Context(), c.Claims)
	if err != nil {
		return err
	}
	list := make([]sessionBody, len(rows))
	for i, x := range rows {
		list[i] = toSession(x, c.Session)
	}
	writeJSON(w, http.StatusOK, map[string]any{"sessions": list})
	return nil
}

// endSession serves DELETE /sessions/{id}.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	receipt, err := s.authority.EndOwnSession(r.Context(), c.Claims, r.PathValue("id"), s.origin(r))
	if err != nil {
		return err
	}
	if c.Cookie != "" && c.Session == r.PathValue("id") {
		s.endCookie(w, r)
	}
	writeJSON(w, http.StatusOK, s.ended(msgLogout, receipt))
	return nil
}

type introspectionBody struct {
	Active    bool     `json:"active"`
	TokenType string   `json:"token_type,omitempty"`
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  []string `json:"aud,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Username  string   `json:"username,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	Exp       int64    `json:"exp,omitempty"`
	Iat       int64    `json:"iat,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ID        string   `json:"jti,omitempty"`
	Session   string   `json:"sid,omitempty"`
	Ver       int64    `json:"ver,omitempty"`
	Email     string   `json:"email,omitempty"`
	Roles     []string `json:"roles,omitempty"`
}

// introspect serves POST /introspect (RFC 7662) for holders of an operator's or
// verifier's key. Without one it would be an oracle for stolen tokens.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	key, err := bearer(r)
	if err != nil {
		return err
	}
	if key == "" && !s.openFeed {
		return errNoCredential
	}
	if _, ok := s.authority.CheckAPIKey(key); !ok && !s.openFeed {
		return &httpError{Status: 401, Code: "invalid_token", Msg: "Introspection needs an operator's or verifier's key", OAuth: "invalid_client", Bearer: "invalid_token"}
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	raw, err := p.str("token")
	if err != nil {
		return err
	}
	if raw == "" {
		return badRequest("token is missing")
	}
	found, err := s.authority.Introspect(r.Context(), raw)
	if err != nil {
		return err
	}
	if found == nil {
		writeJSON(w, http.StatusOK, introspectionBody{})
		return nil
	}
	c := found.Claims
	tokenType := "Bearer"
	if found.TokenType != "access_token" {
		tokenType = found.TokenType
	}
	writeJSON(w, http.StatusOK, introspectionBody{
		Active: true, TokenType: tokenType, Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: c.ClientID,
		Username: found.Username, Scope: c.Scope, Exp: c.Exp, Iat: c.Iat, AuthTime: c.AuthTime, ID: c.ID, Session: c.Session, Roles: c.Roles,
		Ver: int64(c.Ver), Email: c.Email,
	})
	return nil
}

// jwks serves the public keys. Caches may keep them: a revoked key does not
// depend on it, it reaches the verifiers through the log.
func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "public, max-age=300, stale-if-error=86400")
	w.Header().Set("Content-Type", "application/json")
	w.Write(s.authority.JWKS())
	return nil
}

// metadata serves RFC 8414, with what is switched on and nothing else.
func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) error {
	iss := s.authority.Issuer()
	doc := map[string]any{
		"issuer":                                     iss,
		"token_endpoint":                             iss + "/token",
		"token_endpoint_auth_methods_supported":      []string{"none"},
		"grant_types_supported":                      []string{"password", "refresh_token"},
		"response_types_supported":                   []string{"none"},
		"jwks_uri":                                   iss + "/.well-known/jwks.json",
		"revocation_endpoint":                        iss + "/revoke",
		"revocation_endpoint_auth_methods_supported": []string{"none"},
		"introspection_endpoint":                     iss + "/introspect",
	}
	if scopes := s.authority.Scopes(); len(scopes) > 0 {
		doc["scopes_supported"] = scopes
	}
	w.Header().Set("Cache-Control", "public, max-age="+seconds(5*time.Minute))
	writeJSON(w, http.StatusOK, doc)
	return nil
}
