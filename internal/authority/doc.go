// Package authority is the domain: who may log in, when a session is live, and
// how sessions end.
//
// Every ending — a logout, a password change, a disabled account, a revoked key,
// an idle time-out — is one [store.Change]: the state, the revocation and the
// audit entry, committed together. Then the log is signalled, and the call
// returns when the entry is in force. Decisions are made on what was read and
// committed on condition that it has not changed; after a conflict they are made
// again.
//
// The package knows neither HTTP nor SQL. It holds no session state of its own
// apart from caches that the log keeps honest.
package authority
