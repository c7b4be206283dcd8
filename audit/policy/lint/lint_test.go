package lint_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/lint"
	"github.com/ktrail/ktrail/internal/golden"
)

// Each kind of finding has testdata/NAME.txt: a policy in which it is found, one
// that means well and has no warning at all, and what is said about the first. The
// first line may give options, "good:" those of the second policy alone.
func TestFindings(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range lint.Kinds() {
		names = append(names, k.Name)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if !slices.Contains(names, name) {
			t.Errorf("%s is about no finding", file)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".txt")
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			section := func(name string) []byte {
				for _, f := range a.Files {
					if f.Name == name {
						return f.Data
					}
				}
				t.Fatalf("%s has no %s", file, name)
				return nil
			}
			forBad, forGood := options(t, string(a.Comment))
			bad := lint.Check("bad.yaml", section("bad.yaml"), forBad)
			if !slices.ContainsFunc(bad, func(f finding.Finding) bool { return f.Name == name }) {
				t.Errorf("nothing is found in bad.yaml: %+v", bad)
			}
			for _, f := range lint.Check("good.yaml", section("good.yaml"), forGood) {
				if f.Severity != finding.Note || f.Name == name {
					t.Errorf("found in good.yaml: %+v", f)
				}
			}
			var text bytes.Buffer
			if err := finding.WriteText(&text, bad, finding.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			section("want")
			a.Files[slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })].Data = text.Bytes()
			golden.Check(t, file, txtar.Format(a))
			for _, f := range bad {
				if f.Line == 0 || f.Column == 0 || f.Message == "" || f.Reason == "" || f.Doc != "docs/policy.md#"+f.Name {
					t.Errorf("a finding lacks its place, its reason or its page: %+v", f)
				}
			}
		})
	}
}

func options(t *testing.T, line string) (bad, good lint.Options) {
	t.Helper()
	for word := range strings.FieldsSeq(line) {
		word, onlyGood := strings.CutPrefix(word, "good:")
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "kubernetes":
			var minor int
			if _, err := fmt.Sscan(value, &minor); err != nil {
				t.Fatal(err)
			}
			good.Minor = minor
			if !onlyGood {
				bad.Minor = minor
			}
		case "mode":
			bad.Mode, good.Mode = value, value
		default:
			t.Fatalf("unknown option %q", word)
		}
	}
	return bad, good
}

// Every finding is explained on the page that it points at, with the headings
// that GitHub makes anchors of.
func TestFindingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## lint\n")
	section, _, _ = strings.Cut(section, "\n## ")
	headings := regexp.MustCompile(`(?m)^#### (\S+)$`).FindAllStringSubmatch(section, -1)
	var documented []string
	for _, h := range headings {
		documented = append(documented, h[1])
	}
	var names []string
	for _, k := range lint.Kinds() {
		names = append(names, k.Name)
		if k.Doc != "docs/policy.md#"+k.Name || k.Short == "" || k.Help == "" {
			t.Errorf("kind %+v", k)
		}
	}
	for _, n := range names {
		if !slices.Contains(documented, n) {
			t.Errorf("docs/policy.md has no heading #### %s", n)
		}
	}
	for _, n := range documented {
		if !slices.Contains(names, n) {
			t.Errorf("docs/policy.md explains %s, which is no finding", n)
		}
	}
}

func TestPresetsAreClean(t *testing.T) {
	for _, p := range policy.Presets() {
		for _, minor := range []int{0, lint.OldestMinor, 29, 37} {
			for _, f := range lint.Check(p.Name, p.YAML, lint.Options{Minor: minor}) {
				if f.Severity != finding.Note {
					t.Errorf("Kubernetes 1.%d: %+v", minor, f)
				}
			}
		}
	}
}

func TestGroupWildcardByVersion(t *testing.T) {
	text := []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  resources:\n  - group: \"*\"\n    resources: [\"*/status\"]\n- level: Metadata\n")
	for minor, want := range map[int]finding.Severity{0: finding.Note, 29: finding.Error, 35: finding.Error, 36: "", 37: ""} {
		var got finding.Severity
		for _, f := range lint.Check("p", text, lint.Options{Minor: minor}) {
			got = f.Severity
		}
		if got != want {
			t.Errorf("1.%d: %q, want %q", minor, got, want)
		}
	}
}

func TestCatalogOfTheCluster(t *testing.T) {
	text := []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  resources:\n  - group: example.com\n    resources: [widget, gadgets/status]\n  - group: other.example.com\n- level: Metadata\n")
	catalog, err := policy.BuiltIn().With([]byte("widgets  wd  example.com/v1  true  Widget\ngadgets  example.com/v1  true  Gadget\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range lint.Check("p", text, lint.Options{Catalog: catalog, Complete: true}) {
		got = append(got, string(f.Severity)+" "+f.Message)
	}
	want := []string{`warning rule 1: "widget" matches nothing: requests name it "widgets"`, `warning rule 1: the cluster has no API group "other.example.com"`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is no policy is one error, whatever it is.
func TestNoPolicy(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "binary": "\x7fELF\x02\x01\x01\x00\x00", "a log": `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata"}` + "\n",
		"large": strings.Repeat("# a comment\n", policy.MaxSize/12+1), "a list": "- a\n- b\n", "two": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n---\na: b\n",
	} {
		fs := lint.Check(name, []byte(text), lint.Options{})
		errors := finding.Count(fs, finding.Error)
		if errors != 1 || fs[0].Line > 5 {
			t.Errorf("%s: %+v", name, fs)
		}
	}
}

// A long policy is checked in a moment: the work on each rule is bounded.
func TestLongPolicy(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n")
	for i := range 400 {
		fmt.Fprintf(&b, "- level: Request\n  users: [u%d, v%d]\n  userGroups: [g%d]\n  namespaces: [n%d, m%d]\n  resources:\n  - group: apps\n    resources: [deployments]\n    resourceNames: [a%d]\n", i, i, i, i, i, i)
	}
	b.WriteString("- level: Metadata\n")
	for _, f := range lint.Check("long", []byte(b.String()), lint.Options{}) {
		if f.Name != "watch-bodies" {
			t.Fatalf("%+v", f)
		}
	}
}

func FuzzCheck(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 40 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range a.Files[:2] {
			f.Add(part.Data)
		}
	}
	f.Add([]byte("a: &a [*a]\nrules: *a\n"))
	f.Add([]byte("{\"rules\":\t[{\"level\":\t\"None\"}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := policy.Load(data)
		fs := lint.Check("f", data, lint.Options{Mode: lint.ModeStrict})
		if loads := finding.Count(fs, finding.Error) == 0; loads != (err == nil) {
			t.Fatalf("errors %v, Load says %v", fs, err)
		}
	})
}
