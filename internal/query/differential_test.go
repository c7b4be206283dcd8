package query

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/ktrail/ktrail/audit"
)

var testNow = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

// odd are events that a log seldom has.
var odd = []audit.Event{
	{},
	{
		ID: 1, Time: 1, User: "naïve ☃", Groups: []string{"", "a"}, AsUser: "naïve ☃", SourceIPs: []string{"::1", "::1"},
		Code: -1, LatencyUS: -5, Truncated: true, Final: true, Name: `"quoted" \ 'name'`,
	},
	{ID: 1 << 60, Time: audit.TimeOf(testNow), Received: audit.TimeOf(testNow), Code: 1<<31 - 1, Namespace: "prod", Name: "prod", User: "a\x00b\nc", Groups: []string{"prod"}},
	{Time: audit.TimeOf(testNow.Add(-2 * time.Hour)), Verb: "get", Stage: audit.StagePanic, User: "get", AsGroups: []string{"get", "x", "y"}, Message: strings.Repeat("long ", 1000)},
}

// someEvents are odd ones, every 25th of the sample, and of the logs that
// KTRAIL_TEST_LOGS names (separated by colons), if there are any.
func someEvents(tb testing.TB) []audit.Event {
	tb.Helper()
	events := append([]audit.Event(nil), odd...)
	logs := append([]string{"../../testdata/audit-sample.log.gz"}, filepath.SplitList(os.Getenv("KTRAIL_TEST_LOGS"))...)
	for _, name := range logs {
		before := len(events)
		f, err := os.Open(name)
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				tb.Fatal(err)
			}
		}
		in := bufio.NewScanner(r)
		in.Buffer(nil, 16<<20)
		for n := 0; in.Scan(); n++ {
			var e audit.Event
			if n%25 != 0 || audit.Decode([]byte(in.Text()), &e) != nil {
				continue
			}
			e.ID = int64(n)
			events = append(events, e)
		}
		if in.Err() != nil || len(events)-before < 50 {
			tb.Fatalf("%s: %d events, %v", name, len(events)-before, in.Err())
		}
	}
	return events
}

// oracle evaluates a filter by cel-go itself.
type oracle struct{ program cel.Program }

func newOracle(text string) (*oracle, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	tree, issues := env.Compile(hide(text))
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	p, err := env.Program(tree)
	return &oracle{p}, err
}

// activation gives cel-go the columns as its own types.
func activation(e *audit.Event) map[string]any {
	vars := map[string]any{"now": testNow}
	for i := range columns {
		c := &columns[i]
		v := c.Value(e)
		switch t := v.(type) {
		case audit.Time:
			v = t.Std()
		case []string:
			if t == nil {
				v = []string{}
			}
		}
		vars[hide(c.Name)] = v
	}
	return vars
}

func (o *oracle) match(tb testing.TB, vars map[string]any) bool {
	tb.Helper()
	v, _, err := o.program.Eval(vars)
	if err != nil {
		tb.Fatal(err)
	}
	return v.Value().(bool)
}

// TestMatchIsCEL holds Match against cel-go's own evaluation, with random
// filters over the sample and odd events.
func TestMatchIsCEL(t *testing.T) {
	events := someEvents(t)
	vars := make([]map[string]any, len(events))
	for i := range events {
		vars[i] = activation(&events[i])
	}
	g := &generator{Rand: rand.New(rand.NewPCG(7, 11)), events: events}
	accepted, varied := 0, 0
	rounds := 1500
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		text := g.condition(3, "")
		f, err := ParseAt(text, testNow)
		if err != nil {
			t.Fatalf("refused: %s: %v", text, err)
		}
		o, err := newOracle(text)
		if err != nil {
			t.Fatalf("cel-go refuses %s: %v", text, err)
		}
		accepted++
		var yes int
		for i := range events {
			got, want := f.Match(&events[i]), o.match(t, vars[i])
			if got != want {
				t.Fatalf("%s\nis %v, cel-go says %v, for %+v", text, got, want, vars[i])
			}
			if got {
				yes++
			}
		}
		if yes > 0 && yes < len(events) {
			varied++
		}
		// What And and WithFinal write means what they say.
		both := WithFinal(And(f, f))
		again, err := ParseAt(both.String(), testNow)
		if err != nil {
			t.Fatalf("%s became %s: %v", text, both, err)
		}
		for i := range events {
			e := &events[i]
			want := f.Match(e) && (e.Final || f.Uses("final") || f.Uses("stage"))
			if both.Match(e) != want || again.Match(e) != want {
				t.Fatalf("%s became %s, which is %v and %v, not %v", text, both, both.Match(e), again.Match(e), want)
			}
		}
	}
	t.Logf("%d filters, %d of them true of some events and false of others", accepted, varied)
	if varied < accepted/4 {
		t.Errorf("only %d of %d filters tell events apart", varied, accepted)
	}
}

