// Package fault is how the tests show that they bite: named bugs that can be
// switched on, and named points at which a process dies.
//
// Both exist only in binaries built with the tag curfew_fault. In every other
// build On is the constant false and Point does nothing, so the compiler
// removes them. docs/testing.md lists the bugs and the tests that find them.
//
// It owns the names and the switches. What a bug does stands where the right
// code stands, so that a change of one is a change of the other.
package fault
