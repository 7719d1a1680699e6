// Package guard makes a Go service refuse what has been logged out.
//
//	g, err := guard.Open(ctx, guard.Config{
//		Authority: "https://id.example.com",
//		Audience:  "orders",
//		Key:       os.Getenv("CURFEW_VERIFIER_KEY"),
//	})
//	…
//	defer g.Close()
//	http.ListenAndServe(":8080", g.Middleware(mux))
//
// A Guard verifies access tokens in memory. It follows the authority's log of
// revocations under a lease of a few seconds, and the authority answers a logout
// only when every guard has it or has lost its lease. So once a logout has been
// answered with the state "enforced", no guard accepts the session any more.
// docs/guarantees.md says what exactly is promised.
//
// A guard that has lost its lease answers 503 and not 401: it cannot know, and
// the client must keep its session. What else it can do then is its [Mode].
//
// The context of a request that was let through is cancelled when its session
// ends, with a cause that says so. Handlers that run long, such as WebSockets,
// event streams and downloads, end by watching their context:
//
//	<-r.Context().Done()
//	errors.Is(context.Cause(r.Context()), curfew.ErrRevoked) // true after a logout
//
// The package owns what a service sees: verification, middleware, modes. The
// protocol is in internal/feed, the check itself in internal/verify. It depends
// on no database and no metrics library. gRPC interceptors are in package
// guardgrpc, signing in to sites with cookies in package site, and an authority
// for tests in package guardtest.
package guard
