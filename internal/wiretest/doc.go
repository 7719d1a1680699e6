// Package wiretest holds the test vectors of the feed: dialogues between an
// authority and a verifier, as JSON. A verifier in any language is driven by
// the same ones; the Go library and examples/verifier-python are.
//
// It owns the files, their format (README.md) and the command that writes them
// (gen). It owns no verifier and no runner: whoever drives an implementation
// with the vectors does that beside the implementation.
package wiretest