// generator writes random filters, with values that events have.
type generator struct {
	*rand.Rand
	events []audit.Event
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) column(t Type) string {
	for {
		if c := &columns[g.IntN(len(columns))]; c.Type == t && c.Filterable {
			return c.Name
		}
	}
}

func (g *generator) event() *audit.Event { return &g.events[g.IntN(len(g.events))] }

// text is a value of the column, or a piece of it, or something else.
func (g *generator) text(name string) string {
	var s string
	if name == "" {
		if l := column(g.column(Strings)).list(g.event()); len(l) > 0 {
			s = l[g.IntN(len(l))]
		}
	} else {
		s = column(name).text(g.event())
	}
	r := []rune(s)
	if len(r) > 40 {
		r = r[:40]
	}
	switch g.IntN(4) {
	case 0:
		r = r[:g.IntN(len(r)+1)]
	case 1:
		r = r[g.IntN(len(r)+1):]
	}
	if g.IntN(12) == 0 {
		return pick(g, "", "☃", `"`, `\`, "\n", "a")
	}
	return string(r)
}

func (g *generator) int(name string) int64 {
	if g.IntN(3) == 0 {
		return pick[int64](g, 0, -1, 200, 400, 404, 1<<40)
	}
	return column(name).integer(g.event())
}

func (g *generator) time() string {
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf(`now - duration("%dm")`, g.IntN(200))
	case 1:
		// Finer than a column's microsecond.
		return fmt.Sprintf("timestamp(%q)", g.event().Time.Std().Add(time.Duration(g.IntN(3000))).Format(time.RFC3339Nano))
	default:
		return fmt.Sprintf("timestamp(%q)", g.event().Time.Std().Format(time.RFC3339Nano))
	}
}

func (g *generator) op() string { return pick(g, "==", "!=", "<", "<=", ">", ">=") }

// sides puts a and b on either side.
func (g *generator) sides(a, op, b string) string {
	if g.IntN(4) == 0 {
		return b + " " + swapped[op] + " " + a
	}
	return a + " " + op + " " + b
}

// condition writes a filter; member is the variable of the list around it, if any.
func (g *generator) condition(depth int, member string) string {
	if depth > 0 {
		switch g.IntN(6) {
		case 0:
			return g.condition(depth-1, member) + " && " + g.condition(depth-1, member)
		case 1:
			return "(" + g.condition(depth-1, member) + " || " + g.condition(depth-1, member) + ")"
		case 2:
			return "!(" + g.condition(depth-1, member) + ")"
		case 3:
			if member == "" {
				v := pick(g, "x", "user", "namespace", "m")
				return fmt.Sprintf("%s.%s(%s, %s)", g.column(Strings), pick(g, "exists", "all"), v, g.condition(depth-1, v))
			}
		}
	}
	name, at := g.column(String), ""
	at = name
	if member != "" {
		// The variable may hide a column of its name.
		for name == member {
			name = g.column(String)
		}
		if at = name; g.IntN(3) > 0 {
			name, at = "", member
		}
	}
	switch g.IntN(13) {
	case 0, 1, 2:
		return g.sides(at, g.op(), Quote(g.text(name)))
	case 3:
		return fmt.Sprintf("%s.%s(%s)", at, pick(g, "startsWith", "endsWith", "contains"), Quote(g.text(name)))
	case 4:
		return fmt.Sprintf("%s.matches(%s)", at, pick(g, `"^system:"`, `"[0-9]+$"`, `"(?i)ADMIN"`, `"^$"`, `"."`, `"a|b"`, `"^(?s).*e"`))
	case 5:
		values := make([]string, g.IntN(12))
		for i := range values {
			values[i] = Quote(g.text(name))
		}
		return fmt.Sprintf("%s in [%s]", at, strings.Join(values, ", "))
	case 6:
		n := g.column(Int)
		return g.sides(n, g.op(), fmt.Sprint(g.int(n)))
	case 7:
		n := g.column(Int)
		return fmt.Sprintf("%s in [%d, %d, 200 + 1]", n, g.int(n), g.int(n))
	case 8:
		if g.IntN(4) == 0 {
			return fmt.Sprintf("%s in [%s, now]", g.column(Time), g.time())
		}
		return g.sides(g.column(Time), g.op(), g.time())
	case 9:
		b := g.column(Bool)
		return pick(g, b, "!"+b, b+" == true", "false "+g.op()+" "+b, "("+at+" == \"\") != true", b+" "+g.op()+" "+g.column(Bool))
	case 10:
		if member == "user" || member == "namespace" {
			return "size(" + at + ") > 3"
		}
		return pick(g,
			"user "+g.op()+" as_user", "namespace == name", "time "+g.op()+" received", "id "+g.op()+" code", at+" != user",
			`["a", "sys"].exists(p, user.startsWith(p))`, `["g", "l"].all(p, !verb.contains(p))`)
	case 11:
		return fmt.Sprintf("size(%s) %s %d", at, g.op(), g.IntN(25))
	default:
		if member != "" {
			return "true"
		}
		return pick(g,
			fmt.Sprintf("%s in %s", Quote(g.text("")), g.column(Strings)),
			fmt.Sprintf("%s in %s", at, g.column(Strings)),
			fmt.Sprintf("%s.size() %s %d", g.column(Strings), g.op(), g.IntN(4)),
			`1 < 2`, `now < timestamp("2000-01-01T00:00:00Z")`)
	}
}

// FuzzParse holds that no text makes Parse panic, that what is refused is a
// FilterError with a place, and that what is accepted means the same when its
// String is parsed again, alone and beside final.
func FuzzParse(f *testing.F) {
	in, err := os.ReadFile("testdata/parse.txt")
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for line := range strings.Lines(string(in)) {
		if text, ok := strings.CutPrefix(line, "> "); ok {
			f.Add(strings.TrimSuffix(text, "\n"))
			seeds++
		}
	}
	if seeds < 50 {
		f.Fatalf("%d seeds", seeds)
	}
	events := someEvents(f)[:30]
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return // the limits have their own test; long ones only slow the search
		}
		filter, err := ParseAt(text, testNow)
		if err != nil {
			var bad *FilterError
			if !errors.As(err, &bad) || bad.Line < 1 || bad.Column < 1 || bad.Message == "" || strings.ContainsAny(bad.Error(), "\n\x1b") {
				t.Fatalf("%q: %#v", text, err)
			}
			_ = bad.Caret()
			return
		}
		for _, g := range []*Filter{filter, WithFinal(filter), And(filter, filter)} {
			again, err := ParseAt(g.String(), testNow)
			if err != nil {
				t.Fatalf("%q became %q: %v", text, g, err)
			}
			for i := range events {
				if g.Match(&events[i]) != again.Match(&events[i]) {
					t.Fatalf("%q became %q, which means something else", text, g)
				}
			}
		}
	})
}

// BenchmarkMatch prints the cost of one filter on one event beside cel-go's.
func BenchmarkMatch(b *testing.B) {
	const text = `verb in ["delete", "patch", "update"] && resource == "deployments" && !user.startsWith("system:") || "system:masters" in groups && code >= 400`
	events := someEvents(b)
	f, err := Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	o, err := newOracle(text)
	if err != nil {
		b.Fatal(err)
	}
	var own, theirs float64
	b.Run("ktrail", func(b *testing.B) {
		b.ReportAllocs()
		i, n := 0, 0
		for b.Loop() {
			if f.Match(&events[i]) {
				n++
			}
			if i++; i == len(events) {
				i = 0
			}
		}
		own = float64(b.Elapsed()) / float64(b.N)
	})
	b.Run("cel-go", func(b *testing.B) {
		vars := make([]map[string]any, len(events))
		for i := range events {
			vars[i] = activation(&events[i])
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			o.match(b, vars[i])
			if i++; i == len(events) {
				i = 0
			}
		}
		theirs = float64(b.Elapsed()) / float64(b.N)
		if own > 0 {
			b.ReportMetric(theirs/own, "x-ktrail")
		}
	})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f, err := Parse(`verb in ["a", "b"] && user.matches("x") || groups.exists(g, g.startsWith("z")) || size(user) > 900 || time < now && namespace == name && code != 7`)
	if err != nil {
		t.Fatal(err)
	}
	events := someEvents(t)
	for i := range events {
		if n := testing.AllocsPerRun(10, func() { f.Match(&events[i]) }); n != 0 {
			t.Fatalf("%v allocations for event %d", n, i)
		}
	}
}
