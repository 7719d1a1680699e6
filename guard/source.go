package guard

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/curfewhq/curfew"
)

var (
	// ErrNoCredential is a request without a credential.
	ErrNoCredential = errors.New("no credential")
	// ErrCrossOrigin is a request that a browser sent on behalf of another
	// site, with a credential that it adds by itself.
	ErrCrossOrigin = errors.New("cross-origin request")
)

// Source is a place of a request where a credential may be.
type Source struct {
	// Find returns the credential, or "" if there is none here. An error that
	// wraps [curfew.ErrInvalidToken] refuses the request.
	Find func(*http.Request) (string, error)
	// Ambient says that browsers send the credential by themselves, as they do
	// with cookies. Requests that change something are then refused if another
	// site has caused them.
	Ambient bool
}

// Bearer is the header Authorization: Bearer (RFC 6750 §2.1). The other places
// of RFC 6750, form and query, are not looked at: what is in a URL is logged.
var Bearer = Source{Find: bearer}

func bearer(r *http.Request) (string, error) {
	values := r.Header["Authorization"]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		// A proxy in front may look at another one than we do.
		return "", fmt.Errorf("%w: several Authorization headers", curfew.ErrInvalidToken)
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", nil
	}
	// A byte at a time would cost as much as everything else that a known token
	// is checked for.
	if rest == "" || strings.IndexByte(rest, ' ') >= 0 || strings.IndexByte(rest, ',') >= 0 || strings.IndexByte(rest, '\t') >= 0 {
		return "", fmt.Errorf("%w: not one bearer token", curfew.ErrInvalidToken)
	}
	return rest, nil
}

// SessionCookie is the name of the authority's session cookie.
const SessionCookie = "__Host-curfew"

// Cookie is a cookie of the given name: the authority's session cookie, or one
// that holds an access token.
func Cookie(name string) Source {
	return Source{Ambient: true, Find: func(r *http.Request) (string, error) {
		found := r.CookiesNamed(name)
		switch len(found) {
		case 0:
			return "", nil
		case 1:
			return found[0].Value, nil
		}
		// A sibling domain can add a second one, in front of the real one.
		return "", fmt.Errorf("%w: several cookies of one name", curfew.ErrInvalidToken)
	}}
}

// Header is a header that holds nothing but the credential, as gateways send
// it.
func Header(name string) Source {
	name = http.CanonicalHeaderKey(name)
	return Source{Find: func(r *http.Request) (string, error) {
		switch values := r.Header[name]; len(values) {
		case 0:
			return "", nil
		case 1:
			return values[0], nil
		}
		return "", fmt.Errorf("%w: several %s headers", curfew.ErrInvalidToken, name)
	}}
}
