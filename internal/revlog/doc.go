// Package revlog follows the revocation log of a store and keeps a denylist at
// its head.
//
// Whoever commits a revocation signals with [Log.Wake]; what is then delivered
// is read from the log. So a start, another node's revocation, a missed signal
// and the ordinary logout all run the same code, and an entry cannot be skipped
// or applied out of order. The package does not write to the log: entries are
// appended by the store in the transaction of the change that they report.
package revlog
