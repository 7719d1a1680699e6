// Package rig is the service that the benchmarks call: one handler, one
// server, and whatever stands in front of the handler.
//
// It owns what the services of a comparison have in common, so that they differ
// in nothing but the check: bench/service runs it with Curfew's guard, and
// bench/peers, a module of its own, with libraries that Curfew does not depend
// on. The program that measures starts them and talks to them over standard
// input and output, one JSON value each way.
package rig
