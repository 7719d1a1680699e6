// Package storetest is the suite that every engine of package store passes. It
// shows what the contract promises, with the engine seen from outside only.
package storetest
