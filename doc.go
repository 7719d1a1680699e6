// Package curfew holds the words that every other room of Curfew shares:
// sessions, revocations, the positions of the revocation log, and the errors
// that callers branch on.
//
// Curfew ends sessions. When somebody logs out, a [Revocation] is appended to a
// durable log with a dense sequence number, and every verifier that follows the
// log refuses the session's tokens from then on. A revocation is recorded when
// it is durable and enforced when no live verifier can accept a token it names.
//
// The package depends on nothing but the standard library, owns no state and
// does no I/O.
package curfew
