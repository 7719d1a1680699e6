package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/store"
)

// httpError is an error as the wire shows it. Msg is for the user; Err is for
// the log.
type httpError struct {
	Status int
	Code   string // error_code, stable
	Msg    string
	OAuth  string // member error of RFC 6749 on the OAuth endpoints; empty = Code
	Bearer string // error of the WWW-Authenticate challenge; "none" = a bare challenge
	Header http.Header
	// Reason is why a session ended, for the browser that had it.
	Reason curfew.Reason
	Err    error
}

func (e *httpError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return e.Msg
}

func (e *httpError) Unwrap() error { return e.Err }

var errInternal = &httpError{Status: http.StatusInternalServerError, Code: "internal_error", Msg: "Internal server error", OAuth: "server_error"}

func badRequest(format string, args ...any) error {
	return &httpError{Status: http.StatusBadRequest, Code: "invalid_request", Msg: fmt.Sprintf(format, args...), OAuth: "invalid_request"}
}

var errNoCredential = &httpError{
	Status: http.StatusUnauthorized, Code: "no_credential", Msg: "A bearer token is required", OAuth: "invalid_client", Bearer: "none",
}

// wire says how each error of the domain looks from outside.
func wire(err error) *httpError {
	var known *httpError
	if errors.As(err, &known) {
		return known
	}
	var throttled *authority.ThrottledError
	if errors.As(err, &throttled) {
		h := http.Header{}
		setLimit(h, throttled.Verdict)
		h.Set("Retry-After", seconds(throttled.Reset))
		return &httpError{Status: http.StatusTooManyRequests, Code: "too_many_requests", Msg: "Too many requests; try again later", OAuth: "temporarily_unavailable", Header: h}
	}
	for _, m := range mapping {
		if errors.Is(err, m.err) {
			e := m.as
			e.Err = err
			if e.Msg == "" {
				e.Msg = sentence(err.Error())
			}
			var ended *authority.EndedError
			if errors.As(err, &ended) {
				e.Reason = ended.Reason
			}
			return &e
		}
	}
	e := *errInternal
	e.Err = err
	return &e
}

// mapping is tried in order: an error that wraps several is the first of them.
var mapping = []struct {
	err error
	as  httpError
}{
	{store.ErrUnavailable, unavailable("store_unavailable", "The store cannot serve now; nothing was changed")},
	{store.ErrUnknownOutcome, unavailable("outcome_unknown", "It is unknown whether this was carried out; repeat the call")},
	{password.ErrBusy, unavailable("busy", "Too many logins at once; try again")},
	{feed.ErrSnapshotRequired, httpError{Status: 409, Code: "snapshot_required", Msg: "The log cannot be continued from there; take a snapshot"}},
	{feed.ErrBadPoll, httpError{Status: 400, Code: "invalid_request"}},
	{feed.ErrTooManyVerifiers, unavailable("too_many_verifiers", "Too many verifiers")},
	{context.DeadlineExceeded, unavailable("timeout", "This took too long and nothing is promised; repeat the call")},
	{context.Canceled, unavailable("cancelled", "The call was cancelled")},
	{authority.ErrBadCredentials, httpError{Status: 400, Code: "invalid_credentials", Msg: "Invalid login credentials", OAuth: "invalid_grant"}},
	{authority.ErrPasswordChangeRequired, httpError{Status: 400, Code: "password_change_required", Msg: "A new password is required: repeat the login with new_password", OAuth: "invalid_grant"}},
	{authority.ErrInvalidGrant, httpError{Status: 400, Code: "invalid_grant", Msg: "The refresh token is invalid, expired or revoked", OAuth: "invalid_grant"}},
	{authority.ErrTooManySessions, httpError{Status: 403, Code: "too_many_sessions", Msg: "Too many sessions: log out somewhere else first", OAuth: "invalid_grant"}},
	{authority.ErrUnknownClient, httpError{Status: 400, Code: "unknown_client", Msg: "This client_id may not log in here", OAuth: "invalid_client"}},
	{authority.ErrInvalidScope, httpError{Status: 400, Code: "invalid_scope", Msg: "This scope may not be asked for", OAuth: "invalid_scope"}},
	{authority.ErrReauthRequired, httpError{Status: 401, Code: "reauthentication_required", Msg: "Give current_password, or reauthenticate first", Bearer: "insufficient_user_authentication"}},
	{authority.ErrSamePassword, httpError{Status: 422, Code: "same_password", Msg: "The new password must differ from the old one"}},
	{authority.ErrInvalidUser, httpError{Status: 422, Code: "invalid_user"}},
	{authority.ErrInvalidName, httpError{Status: 422, Code: "invalid_name", Msg: "A name has 1 to 64 letters, digits and ._-:/"}},
	{authority.ErrUnknownCanary, httpError{Status: 404, Code: "not_found", Msg: "There is no such canary"}},
	{authority.ErrUnknownKey, httpError{Status: 404, Code: "not_found", Msg: "There is no such key"}},
	{password.ErrTooShort, httpError{Status: 422, Code: "weak_password", Msg: "The password is too short: at least 8 characters"}},
	{password.ErrTooLong, httpError{Status: 422, Code: "weak_password", Msg: "The password is too long: at most 1024 bytes"}},
	{password.ErrInvalid, httpError{Status: 422, Code: "weak_password", Msg: "The password has characters that are not allowed"}},
	{store.ErrNotFound, httpError{Status: 404, Code: "not_found", Msg: "Not found"}},
	{store.ErrCompacted, httpError{Status: 410, Code: "compacted", Msg: "These entries are no longer kept"}},
	{store.ErrExists, httpError{Status: 409, Code: "exists", Msg: "This name is taken"}},
	{store.ErrConflict, httpError{Status: 409, Code: "conflict", Msg: "Changed meanwhile; repeat the call"}},
	{curfew.ErrExpired, httpError{Status: 401, Code: "token_expired", Msg: "Token has expired", Bearer: "invalid_token"}},
	{curfew.ErrRevoked, httpError{Status: 401, Code: "session_revoked", Msg: "Token has been invalidated", Bearer: "invalid_token"}},
	{curfew.ErrInvalidToken, httpError{Status: 401, Code: "invalid_token", Msg: "Token is invalid", Bearer: "invalid_token"}},
	{authority.ErrNoCredential, httpError{Status: 401, Code: "no_credential", Msg: "A bearer token is required", Bearer: "none"}},
	{seal.ErrWrongKey, httpError{Status: 500, Code: "internal_error", Msg: "Internal server error"}},
}

