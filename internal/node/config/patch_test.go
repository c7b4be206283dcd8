package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/diff"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/node/config"
)

// enable is what ktrail enable changes, in short.
func enable() config.Change {
	return config.Change{
		Set: []flags.Arg{
			{Name: "audit-policy-file", Value: "/etc/kubernetes/audit/policy.yaml"},
			{Name: "audit-log-path", Value: "/var/log/kubernetes/audit/audit.log"},
			{Name: "audit-log-maxage", Value: "30"},
			{Name: "audit-log-compress", Value: "true"},
		},
		AddMounts: []config.Mount{
			{Name: "audit-policy", MountPath: "/etc/kubernetes/audit", ReadOnly: true, Type: "DirectoryOrCreate"},
			{Name: "audit-log", MountPath: "/var/log/kubernetes/audit", Type: "DirectoryOrCreate"},
		},
	}
}

// undo is the change that takes back what change did to before.
func undo(before, after *config.Settings, change config.Change) (back config.Change, all bool) {
	// What RKE2 adds to a policy that is there looks as if it had been set before.
	all = before.Kind != config.RKE2 || value(before, flags.PolicyFile) == nil
	for _, a := range change.Set {
		if value(before, a.Name) == nil {
			back.Unset = append(back.Unset, a.Name)
		} else if *value(before, a.Name) != a.Value {
			all = false
		}
	}
	for _, m := range after.Mounts {
		if !slices.ContainsFunc(before.Mounts, func(b config.Mount) bool { return b.Name == m.Name && b.MountPath == m.MountPath }) {
			back.RemoveMounts = append(back.RemoveMounts, m.Name)
		}
	}
	return back, all
}

func value(s *config.Settings, name string) *string {
	for _, a := range slices.Backward(s.Args) {
		if a.Name == name {
			return &a.Value
		}
	}
	return nil
}

// check patches data and holds all that is promised of a patch. What it returns
// is the outcome, or the refusal.
//
// decode makes values of both texts, to see that nothing else changed.
func check(t *testing.T, kind config.Kind, data string, change config.Change, decode func(string) ([]any, error)) (string, error) {
	t.Helper()
	out, err := config.Patch(kind, []byte(data), change)
	if err != nil {
		var refused *config.RefusedError
		if !errors.As(err, &refused) || refused.Msg == "" {
			t.Fatalf("error %v is no *RefusedError", err)
		}
		return "", err
	}
	after := string(out)
	before, err := config.Read(kind, []byte(data))
	if err != nil {
		t.Fatalf("what was patched cannot be read: %v", err)
	}
	got, err := config.Read(kind, out)
	if err != nil {
		t.Fatalf("the outcome cannot be read: %v\n%s", err, after)
	}
	for _, a := range change.Set {
		if v := value(got, a.Name); v == nil || *v != a.Value {
			t.Errorf("--%s is %v, want %q", a.Name, v, a.Value)
		}
	}
	for _, a := range before.Args {
		if v := value(got, a.Name); v == nil || value(&config.Settings{Args: change.Set}, a.Name) == nil && *v != *value(before, a.Name) {
			t.Errorf("--%s was %q and is %v", a.Name, a.Value, v)
		}
	}
	back, all := undo(before, got, change)
	if was, err := decode(data); err == nil {
		is, err := decode(after)
		if err != nil {
			t.Fatalf("the outcome cannot be decoded: %v\n%s", err, after)
		}
		// As text, for a value may be NaN.
		if was, is := fmt.Sprintf("%#v", strip(was, change, back)), fmt.Sprintf("%#v", strip(is, change, back)); was != is {
			t.Errorf("more than audit settings changed:\n%v\n%v\n%s", was, is, diff.Unified("before", "after", data, after))
		}
	}
	again, err := config.Patch(kind, out, change)
	if err != nil || string(again) != after {
		t.Errorf("patched twice: %v\n%s", err, diff.Unified("once", "twice", after, string(again)))
	}
	if !all {
		return after, nil // a value changed, which nothing remembers
	}
	undone, err := config.Patch(kind, out, back)
	if err != nil {
		t.Errorf("undo: %v", err)
	} else if d := diff.Unified("before", "undone", data, string(undone)); d != "" && addedVolumes(kind, data, back) {
		t.Errorf("undone is not what was:\n%s", d)
	}
	return after, nil
}

// addedVolumes reports whether the volumes of the mounts that were added were
// not there before, unmounted.
func addedVolumes(kind config.Kind, data string, back config.Change) bool {
	if kind != config.StaticPod {
		return true
	}
	for _, name := range back.RemoveMounts {
		for _, v := range volumes(data) {
			if v == name {
				return false
			}
		}
	}
	return true
}

func volumes(data string) (out []string) {
	var pod struct {
		Spec struct{ Volumes []struct{ Name string } }
	}
	if yaml.Unmarshal([]byte(data), &pod) == nil {
		for _, v := range pod.Spec.Volumes {
			out = append(out, v.Name)
		}
	}
	return out
}

