package flags

import "strings"

// Parse reads a command line by pflag's rules, as the API server does: --a=b,
// --a b, --a for a bool, nothing after --. A leading program name is passed over.
// Every flag comes back, repeated ones too, not only those of auditing; line and
// column stay 0.
//
// Which flags of other packages take a value is not known here: such a flag
// takes the word behind it if that does not begin with a dash.
func Parse(argv []string) []Arg {
	table := byName()
	var out []Arg
	for i := 0; i < len(argv); i++ {
		word := argv[i]
		if word == "--" {
			break
		}
		body, ok := strings.CutPrefix(word, "--")
		if !ok || body == "" || strings.ContainsRune("-_=", rune(body[0])) {
			continue // the program, a word that belongs to nothing, a short flag
		}
		name, value, has := strings.Cut(body, "=")
		name = Normalize(name)
		f, known := table[name]
		switch {
		case has:
		case known && f.Type == Bool:
			value = "true"
		case i+1 < len(argv) && (known || !strings.HasPrefix(argv[i+1], "-")):
			i++
			value = argv[i]
		case !known:
			value = "true"
		}
		out = append(out, Arg{Name: name, Value: value})
	}
	return out
}
