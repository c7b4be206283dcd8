package query

import "testing"

// TestAmongSaysWhatItIs: filters that differ have texts that differ, and a text
// means its filter: questions are put together by it.
func TestAmongSaysWhatItIs(t *testing.T) {
	rows := []GroupRow{{Keys: []string{`a"b`, "x"}}, {Keys: []string{"c", "x"}}}
	one := among([]string{"agent", "verb"}, rows)
	other := among([]string{"source_ips", "verb"}, rows)
	if got, want := one.String(), `agent in ["a\"b", "c"] && verb in ["x"]`; got != want {
		t.Errorf("the filter is %s, not %s", got, want)
	}
	if got, want := other.String(), `source_ips.exists(x, x in ["a\"b", "c"]) && verb in ["x"]`; got != want {
		t.Errorf("the filter is %s, not %s", got, want)
	}
	for _, f := range []*Filter{one, other} {
		if _, err := Parse(f.String()); err != nil {
			t.Error(err)
		}
	}
}