// kubernetes decodes a text as Kubernetes does.
func kubernetes(data string) (out []any, err error) {
	data = strings.ReplaceAll(strings.TrimPrefix(data, "\ufeff"), "\r\n", "\n")
	for _, doc := range strings.Split("\n"+data, "\n---") { // in block scalars --- stands indented
		var v any
		if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// made are the collections that a patch makes where there are none.
var made = map[string]bool{"kube-apiserver-arg": true, "kube-apiserver-arg+": true, "volumes": true, "volumeMounts": true, "extraVolumes": true, "extraArgs": true, "apiServer": true}

// strip takes out of a decoded value what change may touch: its flags, and the
// mounts that back removes.
func strip(v any, change, back config.Change) any {
	ours := func(name string) bool {
		return slices.ContainsFunc(change.Set, func(a flags.Arg) bool {
			return a.Name == strings.ReplaceAll(name, "_", "-")
		})
	}
	switch v := v.(type) {
	case map[any]any: // has keys that are no strings
		out := map[string]any{}
		for k, x := range v {
			if _, ok := k.(string); !ok {
				k = fmt.Sprintf("(%T) %v", k, k)
			}
			out[k.(string)] = x
		}
		return strip(out, change, back)
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if text, ok := x.(string); ok && k == "ClusterConfiguration" {
				var inner any
				if yaml.Unmarshal([]byte(text), &inner) == nil {
					x = inner
				}
			}
			if text, ok := x.(string); ok && made[k] { // one flag of k3s as a text
				if name, _, _ := strings.Cut(text, "="); ours(name) {
					x = []any{}
				}
			}
			x = strip(x, change, back)
			if ours(k) || made[k] && (reflect.DeepEqual(x, []any{}) || reflect.DeepEqual(x, map[string]any{})) {
				continue // made by the patch, or empty as well
			}
			out[k] = x
		}
		return out
	case []any:
		out := []any{}
		for i := 0; i < len(v); i++ {
			x := v[i]
			if m, ok := x.(map[string]any); ok {
				name, _ := m["name"].(string)
				if _, arg := m["value"]; arg && ours(name) || !arg && slices.Contains(back.RemoveMounts, name) {
					continue
				}
			}
			if text, ok := x.(string); ok && strings.HasPrefix(text, "--") {
				name, _, whole := strings.Cut(text[2:], "=")
				if ours(name) {
					if !whole && name != "audit-log-compress" {
						i++
					}
					continue
				}
			} else if ok { // of k3s
				if name, _, whole := strings.Cut(text, "="); whole && ours(strings.TrimRight(name, "+-")) {
					continue
				}
			}
			out = append(out, strip(x, change, back))
		}
		return out
	}
	return v
}

// forms are the manifests of testdata/forms.txt.
func forms(t testing.TB) []txtar.File {
	t.Helper()
	a, err := txtar.ParseFile("testdata/forms.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) < 90 {
		t.Fatalf("only %d forms", len(a.Files))
	}
	return a.Files
}

// kindOf is the kind of a form: what it is detected as, or a static pod.
func kindOf(data []byte) config.Kind {
	if kind, err := config.Detect(data); err == nil {
		return kind
	}
	return config.StaticPod
}

func TestForms(t *testing.T) {
	var b strings.Builder
	for _, f := range forms(t) {
		fmt.Fprintf(&b, "-- %s --\n", f.Name)
		t.Run(f.Name, func(t *testing.T) {
			after, err := check(t, kindOf(f.Data), string(f.Data), enable(), kubernetes)
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
	golden.Check(t, "testdata/forms.golden", b.String())
}

// TestBytesOfForms holds that each form is patched alike, and refused alike,
// whatever its line ends are.
func TestBytesOfForms(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, c := range []struct {
		name string
		as   func(string) string
	}{
		{"CRLF", crlf},
		{"byte order mark", func(s string) string { return "\ufeff" + s }},
		{"no last line break", func(s string) string { return strings.TrimSuffix(s, "\n") }},
		{"all of it", func(s string) string { return "\ufeff" + strings.TrimSuffix(crlf(s), "\r\n") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range forms(t) {
				kind := kindOf(f.Data)
				want, refused := config.Patch(kind, f.Data, enable())
				after, err := check(t, kind, c.as(string(f.Data)), enable(), kubernetes)
				if (err != nil) != (refused != nil) {
					t.Errorf("%s: %v, but %v as it was", f.Name, err, refused)
				}
				if err == nil && after != c.as(string(want)) {
					t.Errorf("%s:\n%s", f.Name, diff.Unified("want", "got", c.as(string(want)), after))
				}
			}
		})
	}
}

func TestKubeadmVersions(t *testing.T) {
	files, err := filepath.Glob("testdata/kubeadm/*.yaml")
	if err != nil || len(files) != 14 {
		t.Fatalf("%d manifests, want those of 1.24 to 1.37: %v", len(files), err)
	}
	var b strings.Builder
	var first string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		version := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(version, func(t *testing.T) {
			s, err := config.Read(config.StaticPod, data)
			if err != nil || !strings.HasPrefix(s.Version, "v"+version+".") || len(s.Args) != 27 || len(s.Mounts) != 5 || len(s.Problems) != 0 {
				t.Errorf("read %+v, %v", s, err)
			}
			after, err := check(t, config.StaticPod, string(data), enable(), kubernetes)
			if err != nil {
				t.Fatal(err)
			}
			d := diff.Unified("before", "after", string(data), after)
			if changed := onlyChanges(d); first == "" {
				first = changed
			} else if changed != first {
				t.Errorf("the change differs from the first version's:\n%s", changed)
			}
			if version == "1.24" || version == "1.37" {
				fmt.Fprintf(&b, "-- %s --\n%s", version, d)
			}
			// Again, with an older set of audit flags in it.
			old := strings.Replace(after, "maxage=30", "maxage=7", 1)
			old = strings.Replace(old, "    - --audit-log-compress=true\n", "    - --audit-webhook-mode=batch\n", 1)
			if again, err := check(t, config.StaticPod, old, enable(), kubernetes); err != nil || !strings.Contains(again, "--audit-webhook-mode=batch") {
				t.Errorf("with audit flags: %v\n%s", err, again)
			}
		})
	}
	golden.Check(t, "testdata/kubeadm.golden", b.String())
}

func onlyChanges(d string) string {
	var out []string
	for _, l := range strings.Split(d, "\n") {
		if strings.HasPrefix(l, "+") || strings.HasPrefix(l, "-") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// TestRenderedByKubeadm takes what kubeadm 1.37.2 made of a ClusterConfiguration
// that the patch had turned auditing on in: nothing is left to do.
func TestRenderedByKubeadm(t *testing.T) {
	data, err := os.ReadFile("testdata/rendered-1.37.yaml")
	if err != nil {
		t.Fatal(err)
	}
	after, err := check(t, config.StaticPod, string(data), enable(), kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff.Unified("kubeadm", "patched", string(data), after); d != "" {
		t.Error(d)
	}
}

// TestStamp holds that a stamp is one annotation, put, replaced and taken away
// with nothing else changed.
func TestStamp(t *testing.T) {
	const container = "spec:\n  containers:\n  - command: [kube-apiserver]\n    name: kube-apiserver\n"
	for _, c := range []struct{ name, in, want string }{
		{"annotations", "kind: Pod\nmetadata:\n  annotations:\n    kubeadm.kubernetes.io/x: 10.0.0.1:6443\n  name: a\n" + container, "+    ktrail/audit-policy: S\n     kubeadm.kubernetes.io/x: 10.0.0.1:6443\n"},
		{"none", "kind: Pod\nmetadata:\n  labels: {a: b}\n  name: a\n" + container, "+  annotations:\n+    ktrail/audit-policy: S\n"},
		{"empty", "kind: Pod\nmetadata:\n  annotations: {}\n  name: a\n" + container, "-  annotations: {}\n+  annotations: { ktrail/audit-policy: S}\n"},
		{"no metadata", "kind: Pod\n" + container, ""},
		{"JSON", `{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"kube-apiserver","command":["kube-apiserver"]}]}}`, "\"ktrail/audit-policy\":\"S\""},
		{"Windows", strings.ReplaceAll("kind: Pod\nmetadata:\n  name: a # b\n"+container, "\n", "\r\n"), "+    ktrail/audit-policy: S\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := config.Patch(config.StaticPod, []byte(c.in), config.Change{Stamp: "S"})
			if err != nil {
				t.Fatal(err)
			}
			if d := diff.Unified("a", "b", c.in, string(out)); !strings.Contains(stripSpace(d), stripSpace(c.want)) || c.want == "" && d != "" {
				t.Errorf("got\n%s", d)
			}
			again, err := config.Patch(config.StaticPod, out, config.Change{Stamp: "T"})
			if err != nil {
				t.Fatal(err)
			}
			if s, err := config.Read(config.StaticPod, again); err != nil || c.want != "" && s.Stamp != "T" {
				t.Errorf("stamp %v, %v", s, err)
			}
			back, err := config.Patch(config.StaticPod, again, config.Change{Unstamp: true})
			if err != nil || string(back) != c.in {
				t.Errorf("%v, not what it was:\n%s", err, diff.Unified("was", "is", c.in, string(back)))
			}
		})
	}
}

// stripSpace leaves spaces out: where they stand in brackets is TestForms' concern.
func stripSpace(s string) string { return strings.ReplaceAll(s, " ", "") }