func unavailable(code, msg string) httpError {
	return httpError{
		Status: http.StatusServiceUnavailable, Code: code, Msg: msg, OAuth: "temporarily_unavailable",
		Header: http.Header{"Retry-After": {"1"}},
	}
}

// oauthPaths answer errors with the members of RFC 6749 §5.2 as well.
var oauthPaths = map[string]bool{"/token": true, "/revoke": true, "/introspect": true}

type errorBody struct {
	Code             int    `json:"code"`
	ErrorCode        string `json:"error_code"`
	Msg              string `json:"msg"`
	Reason           string `json:"reason,omitempty"`
	Error            string `json:"error,omitempty"`
	ErrorDescription string `json:"error_description,omitempty"`
}

func (s *Server) writeError(w *recorder, r *http.Request, err error, show errorWriter) {
	e := wire(err)
	if e.Status >= 500 {
		level := slog.LevelError
		if errors.Is(err, password.ErrBusy) || errors.Is(err, context.Canceled) {
			level = slog.LevelDebug // load and clients that hang up are in the metrics
		}
		s.logger.Log(r.Context(), level, "call failed", "method", r.Method, "path", r.URL.Path, "status", e.Status, "err", err)
	}
	if w.started {
		// Too late for another answer. The connection is broken off, or the
		// client would take half a backup for a whole one.
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("Content-Disposition") // an error is no download
	for k, v := range e.Header {
		w.Header()[k] = v
	}
	show(w, r, e)
}

// asJSON is the errorWriter of the API.
func asJSON(w http.ResponseWriter, r *http.Request, e *httpError) {
	if e.Bearer != "" {
		w.Header().Set("WWW-Authenticate", challenge(e))
	}
	body := errorBody{Code: e.Status, ErrorCode: e.Code, Msg: e.Msg, Reason: string(e.Reason)}
	if oauthPaths[r.URL.Path] {
		body.Error, body.ErrorDescription = e.OAuth, plain(e.Msg)
		if body.Error == "" {
			body.Error = e.Code
		}
		w.Header().Set("Pragma", "no-cache")
	}
	writeJSON(w, e.Status, body)
}

// challenge is the WWW-Authenticate header of RFC 6750 §3. A request without a
// credential gets no error attribute.
func challenge(e *httpError) string {
	if e.Bearer == "none" {
		return `Bearer realm="curfew"`
	}
	return fmt.Sprintf(`Bearer realm="curfew", error=%q, error_description=%q`, e.Bearer, plain(e.Msg))
}

// plain keeps s to what RFC 6749 §5.2 allows in error_description.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"code":500,"error_code":"internal_error","msg":"Internal server error"}`)
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(b) + 1)}
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// setLimit writes the headers of a limit, in the form that most clients read:
// three integers, the reset in seconds from now.
func setLimit(h http.Header, v limit.Verdict) {
	if v.Limit <= 0 {
		return
	}
	h.Set("RateLimit-Limit", strconv.Itoa(v.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(v.Remaining))
	h.Set("RateLimit-Reset", seconds(v.Reset))
}

// seconds rounds up, so that whoever waits as long is not too early.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}
