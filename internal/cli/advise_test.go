package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/advise"
	"github.com/ktrail/ktrail/internal/node/host"
)

// TestAdviseJudgesTheOthers holds that a machine that cannot be looked at keeps nobody
// from hearing of the others, and that the status tells.
func TestAdviseJudgesTheOthers(t *testing.T) {
	root := t.TempDir()
	manifest := filepath.Join(root, "etc/kubernetes/manifests/kube-apiserver.yaml")
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver}\nspec:\n  containers:\n  - name: kube-apiserver\n    image: k8s/kube-apiserver:v1.33.0\n    command: [kube-apiserver, --audit-log-path=/a/b]\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(manifest), 0o700), os.WriteFile(manifest, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		machines string
		status   int
		out, err []string
	}{
		{"up", exitNothing, []string{"up:/etc/kubernetes/manifests/kube-apiserver.yaml", "no-policy"}, nil},
		{"down,up", exitUnavailable, []string{"up:/etc/kubernetes/manifests/kube-apiserver.yaml", "no-policy"}, []string{"ktrail: down: no route"}},
		{"up,down,empty", exitUnavailable, []string{"no-policy"}, []string{"down: no route", "\nempty: no kube-apiserver is running"}},
		{"down", exitUnavailable, nil, []string{"ktrail: down: no route"}},
	} {
		var out, errs bytes.Buffer
		cmd := &cmdline{Streams: Streams{Out: &out, Err: &errs}, name: "ktrail"}
		o := &adviseOptions{findingOutput: findingOutput{format: formatText}}
		err := o.each(cmd, strings.Split(c.machines, ","), func(machine string) (advise.Input, error) {
			switch machine {
			case "up":
				return o.remote(t.Context(), cmd, host.Local{Root: root}, machine)
			case "empty":
				return o.remote(t.Context(), cmd, host.Local{Root: t.TempDir()}, machine)
			}
			return advise.Input{}, errors.New("no route")
		})
		if got := report(t.Context(), cmd, "ktrail", err); got != c.status {
			t.Errorf("%s: status %d, want %d (%v)", c.machines, got, c.status, err)
		}
		for _, want := range c.out {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", c.machines, want, &out)
			}
		}
		if c.out == nil && out.Len() > 0 {
			t.Errorf("%s: %s", c.machines, &out)
		}
		for _, want := range c.err {
			if !strings.Contains(errs.String(), want) {
				t.Errorf("%s: %q is not in\n%s", c.machines, want, &errs)
			}
		}
	}
}
