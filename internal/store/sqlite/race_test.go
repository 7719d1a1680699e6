//go:build race

package sqlite_test

// The race detector slows SQLite down tenfold, and has nothing to find in the
// many runs that differ by one operation.
func init() { everyFault = 29 }
