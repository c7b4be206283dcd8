// Package webhook owns the API server's audit webhook, both ends of it: [Client] posts
// events as kube-apiserver does with --audit-webhook-config-file, and [Receiver] takes them
// from a kube-apiserver, or from a Client, and answers 200 when they are stored.
//
// A batch may come more than once: its answer was lost, or came too late. Lines are the
// same in every try, so that a store that keeps equal lines once has each event once.
package webhook
