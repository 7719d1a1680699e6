package server_test

import "testing"

// "When I call logout and then log back in again, the client is sent a new token.
// What about the previous one?" It is dead, and the new one owes it nothing.
func TestLoggingInAgainDoesNotReviveTheOldToken(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	old := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(old.access)).want(200)
	f.call(t, "GET", "/user", bearer(old.access)).want(401)
	next := f.loginAlice(t)
	f.call(t, "GET", "/user", bearer(next.access)).want(200)
	f.call(t, "GET", "/user", bearer(old.access)).want(401)
	f.call(t, "POST", "/token", sendJSON(M{"grant_type": "refresh_token", "refresh_token": old.refresh})).want(400)
	f.call(t, "GET", "/user", bearer(next.access)).want(200)
}

// The published answer of an endpoint that takes a token in a JSON body.
func TestRevokeAnswersAsPublished(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	p := f.call(t, "POST", "/revoke", sendJSON(M{"token": k.access})).want(200)
	if got := p.str("message"); got != "Token revoked successfully" {
		t.Errorf("message is %q", got)
	}
	f.call(t, "GET", "/user", bearer(k.access)).want(401)
}
