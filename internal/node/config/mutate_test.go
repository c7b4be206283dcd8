package config_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// TestMutatedForms patches what forms become when lines are swapped, doubled,
// dropped and indented, which leaves many of them valid and few of them plain.
func TestMutatedForms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	patched, refused := 0, 0
	all := forms(t)
	for range 3000 {
		f := all[r.IntN(len(all))]
		data := mutate(r, string(f.Data))
		kind, err := config.Detect([]byte(data))
		if err != nil || kind == config.CommandLine {
			continue
		}
		change := enable()
		if r.IntN(3) == 0 {
			change.Set = append(change.Set, flags.Arg{Name: "audit-webhook-batch-max-wait", Value: []string{"", "a: b", "#", "x,y", "'\"", "[]"}[r.IntN(6)]})
		}
		if _, err := check(t, kind, data, change, stream); err != nil {
			refused++
		} else {
			patched++
		}
		if t.Failed() {
			t.Fatalf("%s became:\n%s", f.Name, data)
		}
	}
	t.Logf("%d patched, %d refused", patched, refused)
	if patched < 100 || refused < 100 {
		t.Errorf("%d patched and %d refused: the mutations test little", patched, refused)
	}
}

var scraps = []string{
	" # comment", " []", " {}", "\t", " &a", " *a", "- ", ",", "\"", "    - --audit-log-path\n", "    - /x\n", "    # remark\n", "\n", "---\n",
	"    args: [--audit-log-mode=blocking]\n", "  volumes: []\n", "    volumeMounts: []\n", "status: {}\n", "    tty: true\n", "    workingDir: |\n      /\n      # text\n",
}

func mutate(r *rand.Rand, data string) string {
	lines := strings.SplitAfter(data, "\n")
	for range 1 + r.IntN(4) {
		i, j := r.IntN(len(lines)), r.IntN(len(lines))
		switch r.IntN(7) {
		case 0:
			lines[i], lines[j] = lines[j], lines[i]
		case 1:
			lines[i] += lines[j]
		case 2:
			lines[i] = ""
		case 3:
			lines[i] = "  " + lines[i]
		case 4:
			lines[i] = strings.TrimPrefix(lines[i], "  ")
		case 5:
			lines[i] += scraps[r.IntN(len(scraps))]
		case 6:
			lines[i] = strings.TrimSuffix(lines[i], "\n") + scraps[r.IntN(len(scraps))] + "\n"
		}
	}
	return strings.Join(lines, "")
}
