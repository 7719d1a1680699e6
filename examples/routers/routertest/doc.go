// Package routertest checks that a router and a guard get along: that the guard
// lets in and refuses, and that it ends what runs.
package routertest
