package site

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
)

// authority asks the authority to begin and to end sessions.
type authority struct {
	base, key string
	timeout   time.Duration
	http      *http.Client
}

// newAuthority returns a client of the authority that a guard follows. The guard
// has checked the address.
func newAuthority(cfg guard.Config, timeout time.Duration) *authority {
	return &authority{base: strings.TrimRight(cfg.Authority, "/"), key: cfg.Key, timeout: timeout, http: &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 5 * time.Second}).DialContext,
			TLSClientConfig:     cfg.TLS,
			TLSHandshakeTimeout: 2 * time.Second,
			// HTTP/1.1 only: a call must not wait on a connection of HTTP/2 that
			// has died silently.
			TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     30 * time.Second,
		},
		// A redirect would carry passwords and the key somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// apiError is an answer of the authority other than success.
type apiError struct {
	status     int
	code       string
	retryAfter time.Duration
}

func (e *apiError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("the authority answers %d", e.status)
	}
	return fmt.Sprintf("the authority answers %d: %s", e.status, e.code)
}

// maxAnswer is far more than the authority says about a session, in bytes.
const maxAnswer = 1 << 20

// post makes a call. Its error wraps [ErrUnavailable] unless it is an apiError.
func (a *authority) post(ctx context.Context, path string, header http.Header, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "curfew-site")
	resp, err := a.http.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: reading the answer: %w", ErrUnavailable, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
		if err := json.Unmarshal(text, out); err != nil {
			// A page of something in between, perhaps. It says nothing about
			// what has happened.
			return fmt.Errorf("%w: its answer is no JSON", ErrUnavailable)
		}
		return nil
	}
	var said struct {
		Code string `json:"error_code"`
	}
	_ = json.Unmarshal(text, &said) // what is no JSON comes from something in between
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return &apiError{resp.StatusCode, said.Code, time.Duration(max(seconds, 1)) * time.Second}
}

// signIn is what a sign-in says to the authority.
type signIn struct {
	Email       string `json:"email,omitempty"`
	Username    string `json:"username,omitempty"`
	Password    string `json:"password"`
	NewPassword string `json:"new_password,omitempty"`
	Remember    bool   `json:"remember,omitempty"`
	ClientID    string `json:"client_id,omitempty"`
	Replaces    string `json:"replaces,omitempty"` // a cookie's value, whose session ends with the sign-in
	IP          string `json:"ip,omitempty"`
	UserAgent   string `json:"user_agent,omitempty"`
}

// session is what the authority says to that.
type session struct {
	Cookie      string `json:"session_cookie"`
	ID          string `json:"session_id"`
	ExpiresIn   int64  `json:"expires_in"`   // seconds
	IdleTimeout int64  `json:"idle_timeout"` // seconds
	User        struct {
		ID       string   `json:"id"`
		Email    string   `json:"email"`
		Username string   `json:"username"`
		Name     string   `json:"name"`
		Roles    []string `json:"roles"`
	} `json:"user"`
}

// begin begins a session.
func (a *authority) begin(ctx context.Context, in signIn) (session, error) {
	header := http.Header{}
	if a.key != "" {
		header.Set("Authorization", "Bearer "+a.key)
	}
	var out session
	err := a.post(ctx, "/sessions", header, in, &out)
	var said *apiError
	switch {
	case err == nil && (out.ID == "" || out.User.ID == "" || !valueOK(out.Cookie)):
		return out, fmt.Errorf("%w: its answer to a sign-in is none", ErrUnavailable)
	case !errors.As(err, &said):
		return out, err
	}
	switch said.code {
	case "invalid_credentials":
		return out, ErrBadCredentials
	case "password_change_required":
		return out, ErrPasswordChangeRequired
	case "weak_password":
		return out, ErrWeakPassword
	case "same_password":
		return out, ErrSamePassword
	case "too_many_sessions":
		return out, ErrTooManySessions
	}
	if said.status == http.StatusTooManyRequests {
		return out, &ThrottledError{said.retryAfter}
	}
	// A key that is wrong, too: nothing that the person could do about.
	return out, fmt.Errorf("%w: %w", ErrUnavailable, said)
}

// Receipt says what became of a sign-out.
type Receipt struct {
	// Ended is how many sessions have ended by it. 0 means that nobody was
	// signed in any more.
	Ended int
	// State is "enforced" if every service refuses what has ended, and
	// "recorded" if the authority does and services may not yet; empty if there
	// was nothing to end.
	State string
	Seq   curfew.Seq // the position in the log of revocations
	// Verifiers is how many services refuse it, and Took how long that has taken.
	Verifiers int
	Took      time.Duration
}

// and adds up two receipts.
func (r Receipt) and(other Receipt) Receipt {
	if r.State != "recorded" && other.State != "" {
		r.State = other.State
	}
	return Receipt{
		Ended: r.Ended + other.Ended, State: r.State, Seq: max(r.Seq, other.Seq),
		Verifiers: max(r.Verifiers, other.Verifiers), Took: max(r.Took, other.Took),
	}
}

// person is who asked, for the authority's records.
type person struct{ ip, agent string }

// end ends the session of a cookie's value. One that is dead already is no
// error. The value is all that is needed. The key of a verifier is none of the
// credentials that log out; with it the authority believes who asked.
func (a *authority) end(ctx context.Context, value, scope string, by person, async bool) (Receipt, error) {
	header := http.Header{}
	if a.key != "" {
		header.Set("Curfew-Verifier-Key", a.key)
	}
	if async {
		header.Set("Prefer", "respond-async")
	}
	var out struct {
		Ended      int `json:"sessions_ended"`
		Revocation struct {
			Seq       int64  `json:"seq"`
			State     string `json:"state"`
			Verifiers int    `json:"verifiers"`
			TookMS    int64  `json:"took_ms"`
		} `json:"revocation"`
	}
	err := a.post(ctx, "/logout", header, map[string]string{
		"session_cookie": value, "scope": scope, "ip": by.ip, "user_agent": by.agent,
	}, &out)
	var said *apiError
	switch {
	case errors.As(err, &said) && (said.status == http.StatusUnauthorized || said.status == http.StatusTooManyRequests):
		// The authority has never heard of it, or of nothing else of late.
		return Receipt{}, nil
	case errors.As(err, &said):
		return Receipt{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		return Receipt{}, err
	case out.Revocation.State == "":
		return Receipt{}, fmt.Errorf("%w: its answer to a sign-out is none", ErrUnavailable)
	}
	r := out.Revocation
	return Receipt{
		Ended: out.Ended, State: r.State, Seq: curfew.Seq(r.Seq), Verifiers: r.Verifiers, Took: time.Duration(r.TookMS) * time.Millisecond,
	}, nil
}
