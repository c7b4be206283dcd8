package diff_test

import (
	"errors"
	"fmt"
	"strings"
)

// patch applies a unified diff, as patch(1) without fuzz does.
func patch(old, d string) (string, error) {
	if d == "" {
		return old, nil
	}
	src := strings.SplitAfter(old, "\n")
	if src[len(src)-1] == "" {
		src = src[:len(src)-1]
	}
	var out strings.Builder
	at := 0
	lines := strings.SplitAfter(d, "\n")[2:]
	for i, l := range lines {
		if l == "" || l[0] == '\\' {
			continue
		}
		if strings.HasPrefix(l, "@@") {
			var begin, n int
			if m, _ := fmt.Sscanf(l, "@@ -%d,%d", &begin, &n); m == 1 {
				n = 1
			}
			if n == 0 {
				begin++
			}
			for ; at < begin-1; at++ {
				out.WriteString(src[at])
			}
			continue
		}
		text := l[1:]
		if i+1 < len(lines) && strings.HasPrefix(lines[i+1], `\`) {
			text = strings.TrimSuffix(text, "\n")
		}
		if l[0] != '+' {
			if at >= len(src) || src[at] != text {
				return "", errors.New("the old text differs at " + fmt.Sprint(at+1))
			}
			at++
		}
		if l[0] != '-' {
			out.WriteString(text)
		}
	}
	for ; at < len(src); at++ {
		out.WriteString(src[at])
	}
	return out.String(), nil
}
