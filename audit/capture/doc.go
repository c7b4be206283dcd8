// Package capture owns the turning of HTTP requests to a Kubernetes API into audit
// events, as the API server does it: what a request is about, the stages it goes
// through, and the bodies that the policy asks for. [Handler] is middleware for
// any API; [Proxy] is a reverse proxy in front of one.
package capture
