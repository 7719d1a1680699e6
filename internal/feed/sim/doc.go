// Package sim is the simulation of the feed: one authority, three verifiers and
// everything that can go wrong between them, under a clock that a test turns.
//
// One seed is one run, in a bubble of testing/synctest. The hub, the log, the
// followers and the checks are the real ones; the store, the network, the
// clocks and the crashes are played. Each random choice is a function of the
// seed, of who chooses and of when, so that the order in which goroutines run
// cannot change it, and each delay has nanoseconds of its own, so that no two
// events meet. A seed thus plays the same run each time:
//
//	go test ./internal/feed/sim -run 'TestSimulation$' -seed 4711 -v
//
// Afterwards a checker goes once through all that was seen: no verdict accepts
// what a logout that was answered before had ended; no verifier accepts what it
// has refused as revoked; nobody is logged out whom nobody ended; and every
// logout is answered in time.
//
// It owns no code that anything else uses: all of it is tests.
package sim
