// Package verify decides whether an access token counts: the CHECK of the
// protocol. The authority's own endpoints and remote verifiers use this one
// function, so that they cannot come to differ.
//
// It owns the order of the check and the cache of verified tokens. It does not
// own what is revoked (denylist), what a token looks like (token), or how a
// verifier hears of either.
package verify
