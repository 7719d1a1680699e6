// Package webui is the room of the pages: it turns a view into HTML. It owns
// the templates, the stylesheet, the page scripts, the words that people read
// about endings, and the headers that a page needs to be safe.
//
// It does not know requests, sessions or cookies, and decides nothing: which
// page is shown, where a return address may lead and what a form does belongs
// to internal/server, which fills the views. Everything a view holds may come
// from a stranger; html/template escapes it, and a reason that is not known
// here is never shown as it came.
//
// Every page works without JavaScript. The scripts make it better: they leave
// the page at once when the session ends elsewhere, ask before the big red
// button, warn before the idle time-out and show times in the reader's zone.
//
//   - webui.go: [New], the headers, one method per page
//   - assets.go: files with their hash in the name
//   - words.go: reasons, notices, ages, in plain English
//   - templates/, assets/: what is embedded
package webui
