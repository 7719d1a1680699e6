// Package site signs people in to a server-rendered site with cookies, and out
// again.
//
//	s, err := site.Open(ctx, site.Config{Guard: guard.Config{
//		Authority: "https://id.example.com",
//		Key:       os.Getenv("CURFEW_VERIFIER_KEY"),
//	}})
//	…
//	defer s.Close()
//	mux.Handle("/login", s.Recognize(login))          // calls s.SignIn
//	mux.Handle("/signout", s.SignOutHandler())        // a form posts to it
//	mux.Handle("/", s.Recognize(home))                // site.User(r) may be nil
//	mux.Handle("/members/", s.RequireLogin(members))  // site.User(r) is not
//
// Signing out ends the session on the server. Each request is checked against
// what has ended, in memory, by a [guard.Guard]: a cookie that somebody has kept
// is refused as soon as the sign-out has been answered. Sessions that are idle or
// too old end on the server too; what the browser does with the cookie does not
// matter to that.
//
// The cookie is __Host-curfew with Secure, HttpOnly, SameSite=Lax and Path=/, and
// nothing is set or believed over plain HTTP. Everything that changes who is
// signed in needs a POST that the site's own pages have caused; browsers say
// whether they have. A proxy in front must leave the Host as it is.
//
// The package owns cookies, redirects and what a site says to the authority. It
// has no pages: those are the site's own, or the authority's where both share a
// host. Whether a session lives is for package guard to find out, and how long
// for the authority to say. docs/cookies.md explains the choices.
package site
