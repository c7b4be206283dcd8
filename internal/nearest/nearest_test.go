package nearest_test

import (
	"testing"

	"github.com/ktrail/ktrail/internal/nearest"
)

func TestName(t *testing.T) {
	words := []string{"search", "top", "history", "actor", "sql", "serve", "import", "version"}
	for in, want := range map[string]string{
		"serach": "search", "hist": "", "histroy": "history", "imprt": "import", "tpo": "top",
		"x": "", "": "", "zzzzzz": "", "SEARCH": "",
	} {
		if got := nearest.Name(in, words); got != want {
			t.Errorf("Name(%q) = %q, want %q", in, got, want)
		}
	}
}
