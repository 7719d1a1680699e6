// Package guardgrpc makes a gRPC server refuse what has been logged out.
//
//	srv := grpc.NewServer(guardgrpc.ServerOptions(g, guardgrpc.Config{
//		Public: []string{"/grpc.health.v1.Health/*"},
//		Routes: map[string]guard.Route{"/bank.Transfers/Send": {Mode: guard.Strict}},
//	})...)
//
// The token is expected in the metadata: authorization: Bearer …. Calls whose
// token does not count end with the code Unauthenticated, and with Unavailable
// and a RetryInfo if the guard cannot know. Both have an ErrorInfo of the domain
// "curfew" whose reason is the error_code of the HTTP interface in upper case.
//
// The context of a call that was let through has the claims, see
// [guard.FromContext], and is cancelled when the session ends. A stream that
// does not end by itself then is ended half a second later. A unary call that
// runs on has its answer replaced by the refusal.
//
// The package owns the interceptors. What counts is decided by package guard,
// which stays free of gRPC.
package guardgrpc
