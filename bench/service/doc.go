// Command service is a small service behind Curfew's guard, or behind nothing,
// or behind a call to the authority for each request. The benchmarks in bench
// start it; it owns those checks and nothing else.
package main
