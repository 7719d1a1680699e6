// Package fresh shares calls among callers that need an answer from after they
// asked.
//
// It owns the sharing and nothing of what is called. Unlike a single flight, a
// caller never gets the result of a call that was under way when it came: that
// call may have read the state of before, which for a check means before the
// logout.
package fresh
