// Package e2e tests the promise on real processes: the authority, two services
// with the library guard, and the verifier in Python, each behind a TCP proxy
// that can cut and slow its link.
//
//   - TestHistories lets 32 clients log in, verify, refresh and log out while
//     processes are killed, stopped and ended and links are cut and slowed, and
//     checks what they saw: with Porcupine against a model of sessions, and
//     with linear checks beside it that cannot run out of time.
//   - TestDeathAtEachStep kills the authority at each named step of a logout.
//   - TestStoppedService stops a service for longer than its lease.
//   - TestLateGrants makes the last grant arrive late.
//   - TestTheSuiteBites switches on seeded bugs and demands that they are found.
//   - TestCheckers, TestNarrowing and TestLink try the checkers and the proxy.
//
// A run takes about a minute. Longer ones, with more rounds of everything, are
// asked for with -e2e.duration, or E2E_DURATION in the environment. -e2e.seed
// repeats the choices of a run, though not the timing of processes:
//
//	go test ./e2e -v -e2e.duration 10m -timeout 30m
//
// With the race detector the processes are built with it as well. What is found
// wrong leaves the history as JSON, a picture of each user and observer that
// does not fit the model, and the logs of the processes; the message says
// where.
//
// It owns the cluster, the faults, the history and its checkers. package
// service under it is the service that it runs.
package e2e
