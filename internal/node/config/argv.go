package config

import (
	"path"
	"strings"

	"github.com/ktrail/ktrail/audit/flags"
)

// word is one element of a command and where it stands.
type word struct {
	text         string
	line, column int
	breaks       bool // the first of its line, where that means something
}

// spot is one flag among words: the words from first to last, of which last
// has the value. lacks says that it needs one, and that what follows is none.
type spot struct {
	flags.Arg
	first, last int
	lacks       bool
}

// isBinary reports whether a word runs the API server.
func isBinary(w string) bool { return path.Base(w) == "kube-apiserver" }

// parseFlags finds the flags in words, from the one at begin on. An audit flag
// without = takes the next word, whatever that is, as the API server's parser
// does; of other flags it is not known whether they are switches, so they take
// a word that does not look like a flag.
func parseFlags(words []word, begin int) []spot {
	var out []spot
	for i := begin; i < len(words); i++ {
		w := words[i]
		name, value, has := strings.Cut(w.text, "=")
		a := spot{Arg: flags.Arg{Name: flags.Normalize(name), Value: value, Line: w.line, Column: w.column}, first: i, last: i}
		if a.Name == "" || !strings.HasPrefix(name, "-") {
			continue
		}
		if !has {
			f, known := flags.Lookup(a.Name)
			needs := known && f.Type != flags.Bool
			follows := i+1 < len(words)
			dashed := follows && strings.HasPrefix(words[i+1].text, "-")
			switch {
			case needs && follows, !known && follows && !dashed:
				i++
				a.Value, a.last = words[i].text, i
				a.lacks = needs && strings.HasPrefix(a.Value, "--")
			case needs:
				a.lacks = true
			default:
				a.Value = "true"
			}
		}
		out = append(out, a)
	}
	return out
}

// args are the flags without where they stand among words.
func args(spots []spot) []flags.Arg {
	out := make([]flags.Arg, 0, len(spots))
	for _, s := range spots {
		out = append(out, s.Arg)
	}
	return out
}

// last is the index of the flag that counts, -1 if there is none.
func last(names []string, name string) int {
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] == name {
			return i
		}
	}
	return -1
}

// place is where among names a new flag goes: with the audit flags where there
// are some, else where sorting has it, as kubeadm sorts.
func place(names []string, name string) int {
	first, after := -1, -1
	for i, n := range names {
		if !strings.HasPrefix(n, "audit-") {
			continue
		}
		if first < 0 {
			first = i
		}
		if n < name {
			after = i
		}
	}
	switch {
	case after >= 0:
		return after + 1
	case first >= 0:
		return first
	}
	for i, n := range names {
		if n > name {
			return i
		}
	}
	return len(names)
}

// shellScript finds the script of sh -c, which hides the flags in one word.
func shellScript(words []word) (word, bool) {
	for i := 0; i < len(words); i++ {
		switch path.Base(words[i].text) {
		case "sh", "bash", "ash", "dash", "busybox":
		default:
			continue
		}
		for j := i + 1; j+1 < len(words); j++ {
			w := words[j].text
			if strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && strings.Contains(w, "c") {
				return words[j+1], true
			}
		}
	}
	return word{}, false
}
