package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/curfewhq/curfew/guard"
)

// SignOut ends the session of a request, for good: on the server, where the
// cookie or ticket is refused from then on by everybody, whoever has kept a copy.
// The browser is told to delete the cookie and what Config.ClearSiteData says,
// and no cache keeps the answer. The handler goes on, with [User] nil; where the
// browser goes is for it to say, or for [Site.RedirectToLogin]. Somebody who is
// not signed in may sign out, and nothing happens.
//
// The error is [ErrMethod], [guard.ErrCrossOrigin] or [ErrInsecure] if the request
// must not sign anybody out, and then nothing has happened. It wraps
// [ErrUnavailable] if the authority has not confirmed the end. Then too the cookie
// is deleted, and this process refuses its value; but other services may accept a
// copy, and an answer of 503 should tell the person so. The site goes on to tell
// the authority until it has heard, so there is nothing to repeat.
func (s *Site) SignOut(w http.ResponseWriter, r *http.Request) (Receipt, error) {
	return s.signOut(w, r, "local")
}

// SignOutEverywhere is SignOut on all devices of the person.
func (s *Site) SignOutEverywhere(w http.ResponseWriter, r *http.Request) (Receipt, error) {
	return s.signOut(w, r, "global")
}

// SignOutOthers ends the sessions of the person on all other devices. This one
// and its cookie stay. After an [ErrUnavailable] it is to be repeated.
func (s *Site) SignOutOthers(w http.ResponseWriter, r *http.Request) (Receipt, error) {
	return s.signOut(w, r, "others")
}

func (s *Site) signOut(w http.ResponseWriter, r *http.Request, scope string) (Receipt, error) {
	w.Header().Set("Cache-Control", "no-store")
	how, err := s.mayChange(r)
	if err != nil {
		return Receipt{}, err
	}
	v := s.visitOf(r)
	if v == nil {
		v = s.look(r)
	}
	// All that came: a sign-out that ends one session and overlooks another has
	// left somebody signed in and says otherwise.
	values := v.values()
	// The session that ends is that of this very request.
	guard.Outlive(r.Context())
	if scope != "others" {
		// First, so that it is done whatever comes.
		if !v.byTicket() {
			s.setCookie(w, how, "", 0)
		}
		if s.clear != "" {
			w.Header().Set("Clear-Site-Data", s.clear)
		}
		v.leave(true)
	}
	// Browsers break off the requests of a page that is left, and leaving it is
	// what comes after a sign-out.
	ctx := context.WithoutCancel(r.Context())
	var total Receipt
	var failed error
	for _, value := range upTo(maxValues, values) {
		if !valueOK(value) {
			continue
		}
		receipt, err := s.end(ctx, value, scope, s.person(r))
		total = total.and(receipt)
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return total, fmt.Errorf("signing out: %w", failed)
	}
	return total, nil
}

// maxValues is how many cookies of a request are looked at for their sessions.
const maxValues = 4

func upTo[T any](n int, list []T) []T { return list[:min(n, len(list))] }

// end ends a session, and sees to it that it will have ended.
func (s *Site) end(ctx context.Context, value, scope string, by person) (Receipt, error) {
	if scope == "others" {
		return s.authority.end(ctx, value, scope, by, false)
	}
	entry := s.gone.add(value, scope, by)
	receipt, err := s.authority.end(ctx, value, scope, by, false)
	s.gone.answered(entry, scope, receipt, err)
	return receipt, err
}

// SignOutHandler returns a handler for the button to sign out, which posts a form
// to it, and for "Not you? Sign in as somebody else":
//
//	mux.Handle("/signout", s.SignOutHandler())
//
//	<form method="post" action="/signout"><button>Sign out</button></form>
//
// Its fields are scope (local, which is the default, others or global) and return,
// where to go afterwards; the login page if that is empty. A GET is answered with
// 405. Without a middleware around it, it works while the guard is stale, too.
func (s *Site) SignOutHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if safe(r) { // before a form is read
			s.refuse(w, r, ErrMethod)
			return
		}
		var err error
		switch scope := r.PostFormValue("scope"); scope {
		case "", "local":
			_, err = s.SignOut(w, r)
		case "others":
			_, err = s.SignOutOthers(w, r)
		case "global":
			_, err = s.SignOutEverywhere(w, r)
		default:
			http.Error(w, "scope is local, others or global", http.StatusBadRequest)
			return
		}
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		if to, ok := s.SafeReturn(r.PostFormValue("return")); ok {
			redirect(w, to)
			return
		}
		if r.PostFormValue("scope") == "others" {
			redirect(w, s.cfg.Home)
			return
		}
		redirect(w, s.loginURL(r, "", "user"))
	})
}
