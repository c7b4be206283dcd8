package config_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/diff"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/node/config"
)

func rancherForms(t testing.TB) []txtar.File {
	t.Helper()
	a, err := txtar.ParseFile("testdata/rancher.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) < 35 {
		t.Fatalf("only %d forms", len(a.Files))
	}
	return a.Files
}

func rancherKind(name string) config.Kind {
	if strings.HasPrefix(name, "rke2") {
		return config.RKE2
	}
	return config.K3s
}

// plain decodes a file that may say nothing, which is the same as one with {}.
func plain(data string) ([]any, error) {
	out, err := stream(data)
	if len(out) == 0 || out[0] == nil {
		out = []any{map[string]any{}}
	}
	return out[:1], err
}

// audits is what ktrail enable sets, as enable has it.
func audits() config.Change { return config.Change{Set: enable().Set} }

func TestRancherForms(t *testing.T) {
	var b strings.Builder
	for _, f := range rancherForms(t) {
		fmt.Fprintf(&b, "-- %s --\n", f.Name)
		t.Run(f.Name, func(t *testing.T) {
			kind := rancherKind(f.Name)
			if s, err := config.Read(kind, f.Data); err == nil {
				fmt.Fprintf(&b, "reads %s\n", join(s.Args))
				for _, m := range s.Mounts {
					fmt.Fprintf(&b, "mount %s at %s, read-only %t\n", m.HostPath, m.MountPath, m.ReadOnly)
				}
			}
			after, err := check(t, kind, string(f.Data), audits(), plain)
			switch d := diff.Unified("before", "after", string(f.Data), after); {
			case err != nil:
				fmt.Fprintf(&b, "refused: %v\n", err)
			case d == "":
				b.WriteString("unchanged\n")
			default:
				b.WriteString(d)
			}
		})
	}
	golden.Check(t, "testdata/rancher.golden", b.String())
}

func TestBytesOfRancherForms(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for name, as := range map[string]func(string) string{
		"CRLF":               crlf,
		"byte order mark":    func(s string) string { return "\ufeff" + s },
		"no last line break": func(s string) string { return strings.TrimSuffix(s, "\n") },
		"all of it":          func(s string) string { return "\ufeff" + strings.TrimSuffix(crlf(s), "\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range rancherForms(t) {
				kind := rancherKind(f.Name)
				want, refused := config.Patch(kind, f.Data, audits())
				after, err := check(t, kind, as(string(f.Data)), audits(), plain)
				if (err != nil) != (refused != nil) {
					t.Errorf("%s: %v, but %v as it was", f.Name, err, refused)
				}
				if err != nil || strings.Count(string(f.Data), "\n") < 2 {
					continue // nothing in it says how its lines end
				}
				if after != as(string(want)) {
					t.Errorf("%s:\n%s", f.Name, diff.Unified("want", "got", as(string(want)), after))
				}
			}
		})
	}
}

func TestMutatedRancherForms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	patched := 0
	all := rancherForms(t)
	for range 3000 {
		f := all[r.IntN(len(all))]
		data := mutate(r, string(f.Data)+"\n")
		if _, err := check(t, rancherKind(f.Name), data, audits(), plain); err == nil {
			patched++
		}
		if t.Failed() {
			t.Fatalf("%s became:\n%s", f.Name, data)
		}
	}
	if patched < 500 {
		t.Errorf("%d patched: the mutations test little", patched)
	}
}

// Values that YAML would read as something else stay what they are.
func TestRancherQuoting(t *testing.T) {
	for _, name := range []string{"k3s: nothing", "k3s: other flags", "k3s: brackets", "k3s: JSON", "rke2: nothing", "rke2: a policy"} {
		for _, f := range rancherForms(t) {
			if f.Name != name {
				continue
			}
			for _, v := range []string{"", " ", "a: b", "a #b", `"'\`, "yes", "[a]", "ü", "a,b", "*a"} {
				change := config.Change{Set: []flags.Arg{{Name: "audit-log-path", Value: v}, {Name: "audit-policy-file", Value: "/" + v}}}
				if _, err := check(t, rancherKind(name), string(f.Data), change, plain); err != nil {
					t.Errorf("%s, %q: %v", name, v, err)
				}
			}
		}
	}
}

// What the profile of RKE2 turns on, no edit of flags turns off.
func TestProfileAudits(t *testing.T) {
	var refused *config.RefusedError
	_, err := config.Patch(config.RKE2, []byte("profile: cis\n"), config.Change{Unset: []string{"audit-policy-file"}})
	if !errors.As(err, &refused) || refused.Line != 1 || !strings.Contains(err.Error(), "profile") {
		t.Errorf("%v", err)
	}
	out, err := config.Patch(config.RKE2, []byte("audit-policy-file: /x\ncni: canal\n"), config.Change{Unset: []string{"audit-policy-file", "audit-log-maxage"}})
	if err != nil || string(out) != "cni: canal\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func FuzzPatchRancher(f *testing.F) {
	for _, form := range rancherForms(f) {
		f.Add(string(form.Data), "30", strings.HasPrefix(form.Name, "rke2"))
		f.Add("\ufeff"+strings.ReplaceAll(string(form.Data), "\n", "\r\n"), "a: #b", false)
	}
	f.Fuzz(func(t *testing.T, data, value string, rke2 bool) {
		kind := config.K3s
		if rke2 {
			kind = config.RKE2
		}
		var refused *config.RefusedError
		if _, err := config.Read(kind, []byte(data)); err != nil && !errors.As(err, &refused) {
			t.Fatalf("error %v is no *RefusedError", err)
		}
		_, _ = check(t, kind, data, config.Change{Set: []flags.Arg{
			{Name: "audit-policy-file", Value: "/etc/audit.yaml"}, {Name: "audit-log-path", Value: value}, {Name: "audit-log-maxage", Value: "30"},
		}}, plain)
	})
}
