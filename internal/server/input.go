package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/curfewhq/curfew/internal/authority"
)

// maxBody bounds what a call may send. The largest body that makes sense is two
// passwords of 1,024 bytes.
const maxBody = 64 << 10

var errTooLarge = &httpError{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Msg: "The body is larger than 64 KiB", OAuth: "invalid_request"}

// params are the parameters of a call, of a form or of a JSON object.
type params struct {
	form url.Values
	json map[string]json.RawMessage
}

// IsJSON reports whether the call sent JSON.
func (p params) IsJSON() bool { return p.json != nil }

// readParams reads the body. No body is no parameters.
func readParams(w http.ResponseWriter, r *http.Request) (params, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return params{}, errTooLarge
		}
		return params{}, badRequest("The body could not be read")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if len(bytes.TrimSpace(body)) == 0 {
		// Clients send "Content-Type: application/json" with nothing behind it.
		if kind == "application/json" {
			return params{json: map[string]json.RawMessage{}}, nil
		}
		return params{form: url.Values{}}, nil
	}
	if err != nil {
		kind = ""
	}
	switch kind {
	case "application/json":
		return parseJSON(body)
	case "application/x-www-form-urlencoded":
		return parseForm(body)
	}
	return params{}, &httpError{
		Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", OAuth: "invalid_request",
		Msg: "Send application/json or application/x-www-form-urlencoded",
	}
}

func parseForm(body []byte) (params, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return params{}, badRequest("The form is malformed")
	}
	for name, values := range form {
		if len(values) > 1 {
			return params{}, badRequest("Parameter %q is given more than once", clip(name))
		}
		// As in JSON: what is no text cannot be shown, and the hash of an
		// audit entry would cover bytes that no export of it has.
		if !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return params{}, badRequest("The form is not valid UTF-8")
		}
	}
	return params{form: form}, nil
}

// parseJSON reads one object. Duplicate members are refused: of two values for
// one name, this server and a proxy in front of it might read different ones.
func parseJSON(body []byte) (params, error) {
	if !utf8.Valid(body) {
		return params{}, badRequest("The body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return params{}, badRequest("The body is not a JSON object")
	}
	p := params{json: map[string]json.RawMessage{}}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return params{}, badRequest("The body is malformed JSON")
		}
		name := t.(string) // a member name, or Token has failed
		if _, twice := p.json[name]; twice {
			return params{}, badRequest("Member %q is given more than once", clip(name))
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return params{}, badRequest("The body is malformed JSON")
		}
		p.json[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return params{}, badRequest("The body is malformed JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return params{}, badRequest("There is something behind the JSON object")
	}
	return p, nil
}

// has reports whether a parameter was given, with whatever value.
func (p params) has(name string) bool {
	if p.IsJSON() {
		_, ok := p.json[name]
		return ok
	}
	return p.form.Has(name)
}

// str returns a parameter that is a string; a missing one, one without a value
// and null are "".
func (p params) str(name string) (string, error) {
	if !p.IsJSON() {
		return p.form.Get(name), nil
	}
	raw, ok := p.json[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", badRequest("%q must be a string", clip(name))
	}
	return s, nil
}

// strs reads several string parameters.
func (p params) strs(into map[string]*string) error {
	for name, dst := range into {
		v, err := p.str(name)
		if err != nil {
			return err
		}
		*dst = v
	}
	return nil
}

func (p params) flag(name string) (bool, error) {
	if !p.has(name) {
		return false, nil
	}
	text := p.form.Get(name)
	if p.IsJSON() {
		text = string(p.json[name])
	}
	switch text {
	case "true", "1":
		return true, nil
	case "false", "0", "", "null":
		return false, nil
	}
	return false, badRequest("%q must be true or false", clip(name))
}

func (p params) list(name string) ([]string, error) {
	if !p.IsJSON() {
		return strings.Fields(strings.ReplaceAll(p.form.Get(name), ",", " ")), nil
	}
	raw, ok := p.json[name]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var out []string
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, badRequest("%q must be a list of strings", clip(name))
	}
	return out, nil
}

// bearer returns the credential of the Authorization header, or "". A token in
// the query is never looked at (RFC 6750 §2.3 advises against it).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", &httpError{Status: 400, Code: "invalid_request", OAuth: "invalid_request", Msg: "Two Authorization headers", Bearer: "invalid_request"}
	}
	scheme, credential, ok := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errNoCredential
	}
	credential = strings.TrimLeft(credential, " ")
	if !ok || credential == "" {
		return "", errNoCredential
	}
	return credential, nil
}

// operator lets only operators in: by an operator key, or by the access token
// of a user with the role admin. It checks before the body is read.
func (s *Server) operator(h func(http.ResponseWriter, *http.Request, authority.Actor) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		raw, err := bearer(r)
		if err != nil {
			return err
		}
		if raw == "" {
			return errNoCredential
		}
		if authority.IsAPIKey(raw) {
			k, ok := s.authority.CheckAPIKey(raw)
			if !ok {
				return &httpError{Status: 401, Code: "invalid_token", Msg: "This key is not known", Bearer: "invalid_token"}
			}
			if k.Kind != authority.KindOperator {
				return errForbidden
			}
			return h(w, r, authority.OperatorActor(k.Name))
		}
		c, err := s.authority.Authenticate(r.Context(), raw)
		if err != nil {
			return err
		}
		for _, role := range c.Roles {
			if role == "admin" {
				return h(w, r, authority.UserActor(c.Subject))
			}
		}
		return errForbidden
	}
}

var errForbidden = &httpError{Status: http.StatusForbidden, Code: "forbidden", Msg: "This needs an operator", OAuth: "insufficient_scope"}

func clip(s string) string { return clipTo(s, 40) }

func clipTo(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "?")
}
