package server

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/feed"
)

const (
	msgLogout    = "Logout successful"
	msgLogoutAll = "Logged out from all devices"
	msgRevoked   = "Token revoked successfully"
)

// logoutBody is the answer to everything that ends something.
type logoutBody struct {
	Message       string         `json:"message"`
	Timestamp     string         `json:"timestamp"`
	Scope         string         `json:"scope,omitempty"`
	SessionsEnded int64          `json:"sessions_ended"`
	Revocation    revocationBody `json:"revocation"`
}

type revocationBody struct {
	Seq       int64  `json:"seq"`
	State     string `json:"state"`
	Verifiers int    `json:"verifiers"`
	TookMS    int64  `json:"took_ms"`
	// Unacknowledged are the verifiers that did not answer, and when the last
	// of them has lost the right to.
	Unacknowledged []lapseBody `json:"unacknowledged,omitempty"`
}

type lapseBody struct {
	Verifier   string `json:"verifier"`
	Instance   string `json:"instance"`
	LeaseUntil string `json:"lease_until"`
}

func toLapses(list []feed.Lapse) []lapseBody {
	out := make([]lapseBody, 0, len(list))
	for _, l := range list {
		out = append(out, lapseBody{l.Verifier, l.Instance, timestamp(l.LeaseUntil)})
	}
	return out
}

func toReceipt(r authority.Receipt) revocationBody {
	return revocationBody{
		Seq: int64(r.Seq), State: r.State, Verifiers: r.Verifiers,
		TookMS: int64(r.Took.Round(time.Millisecond) / time.Millisecond), Unacknowledged: toLapses(r.Unacknowledged),
	}
}

func (s *Server) ended(msg string, r authority.Receipt) logoutBody {
	return logoutBody{Message: msg, Timestamp: s.authority.Now().Format(time.RFC3339), SessionsEnded: r.Ended, Revocation: toReceipt(r)}
}

// logout serves POST /logout.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	return s.logoutScope(w, r, "")
}

// logoutAll serves POST /logout/all.
func (s *Server) logoutAll(w http.ResponseWriter, r *http.Request) error {
	return s.logoutScope(w, r, authority.ScopeGlobal)
}

func (s *Server) logoutScope(w http.ResponseWriter, r *http.Request, scope authority.LogoutScope) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	if scope == "" {
		if scope, err = logoutScope(r, p); err != nil {
			return err
		}
	}
	from, err := s.leaver(r, p)
	if err != nil {
		return err
	}
	in := authority.LogoutInput{Scope: scope, From: from}
	// Every carrier counts: a logout that looked at one and ignored another
	// would leave a session alive behind a success (CVE-2026-86473).
	raw, err := bearer(r)
	if err != nil {
		return err
	}
	refresh, err := p.str("refresh_token")
	if err != nil {
		return err
	}
	logout, err := p.str("logout_token")
	if err != nil {
		return err
	}
	value, err := p.str("session_cookie")
	if err != nil {
		return err
	}
	cookies, err := s.sessionCookies(r)
	if err != nil {
		return err
	}
	if len(cookies) > 0 && crossOrigin.Check(r) != nil {
		return errCrossOrigin
	}
	in.Cookies = cookies
	for _, credential := range []string{raw, refresh, logout, value} {
		switch {
		case credential == "":
		case authority.IsRefreshToken(credential):
			in.Refresh = append(in.Refresh, credential)
		case authority.IsLogoutToken(credential):
			in.Logout = append(in.Logout, credential)
		case authority.IsCookie(credential), credential == value:
			in.Cookies = append(in.Cookies, credential)
		default:
			in.Access = append(in.Access, credential)
		}
	}
	if len(cookies) > 0 && scope != authority.ScopeOthers {
		// Whatever becomes of it on the server: the next person at this computer
		// must not find it.
		s.endCookie(w, r)
	}
	ctx := r.Context()
	if slices.ContainsFunc(r.Header.Values("Prefer"), func(v string) bool { return strings.Contains(v, "respond-async") }) {
		ctx = authority.RespondAsync(ctx)
		w.Header().Set("Preference-Applied", "respond-async") // RFC 7240
	}
	out, err := s.authority.Logout(ctx, in)
	setLimit(w.Header(), out.Limit)
	if err != nil {
		return err
	}
	body := s.ended(msgLogout, out.Receipt)
	if out.Scope == authority.ScopeGlobal {
		body.Message = msgLogoutAll
	}
	body.Timestamp, body.Scope = out.At.Format(time.RFC3339), string(out.Scope)
	writeJSON(w, http.StatusOK, body)
	return nil
}

// logoutScope reads the scope of the body or of the query.
func logoutScope(r *http.Request, p params) (authority.LogoutScope, error) {
	text, err := p.str("scope")
	if err != nil {
		return "", err
	}
	if q := r.URL.Query()["scope"]; len(q) > 0 {
		if len(q) > 1 || text != "" && text != q[0] {
			return "", badRequest("scope is given twice")
		}
		text = q[0]
	}
	switch scope := authority.LogoutScope(text); scope {
	case "":
		return authority.ScopeLocal, nil // never wider than what was asked for
	case authority.ScopeLocal, authority.ScopeOthers, authority.ScopeGlobal:
		return scope, nil
	}
	return "", badRequest("scope is local, others or global")
}

// revoke serves POST /revoke (RFC 7009). An unknown token is a success: what
// the caller wants is the case.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var raw, client string
	// token_type_hint is of no use: both kinds of token say what they are.
	if err := p.strs(map[string]*string{"token": &raw, "client_id": &client}); err != nil {
		return err
	}
	if raw == "" {
		return badRequest("token is missing")
	}
	receipt, err := s.authority.RevokeToken(r.Context(), raw, client, s.origin(r))
	if err != nil {
		return err
	}
	if !p.IsJSON() {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if receipt.State == "" {
		receipt.State = authority.StateEnforced // there was nothing to do
	}
	writeJSON(w, http.StatusOK, s.ended(msgRevoked, receipt))
	return nil
}
