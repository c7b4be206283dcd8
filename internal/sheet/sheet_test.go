package sheet

import (
	"strings"
	"testing"
)

func TestDefuse(t *testing.T) {
	for in, want := range map[string]string{
		"alice":             "alice",
		`=cmd|' /C calc'!A`: `'=cmd|' /C calc'!A`,
		"+1":                "'+1",
		"-2":                "'-2",
		"@SUM(A1)":          "'@SUM(A1)",
		"  =1":              "'  =1",
		`"=1`:               `'"=1`,
		"\t=1":              "'\t'=1",
		"\r=1":              "'\r'=1",
		"\n=1":              "'\n'=1",
		"＝1":                "'＝1",
		"":                  "",
		// Behind what may be a separator.
		"x;=1":       "x;'=1",
		"x; =1":      "x;' =1",
		`x;"=1`:      `x;'"=1`,
		"x,@A1":      "x,'@A1",
		"x\t-1":      "x\t'-1",
		"x\r\n+1":    "x\r\n'+1",
		"x|=1":       "x|'=1",
		"x;;=1;y;＋2": "x;;'=1;y;'＋2",
		// What stands elsewhere is no formula.
		"alice@example.com":             "alice@example.com",
		"a=1;b":                         "a=1;b",
		"kubectl/v1 (linux; amd64) a-b": "kubectl/v1 (linux; amd64) a-b",
		"/api?watch=true&x=-1":          "/api?watch=true&x=-1",
		"10.0.0.1, 10.0.0.2":            "10.0.0.1, 10.0.0.2",
		"x\xff;=1":                      "x\xff;'=1",
	} {
		if got := Defuse(in); got != want {
			t.Errorf("Defuse(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzDefuse: whatever a cell is split at, none of the parts begins a formula,
// nothing but ' is added, and doing it twice adds nothing.
func FuzzDefuse(f *testing.F) {
	for _, s := range []string{"", "=1", "a;=1", "\t;\"@", "＝,－", "'=1", "\xff=", "; ; =1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Defuse(s)
		for _, sep := range strings.Split(separators, "") {
			for i, cell := range strings.Split(got, sep) {
				// A cell may begin with other separators; what is left of them is harmless.
				cell = strings.TrimLeft(cell, separators+` "`)
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@") {
					t.Errorf("%q became %q: cell %d at %q is a formula", s, got, i, sep)
				}
			}
		}
		if strings.ReplaceAll(got, "'", "") != strings.ReplaceAll(s, "'", "") {
			t.Errorf("%q became %q", s, got)
		}
		if twice := Defuse(got); twice != got {
			t.Errorf("%q became %q, then %q", s, got, twice)
		}
	})
}
