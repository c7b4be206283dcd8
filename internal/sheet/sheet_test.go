package sheet

import "testing"

func TestDefuse(t *testing.T) {
	for in, want := range map[string]string{
		"alice":             "alice",
		`=cmd|' /C calc'!A`: `'=cmd|' /C calc'!A`,
		"+1":                "'+1",
		"-2":                "'-2",
		"@SUM(A1)":          "'@SUM(A1)",
		"  =1":              "'  =1",
		"\t=1":              "'\t=1",
		"＝1":                "'＝1",
		"":                  "",
	} {
		if got := Defuse(in); got != want {
			t.Errorf("Defuse(%q) = %q, want %q", in, got, want)
		}
	}
}
