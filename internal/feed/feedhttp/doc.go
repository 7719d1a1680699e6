// Package feedhttp carries the feed's polls over HTTP, for verifiers.
//
// It owns the client's end: addresses, time-outs, status codes. The server's
// end is in internal/server, and what is carried is in internal/feed.
package feedhttp
