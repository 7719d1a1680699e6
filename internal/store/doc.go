// Package store is the contract between the authority and the engine that keeps
// its state: what can be read, what can be changed, and what holds when a call
// has returned.
//
// The contract has one write, [Writer.Commit]. A [Change] lists every row that
// is to change, each on condition of the version that was read, together with
// the revocations and the audit entries that report it. The engine applies all
// of it in one durable transaction or nothing. There is no way to write a
// session without its version, so a late write cannot revive an ended session,
// and no way to end one without the log entry that tells the verifiers.
//
// The package owns no engine and no policy. Engines live in the rooms below it;
// storetest is the suite that all of them pass.
package store
