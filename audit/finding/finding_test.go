package finding_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/internal/golden"
)

func some() []finding.Finding {
	return []finding.Finding{
		{
			Name: "unknown-key", Severity: finding.Warning, File: "dir/my policy.yaml", Line: 12, Column: 5, Message: `unknown key "verb": did you mean "verbs"?`,
			Reason: "The API server only warns about keys that it does not know. The rule then matches every verb, which is more than was meant.",
			Fix:    `verbs: ["get"]`, Doc: "docs/policy.md#unknown-key",
		},
		{Name: "no-catch-all", Severity: finding.Note, File: "dir/my policy.yaml", Message: "no rule matches everything", Fix: "- level: Metadata\n  omitStages: [RequestReceived]", Doc: "docs/policy.md#no-catch-all"},
		{Name: "unknown-key", Severity: finding.Error, File: "-", Line: 3, Message: "100% wrong: a,b", Doc: "docs/policy.md#unknown-key"},
		{
			Name: "hostile", Severity: finding.Error, File: "a:b,\x1b[2Jc\n::error::x.yaml", Line: 1, Column: 1,
			Message: "esc \x1b[31m bidi \u202e nul \x00 c1 \u009b bad \xff\xfe private \U000f0000 end\r\n::set-output name=x::y", Reason: "\x1b]0;title\x07", Fix: "one\r\n\x1b[1mtwo",
		},
	}
}

func TestRenderers(t *testing.T) {
	tool := finding.Tool{Name: "ktrail policy lint", Version: "1.2.3", Rules: []finding.Rule{
		{Name: "unknown-key", Severity: finding.Warning, Short: "A key that the API server does not know.", Help: "Write the key that was meant.", Doc: "docs/policy.md#unknown-key"},
	}}
	for name, write := range map[string]func(io.Writer, []finding.Finding) error{
		"text":       func(w io.Writer, fs []finding.Finding) error { return finding.WriteText(w, fs, finding.TextOptions{}) },
		"json":       finding.WriteJSON,
		"sarif.json": func(w io.Writer, fs []finding.Finding) error { return finding.WriteSARIF(w, fs, tool) },
		"github":     finding.WriteGitHub,
	} {
		fs := some()
		finding.Sort(fs)
		var b bytes.Buffer
		if err := write(&b, fs); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && (r < 0x20 || r == 0x7f || r == 0x9b || r == 0x202e || r == utf8.RuneError || r == 0xf0000) {
				t.Errorf("%s: hostile character %q", name, r)
			}
		}
		golden.Check(t, "testdata/"+name+".golden", b.Bytes())
		b.Reset()
		if err := write(&b, nil); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, "testdata/none."+name+".golden", b.Bytes())
		if err := write(failing{}, fs); err == nil {
			t.Errorf("%s: a failed write is not reported", name)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestTextFits(t *testing.T) {
	var b strings.Builder
	fs := some()[:3]
	if err := finding.WriteText(&b, fs, finding.TextOptions{Width: 60, Paint: func(s finding.Severity, word string) string { return "<" + string(s[:1]) + word + ">" }}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "5: <wwarning>: ") {
		t.Errorf("the severity is not painted:\n%s", b.String())
	}
	for line := range strings.Lines(b.String()) {
		if n := len(line) - 1; n > 63 && strings.Contains(strings.TrimSpace(line), " ") { // 3 for the paint
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// The rules of the schema that a writer can break: every result names a rule by
// its index, lines and columns count from 1, levels and URIs are what they may be.
func TestSARIFHoldsTogether(t *testing.T) {
	var b bytes.Buffer
	if err := finding.WriteSARIF(&b, some(), finding.Tool{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct {
						ID      string
						Help    struct{ Text string }
						HelpURI string
					}
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           map[string]int
					}
				}
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(some()) {
		t.Fatalf("not a log of one run: %s", b.Bytes())
	}
	rules := log.Runs[0].Tool.Driver.Rules
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.ID] || r.ID == "" || r.Help.Text == "" {
			t.Errorf("rule %+v is a second one or says nothing", r)
		}
		seen[r.ID] = true
		if u, err := url.Parse(r.HelpURI); err != nil || r.HelpURI != "" && !u.IsAbs() {
			t.Errorf("helpUri %q: %v", r.HelpURI, err)
		}
	}
	for _, r := range log.Runs[0].Results {
		if r.RuleIndex < 0 || r.RuleIndex >= len(rules) || rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("result %s points at rule %d", r.RuleID, r.RuleIndex)
		}
		if !slices.Contains([]string{"none", "note", "warning", "error"}, r.Level) || r.Message.Text == "" {
			t.Errorf("result %+v", r)
		}
		for _, l := range r.Locations {
			if _, err := url.Parse(l.PhysicalLocation.ArtifactLocation.URI); err != nil {
				t.Error(err)
			}
			for k, v := range l.PhysicalLocation.Region {
				if v < 1 {
					t.Errorf("%s is %d", k, v)
				}
			}
		}
	}
}

func TestSummary(t *testing.T) {
	for want, fs := range map[string][]finding.Finding{
		"":                            nil,
		"2 errors, 1 warning, 1 note": some(),
		"1 warning, 1 note":           some()[:2],
	} {
		if got := finding.Summary(fs); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzWrite: whatever stands in a finding, every form stays what it is: one
// command a line, JSON that reads back, nothing that a terminal obeys.
func FuzzWrite(f *testing.F) {
	for _, s := range some() {
		f.Add(s.File, s.Message, s.Fix)
	}
	f.Fuzz(func(t *testing.T, file, message, fix string) {
		in := []finding.Finding{{Name: "n", Severity: finding.Warning, File: file, Line: 1, Message: message, Reason: message, Fix: fix}}
		for name, write := range map[string]func(io.Writer, []finding.Finding) error{
			"text":   func(w io.Writer, fs []finding.Finding) error { return finding.WriteText(w, fs, finding.TextOptions{}) },
			"json":   finding.WriteJSON,
			"sarif":  func(w io.Writer, fs []finding.Finding) error { return finding.WriteSARIF(w, fs, finding.Tool{}) },
			"github": finding.WriteGitHub,
		} {
			var b bytes.Buffer
			if err := write(&b, in); err != nil {
				t.Fatal(err)
			}
			for _, r := range b.String() {
				if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0x200b || r == 0x2028) {
					t.Fatalf("%s: hostile character %q", name, r)
				}
			}
			switch name {
			case "github":
				if bytes.Count(b.Bytes(), []byte("\n")) != 1 || !bytes.HasPrefix(b.Bytes(), []byte("::warning ")) {
					t.Fatalf("no command of one line: %q", b.Bytes())
				}
			case "sarif":
				if !json.Valid(b.Bytes()) {
					t.Fatalf("no JSON: %q", b.Bytes())
				}
			case "json":
				var out []finding.Finding
				if err := json.Unmarshal(b.Bytes(), &out); err != nil {
					t.Fatal(err)
				}
				if utf8.ValidString(message) && out[0].Message != message {
					t.Fatalf("%q became %q", message, out[0].Message)
				}
			}
		}
	})
}
