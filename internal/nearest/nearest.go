// Package nearest finds the word that somebody who mistyped meant.
package nearest

// Name is the candidate with the least edits from name, if that is near
// enough to be a slip; "" otherwise.
func Name(name string, candidates []string) string {
	best, most := "", len(name)/3+1
	for _, c := range candidates {
		if d := distance(name, c, most); d <= most && (best == "" || d < most) {
			best, most = c, d
		}
	}
	if best != "" && most >= len(best) {
		return ""
	}
	return best
}

// distance is the number of inserted, removed, replaced or swapped bytes
// between a and b, or more than most if it is more than that.
func distance(a, b string, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
