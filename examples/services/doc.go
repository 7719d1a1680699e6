// Command services is a small service that lets in whoever is logged in. Run it
// twice, beside an authority, and log out: both refuse.
//
//	go run ./cmd/curfew dev
//	go run ./examples/services -authority http://127.0.0.1:8080 -listen 127.0.0.1:9001 -name orders
//	go run ./examples/services -authority http://127.0.0.1:8080 -listen 127.0.0.1:9002 -name shop
//
// It answers / with who is asking, /events with an event each second and /ws
// with a WebSocket that echoes. An authority that asks for keys gets the one in
// CURFEW_VERIFIER_KEY.
package main
