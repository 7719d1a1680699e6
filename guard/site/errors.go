package site

import (
	"errors"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
)

// What goes wrong with signing in and out. [guard.ErrCrossOrigin] is among it.
var (
	// ErrBadCredentials is a sign-in with a name or a password that is wrong.
	// Which of them is not said, here or anywhere.
	ErrBadCredentials = errors.New("wrong name or password")
	// ErrPasswordChangeRequired is a sign-in with the right password, of
	// somebody who must choose another: ask for it and sign in again with
	// NewPassword.
	ErrPasswordChangeRequired = errors.New("a new password is required")
	// ErrWeakPassword is a NewPassword that the authority's rules refuse.
	ErrWeakPassword = errors.New("the new password is too weak")
	// ErrSamePassword is a NewPassword that is the old one.
	ErrSamePassword = errors.New("the new password must differ from the old one")
	// ErrTooManySessions is a sign-in beyond the number that the authority
	// allows for a person at a time.
	ErrTooManySessions = errors.New("signed in on too many devices")
	// ErrUnavailable is a call that the authority has not answered, or could
	// not carry out: 503. After a sign-out it means that nothing is promised
	// about the session yet, see [Site.SignOut].
	ErrUnavailable = errors.New("the authority cannot be asked")
	// ErrInsecure is a request over plain HTTP. No cookie is set or believed
	// there, because everybody on the way could read and use it.
	ErrInsecure = errors.New("this needs HTTPS")
	// ErrMethod is an attempt to sign in or out with a GET. Prefetching, an image
	// on another page and a crawler make GETs that nobody has asked for.
	ErrMethod = errors.New("signing in and out needs a POST")
	// ErrNoTicket is a sign-in for a ticket in the URL where Config has none.
	ErrNoTicket = errors.New("tickets in the URL are switched off")
)

// ThrottledError is a sign-in after too many that failed: 429.
type ThrottledError struct {
	// RetryAfter is how long to wait before the next one.
	RetryAfter time.Duration
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many attempts; try again in %v", e.RetryAfter)
}

var (
	errSeveral        = fmt.Errorf("%w: several session cookies", curfew.ErrInvalidToken)
	errSeveralTickets = fmt.Errorf("%w: several tickets in one URL", curfew.ErrInvalidToken)
	errNoValue        = fmt.Errorf("%w: no value of a session cookie", curfew.ErrInvalidToken)
	errSignedOut      = fmt.Errorf("%w: signed out here", curfew.ErrRevoked)
)
