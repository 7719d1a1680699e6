// Command site is a small server-rendered site where people sign in with a page
// of its own: a start page for everybody, a page for members, and the buttons to
// sign out. Run it beside an authority:
//
//	go run ./cmd/curfew dev
//	go run ./examples/site --authority http://127.0.0.1:8080 --listen 127.0.0.1:9003
//
// and open http://127.0.0.1:9003/ to sign in as alice@example.com with the
// password demo-password. Then:
//
//   - "Not Alice? Click here to sign in" signs out and asks for somebody else.
//   - Sign in with a second browser and sign out everywhere in the first: the
//     second one is sent to the login page with its next click.
//   - Copy the cookie curfew-dev, sign out, and send the copy with curl: it is
//     refused.
//
// What is worth reading is in pages.go; nothing else knows that there are
// cookies. An authority that asks for keys gets the one in CURFEW_VERIFIER_KEY.
// Beyond this machine the site must be served over TLS: over plain HTTP no
// session is begun.
package main
