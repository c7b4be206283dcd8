// Package flags owns the API server's --audit-* flags: their names, types,
// defaults by version, the rules by which the API server refuses them, and the
// advice that goes beyond: what loses events, burns a core or fills a disk.
//
// It looks at values only and reads no file.
package flags

// Arg is one flag as it stands in a command line or a configuration.
type Arg struct {
	// Name is the flag's name without dashes: audit-log-path.
	Name string
	// Value is its value; "true" for a flag without one.
	Value string
	// Line and Column say where the flag stands, from 1; 0 where that means nothing.
	Line, Column int
}
