// Package token spells, signs and parses Curfew's access tokens and key sets.
//
// Access tokens are JWTs of the profile of RFC 9068, restricted until each one
// has exactly one spelling: a token that could be written in two ways could be
// revoked in one of them and replayed in the other. The package knows neither
// what time it is nor what has been revoked; package verify does.
package token
