package query_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/query"
)

// at is "now" in the tests: half an hour before the lab's log ends.
var at = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

// show writes a tree as a person would, every group in parentheses.
func show(x query.Expr) string {
	list := func(xs []query.Expr, op string) string {
		s := make([]string, len(xs))
		for i := range xs {
			s[i] = show(xs[i])
		}
		return "(" + strings.Join(s, " "+op+" ") + ")"
	}
	value := func(v any) string {
		switch v := v.(type) {
		case string:
			return fmt.Sprintf("%q", v)
		case audit.Time:
			return "time " + v.String()
		default:
			return fmt.Sprintf("%T %v", v, v)
		}
	}
	name := func(s string) string {
		if s == "" {
			return "MEMBER"
		}
		return s
	}
	switch x := x.(type) {
	case *query.Const:
		return fmt.Sprint(x.Value)
	case *query.Not:
		return "!" + show(x.X)
	case *query.Logic:
		return list(x.X, x.Op)
	case *query.Flag:
		return "flag " + x.Column
	case *query.Compare:
		return fmt.Sprintf("%s %s %s", name(x.Column), x.Op, value(x.Value))
	case *query.CompareColumns:
		return fmt.Sprintf("%s %s column %s", name(x.Left), x.Op, name(x.Right))
	case *query.In:
		s := make([]string, len(x.Values))
		for i := range x.Values {
			s[i] = value(x.Values[i])
		}
		return fmt.Sprintf("%s in [%s]", name(x.Column), strings.Join(s, ", "))
	case *query.Text:
		return fmt.Sprintf("%s.%s(%q)", name(x.Column), x.Func, x.Arg)
	case *query.Size:
		return fmt.Sprintf("size(%s) %s %d", name(x.Column), x.Op, x.N)
	case *query.Any:
		return fmt.Sprintf("any of %s (%s)", x.Column, show(x.X))
	case *query.All:
		return fmt.Sprintf("all of %s (%s)", x.Column, show(x.X))
	}
	return fmt.Sprintf("?%T", x)
}

// TestParse answers each filter of testdata/parse.txt, a line that begins with
// "> ", by its tree or its error. Lines with | continue a filter.
func TestParse(t *testing.T) {
	in, err := os.ReadFile("testdata/parse.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var filters int
	lines := strings.Split(string(in), "\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "# ") || lines[i] == "" && i+1 < len(lines) && strings.HasPrefix(lines[i+1], "# ") {
			out.WriteString(lines[i] + "\n")
			continue
		}
		text, ok := strings.CutPrefix(lines[i], "> ")
		if !ok {
			continue
		}
		out.WriteString(lines[i] + "\n")
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "| ") {
			i++
			out.WriteString(lines[i] + "\n")
			text += "\n" + lines[i][2:]
		}
		filters++
		f, err := query.ParseAt(text, at)
		var bad *query.FilterError
		switch {
		case err == nil:
			fmt.Fprintf(&out, "  %s\n", show(f.Expr()))
		case errors.As(err, &bad):
			fmt.Fprintf(&out, "  ERROR %s\n", err)
			for _, l := range strings.Split(bad.Caret(), "\n") {
				fmt.Fprintf(&out, "  ERROR     %s\n", l)
			}
		default:
			t.Errorf("%s: %v is no FilterError", text, err)
		}
	}
	if filters < 50 {
		t.Errorf("found %d filters only", filters)
	}
	golden.Check(t, "testdata/parse.txt", out.String())
}

