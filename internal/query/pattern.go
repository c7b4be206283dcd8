package query

import (
	"regexp"
	"regexp/syntax"
)

// maxPattern is the most that a filter's patterns may become when their
// repetitions are written out, in characters and ranges. It keeps the memory of
// both back ends small.
const maxPattern = 10_000

// checkPattern is the size of a pattern, or what is wrong with it.
func checkPattern(p string) (int, error) {
	re, err := syntax.Parse(p, syntax.Perl)
	if err != nil {
		return 0, err
	}
	size := patternSize(re)
	if size > maxPattern {
		return size, nil // is refused, and never compiled
	}
	_, err = regexp.Compile(p)
	return size, err
}

func patternSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += patternSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Max, re.Min, 1)
	}
	return min(n, 1<<30)
}
