// Package netaddr finds out from which address a request came.
//
// It owns the one reading of X-Forwarded-For in Curfew and the form in which an
// address becomes the key of a limit. It does no I/O and looks up no names.
package netaddr
