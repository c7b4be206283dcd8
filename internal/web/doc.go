// Package web owns the JSON API, the client of that API, and the page.
//
// [New] answers [query.Questions] over HTTP; [Client] asks them over HTTP and
// gives the same answers and the same typed errors, so that a command cannot
// tell a server from a data directory. Everything that comes from an event is
// hostile text: the page escapes it in templates, never builds HTML from it in
// the browser, and shows control and bidirectional characters instead of obeying them.
//
// A request that its client dropped stops its query. Answers that may be large
// are streamed: memory does not grow with them.
package web
