// Package flags owns the API server's --audit-* flags: their names, types,
// defaults by version, the rules by which the API server refuses them, and the
// advice that goes beyond: what loses events, burns a core or fills a disk.
//
// It looks at values only and reads no file. What it says of versions was read
// from k8s.io/apiserver/pkg/server/options/audit.go of v0.17 to v0.37; the tests
// in compat/ hold its rules against the newest.
package flags

import (
	"strings"
)

// Arg is one flag as it stands in a command line or a configuration.
type Arg struct {
	// Name is the flag's name without dashes: audit-log-path.
	Name string
	// Value is its value; "true" for a flag without one.
	Value string
	// Line and Column say where the flag stands, from 1; 0 where that means nothing.
	Line, Column int
}

// String is the flag as one writes it: --audit-log-path=/var/log/audit.log.
func (a Arg) String() string { return "--" + a.Name + "=" + a.Value }

// Normalize is a flag's name as the API server knows it: without dashes in
// front, and with - where people wrote _ (k8s.io/component-base/cli/flag,
// WordSepNormalizeFunc).
func Normalize(name string) string {
	return strings.ReplaceAll(strings.TrimLeft(name, "-"), "_", "-")
}

// Last returns the last of args with a name, which is the one that counts.
func Last(args []Arg, name string) (Arg, bool) {
	for i := len(args) - 1; i >= 0; i-- {
		if Normalize(args[i].Name) == name {
			return args[i], true
		}
	}
	return Arg{}, false
}

// Audit returns those of args that concern auditing, in their order, with
// normalized names.
func Audit(args []Arg) []Arg {
	var out []Arg
	for _, a := range args {
		a.Name = Normalize(a.Name)
		if strings.HasPrefix(a.Name, "audit-") {
			out = append(out, a)
		}
	}
	return out
}

// Apply is args with what is set replaced or added and what is unset removed.
// A flag that is set stands once, where its last one stood.
func Apply(args, set []Arg, unset []string) []Arg {
	drop := map[string]bool{}
	for _, name := range unset {
		drop[name] = true
	}
	value := map[string]string{}
	for _, a := range set {
		value[a.Name] = a.Value
	}
	var out []Arg
	for i, a := range args {
		a.Name = Normalize(a.Name)
		v, isSet := value[a.Name]
		switch {
		case isSet:
			if _, again := Last(args[i+1:], a.Name); again {
				continue
			}
			a.Value = v
			delete(value, a.Name)
		case drop[a.Name]:
			continue
		}
		out = append(out, a)
	}
	for _, a := range set {
		if v, left := value[a.Name]; left {
			out = append(out, Arg{Name: a.Name, Value: v})
			delete(value, a.Name)
		}
	}
	return out
}