// TestParseLimits holds that a hostile filter is refused, not computed.
func TestParseLimits(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("!(", n) + "final" + strings.Repeat(")", n) }
	tests := []struct{ name, in, want string }{
		{"long", `verb == "` + strings.Repeat("x", 64<<10) + `"`, "bytes long, more than 65536"},
		{"deep", deep(300), "deep"},
		{"very deep", strings.Repeat("(", 30_000), "deep"},
		{"product", `["a","b","c","d","e","f","g","h"].exists(a, ["a","b","c","d","e","f","g","h"].exists(b, ["a","b","c","d","e","f","g","h"].exists(c, ` +
			`["a","b","c","d","e","f","g","h"].exists(d, ["a","b","c","d","e","f","g","h"].exists(e, user == a + b + c + d + e)))))`, "more than 20000 parts"},
		{"constant loop", "[" + strings.Repeat("1,", 999) + "1].all(a, [" + strings.Repeat("1,", 999) + "1].all(b, a == b))", "limit"},
		{"pattern", `user.matches("` + strings.Repeat("a{1000}", 100) + `")`, "patterns are too large"},
		{"many patterns", strings.Repeat(`user.matches("[a-z]{900}") || `, 100) + "final", "patterns are too large"},
		{"long sum", "1" + strings.Repeat("+1", 30_000) + " == 1", "deep"},
		{"long path", "a" + strings.Repeat(".a", 30_000), "deep"},
		{"nested pattern", `user.matches("((a{100}){100}){100}")`, ""},
		{"not UTF-8", "verb == \"\xff\"", "not valid UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := query.ParseAt(tt.in, at)
			var bad *query.FilterError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
				t.Errorf("not a readable line: %q", err)
			}
		})
	}
	for _, in := range []string{deep(40), strings.Repeat(`verb == "a" || `, 1500) + "final", `code in [` + strings.Repeat("1,", 9000) + "2]"} {
		if _, err := query.ParseAt(in, at); err != nil {
			t.Errorf("%.30s...: %v", in, err)
		}
	}
}

// TestColumnsAreTheEvents holds the table against the json tags of audit.Event.
func TestColumnsAreTheEvents(t *testing.T) {
	kinds := map[reflect.Type]query.Type{
		reflect.TypeFor[string](): query.String, reflect.TypeFor[int64](): query.Int, reflect.TypeFor[int32](): query.Int,
		reflect.TypeFor[bool](): query.Bool, reflect.TypeFor[audit.Time](): query.Time, reflect.TypeFor[[]string](): query.Strings,
	}
	cols := query.Columns()
	i := 0
	for f := range reflect.TypeFor[audit.Event]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if i >= len(cols) || cols[i].Name != name || cols[i].Type != kinds[f.Type] {
			t.Fatalf("column %d is not %s %s", i, name, f.Type)
		}
		if cols[i].Doc == "" {
			t.Errorf("%s has no doc", name)
		}
		// Each accessor reads its own field.
		var e audit.Event
		v := reflect.ValueOf(&e).Elem().FieldByIndex(f.Index)
		switch v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Slice:
			v.Set(reflect.ValueOf([]string{"x", "y"}))
		default:
			v.SetInt(7)
		}
		if got := cols[i].Value(&e); fmt.Sprint(got) != fmt.Sprint(v.Interface()) {
			t.Errorf("%s: got %v", name, got)
		}
		if cols[i].Text(&e) == "" {
			t.Errorf("%s: no text", name)
		}
		i++
	}
	if i != len(cols) {
		t.Errorf("%d columns, %d fields", len(cols), i)
	}
}

func TestLookupColumn(t *testing.T) {
	for in, want := range map[string]string{
		"usr": "user", "verbs": "verb", "sourceIPs": "source_ips", "objectRef.name": "name", "userAgent": "agent",
		"requestURI": "uri", "user.username": "user", "responseStatus.code": "code", "ip": "source_ips", "NAMESPACE": "namespace", "apigroup": "api_group",
	} {
		_, err := query.LookupColumn(in)
		var bad *query.UsageError
		if !errors.As(err, &bad) || bad.Suggest != want {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
	if c, err := query.LookupColumn("verb"); err != nil || c.Name != "verb" {
		t.Errorf("got %v, %v", c, err)
	}
	if _, err := query.LookupColumn("zzzzzzzzz"); err == nil || !strings.Contains(err.Error(), "the columns are id, time") {
		t.Errorf("got %v", err)
	}
}
