// Package app puts the authority together: data directory, lock, master key,
// store, authority, HTTP server, and the order in which they start and stop.
//
// It turns a valid configuration into a running process, and the errors of the
// rooms below into a line that says what to do. It makes no decision about
// sessions, serves no route and parses no flag.
package app
