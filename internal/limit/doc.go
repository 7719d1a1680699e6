// Package limit counts events by key over a sliding window, in bounded memory.
//
// It owns the counters, nothing else: which key stands for whom (see netaddr),
// what is counted and what a refusal means are the caller's. Counters live in
// this process and are gone after a restart.
package limit
