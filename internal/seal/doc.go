// Package seal keeps secrets at rest: one master key, kept in a file, encrypts
// the private keys in the store and is the root of the other secrets that the
// authority derives.
//
// It owns the format of the key file and of sealed values. It does not own what
// is sealed, nor where that is kept.
package seal
