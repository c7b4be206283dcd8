// Package compat holds audit/policy against the API server's own code: the same
// input goes through both, and there must be no difference. It is a module of its
// own so that ktrail does not depend on the API server.
package compat
