// Command service is a service as small as one can be, guarded by the library:
// it answers who is calling. The tests of package e2e run it.
//
// It takes CURFEW_AUTHORITY, CURFEW_VERIFIER_KEY and LISTEN from the
// environment, and serves from the start: a guard that has not heard from the
// authority yet answers 503, which is a state that the tests want to see.
package main
