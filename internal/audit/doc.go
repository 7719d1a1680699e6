// Package audit owns the audit trail's words: what an entry is, how entries are
// chained by hash, and how a chain is verified.
//
// It does not store entries. A store appends them in the transaction of the
// change that they report, so a change without its entry, or an entry without
// its change, cannot exist.
package audit
