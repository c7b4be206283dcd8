// Package diff owns the comparison of two texts line by line, as a unified
// diff that patch(1) and git apply take.
package diff

import (
	"fmt"
	"slices"
	"strings"
)

// context is how many lines that stay are shown around a change; diff -u's default.
const context = 3

// most is how many lines may be added and removed before the comparison gives
// up looking for the shortest way and shows all of the old and all of the new.
const most = 1000

// line is one line of a comparison: ' ' stays, '-' goes, '+' comes.
type line struct {
	op   byte
	text string
}

// Unified is the unified diff from old to new, "" if they are equal. The names
// stand in its head; /dev/null is usual for a file that is not there.
func Unified(oldName, newName, old, new string) string {
	if old == new {
		return ""
	}
	lines := compare(split(old), split(new))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", oldName, newName)
	at := [2]int{1, 1} // the next line of old and of new
	for i := 0; i < len(lines); {
		if lines[i].op == ' ' {
			at[0], at[1], i = at[0]+1, at[1]+1, i+1
			continue
		}
		from := max(0, i-context)
		lead := i - from
		to, quiet := i, 0
		for to < len(lines) && quiet <= 2*context {
			if quiet++; lines[to].op != ' ' {
				quiet = 0
			}
			to++
		}
		to -= max(0, quiet-context)
		hunk(&b, lines[from:to], at[0]-lead, at[1]-lead)
		for ; i < to; i++ {
			if lines[i].op != '+' {
				at[0]++
			}
			if lines[i].op != '-' {
				at[1]++
			}
		}
	}
	return b.String()
}

func hunk(b *strings.Builder, lines []line, old, new int) {
	var n [2]int
	for _, l := range lines {
		if l.op != '+' {
			n[0]++
		}
		if l.op != '-' {
			n[1]++
		}
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", extent(old, n[0]), extent(new, n[1]))
	for _, l := range lines {
		b.WriteByte(l.op)
		b.WriteString(l.text)
		if !strings.HasSuffix(l.text, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// extent is where a hunk begins and how long it is; one of no lines begins behind the line before.
func extent(begin, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", begin-1)
	case 1:
		return fmt.Sprint(begin)
	}
	return fmt.Sprintf("%d,%d", begin, n)
}

func split(s string) []string {
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// compare finds the fewest lines to remove and add (Myers, "An O(ND) Difference
// Algorithm and Its Variations", 1986), after what both begin and end with.
func compare(a, b []string) []line {
	var head, tail []line
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head, a, b = append(head, line{' ', a[0]}), a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail, a, b = append(tail, line{' ', a[len(a)-1]}), a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, middle(a, b), tail)
}

func middle(a, b []string) []line {
	bound := min(len(a)+len(b), most)
	// far[k] is how far into a the best way on diagonal k reaches; trace has far
	// as it was before each step.
	far := map[int]int{1: 0}
	var trace []map[int]int
	for d := 0; d <= bound; d++ {
		before := make(map[int]int, d+2)
		for k := -d - 1; k <= d+1; k++ {
			if x, ok := far[k]; ok {
				before[k] = x
			}
		}
		trace = append(trace, before)
		for k := -d; k <= d; k += 2 {
			x := far[k-1] + 1
			if down(far, k, d) {
				x = far[k+1]
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			far[k] = x
			if x >= len(a) && x-k >= len(b) {
				return walk(a, b, trace)
			}
		}
	}
	var all []line
	for _, t := range a {
		all = append(all, line{'-', t})
	}
	for _, t := range b {
		all = append(all, line{'+', t})
	}
	return all
}

// down reports whether step d comes to diagonal k by adding a line.
func down(far map[int]int, k, d int) bool {
	return k == -d || k != d && far[k-1] < far[k+1]
}

// walk goes the way found back to its beginning.
func walk(a, b []string, trace []map[int]int) []line {
	var out []line
	x, y := len(a), len(b)
	for d := len(trace) - 1; d >= 0; d-- {
		far, k := trace[d], x-y
		from := k - 1
		if down(far, k, d) {
			from = k + 1
		}
		px := far[from]
		py := px - from
		for x > px && y > py && x > 0 && y > 0 {
			x, y = x-1, y-1
			out = append(out, line{' ', a[x]})
		}
		if d == 0 {
			break
		}
		if from == k+1 {
			y--
			out = append(out, line{'+', b[y]})
		} else {
			x--
			out = append(out, line{'-', a[x]})
		}
	}
	slices.Reverse(out)
	return out
}
