package query

// Flags are the controls of the CLI and the page. Each value may be a list
// separated by commas ("\," is a comma). A value may have * for any text, and
// begins with ! to mean "not this". What is empty asks nothing.
type Flags struct {
	Verb, User, As, Namespace, Resource, Name, Subresource []string
	Group, APIGroup, Code, IP, Agent, AuditID              []string
	Cluster, Source, Stage, Level, Decision                []string
	// Not are "flag=value" pairs that must not hold: "user=system:*", "verb=get,list".
	Not []string
	// Failed keeps requests with a code of 400 and more.
	Failed bool
	// Writes keeps requests that change something.
	Writes bool
}

// CEL is the filter that the flags mean, "" for none; a [*UsageError] says what
// is wrong with a value. No value can change the filter's structure.
func (f *Flags) CEL() (string, error) { return "", nil }

// Filter is the flags' filter and the CEL text together, nil if both are empty.
func (f *Flags) Filter(cel string) (*Filter, error) { return Parse(cel) }
