// Package denylist holds what a verifier has heard of the revocation log, in
// memory, in the form in which the question "is this token revoked?" is
// cheapest. It applies revocations in the order of the log and knows no network
// and no clock.
package denylist
