// Package feed is how revocations reach verifiers in other processes, and how
// the authority knows that they have: docs/protocol.md, both ends.
//
// A [Hub] is the authority's end. It holds the tail of the log, the leases that
// it gave, and the rounds: what must be acknowledged before a revocation is in
// force. A [Follower] is the verifier's end. It holds the denylist, the
// position up to which everything is in it, and the lease.
//
// It owns the wire form, the leases and the order of steps that the promise
// rests on. It does not own the log's durability (store), what a token is
// (token, verify), or any transport: HTTP is in internal/feed/feedhttp and in
// internal/server. The rules that comments cite are those of docs/guarantees.md.
package feed
