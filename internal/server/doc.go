// Package server is the authority's HTTP front. Each file is the room of one
// step of the protocol: token, logout, user, sessions, introspection, admin,
// well-known documents, operations.
//
// A room reads a request, makes one call of the authority, and writes the
// answer; it decides nothing about sessions. Handlers return errors, and one
// place turns them into status, body and log line. [New] is where everything is
// wired.
package server
