// Package compat holds audit/... against the API server's own code: the same input goes
// through both, and there must be no difference but those of a table that says why. It is a module of its
// own so that ktrail does not depend on the API server.
package compat
