package node

import (
	"fmt"
	"strings"
)

// Diff is the file's change as a unified diff with three lines of context.
func (f *File) Diff() string {
	from := f.Path
	if !f.Exists {
		from = "/dev/null"
	}
	return unified(from, f.Path, string(f.Old), string(f.New))
}

// Diff is the change of kubeadm-config as a unified diff.
func (c *Cluster) Diff() string {
	const name = "configmap/kubeadm-config"
	return unified(name, name, string(c.Old), string(c.New))
}

const context3 = 3

// edit is one line of a diff: kept ' ', removed '-' or added '+'.
type edit struct {
	op   byte
	text string
}

// unified compares two texts line by line. Manifests and policies are some
// hundred lines, so the table of the longest common subsequence is small; what is
// equal at both ends is left out of it.
func unified(from, to, a, b string) string {
	if a == b {
		return ""
	}
	edits := compare(splitLines(a), splitLines(b))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	oldLine, newLine := 1, 1
	for i := 0; i < len(edits); {
		if edits[i].op == ' ' {
			i, oldLine, newLine = i+1, oldLine+1, newLine+1
			continue
		}
		// A hunk goes on while changes are no further apart than both contexts.
		begin, end := max(0, i-context3), i
		for last := i; end < len(edits) && end-last <= 2*context3+1; end++ {
			if edits[end].op != ' ' {
				last = end
			}
		}
		end -= max(0, trailing(edits[i:end])-context3)
		oldAt, newAt := oldLine-(i-begin), newLine-(i-begin)
		oldCount, newCount := 0, 0
		for _, e := range edits[begin:end] {
			if e.op != '+' {
				oldCount++
			}
			if e.op != '-' {
				newCount++
			}
		}
		fmt.Fprintf(&out, "@@ -%s +%s @@\n", span(oldAt, oldCount), span(newAt, newCount))
		for _, e := range edits[begin:end] {
			out.WriteByte(e.op)
			out.WriteString(strings.TrimSuffix(e.text, "\n"))
			out.WriteByte('\n')
			if !strings.HasSuffix(e.text, "\n") {
				out.WriteString("\\ No newline at end of file\n")
			}
		}
		oldLine, newLine, i = oldAt+oldCount, newAt+newCount, end
	}
	return out.String()
}

// trailing counts the kept lines at the end.
func trailing(edits []edit) int {
	n := 0
	for n < len(edits) && edits[len(edits)-1-n].op == ' ' {
		n++
	}
	return n
}

// span is a hunk's place: an empty one names the line before it.
func span(at, count int) string {
	if count == 0 {
		at--
	}
	if count == 1 {
		return fmt.Sprint(at)
	}
	return fmt.Sprintf("%d,%d", at, count)
}

func splitLines(s string) []string {
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func compare(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append([]edit{{' ', a[len(a)-1]}}, tail...)
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	// common[i][j] is the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			head = append(head, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			head = append(head, edit{'-', a[i]})
			i++
		default:
			head = append(head, edit{'+', b[j]})
			j++
		}
	}
	return append(head, tail...)
}
