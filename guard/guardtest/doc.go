// Package guardtest is an authority for tests of services that use package
// guard. It speaks the real protocol over real connections, keeps everything in
// memory, and does at once what a test asks for: issue tokens, end sessions, go
// silent, come back, be restored from a backup.
//
//	func TestLogout(t *testing.T) {
//		a := guardtest.New(t)
//		g := a.Guard(t, guard.Config{})
//		srv := httptest.NewServer(g.Middleware(myHandler))
//		defer srv.Close()
//
//		token, session := a.Issue(guardtest.Token{Subject: "alice"})
//		// … 200 with the token
//		a.Revoke(session)
//		// … 401 with the same token
//	}
//
// Sites that sign people in themselves, with package site, find the users that
// [Authority.AddUser] adds.
//
// Revoke and its siblings return when the ending is enforced, as the real
// authority's logout does; [Authority.Record] does not wait. Everything is
// stopped when the test ends. What a test asks for and cannot be done ends the
// test with a text that says why, so the methods must be called by the test's
// own goroutine.
//
// The package owns the behaviour of an authority as far as guards can see it.
// It is no authority: it hashes no passwords, keeps nothing, and answers a verifier
// without a key unless [Authority.RequireKey] says otherwise.
package guardtest
