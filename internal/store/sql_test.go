package store

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestFiltersAgree holds the SQL of a filter against its matcher: the same
// events, in many hand-written filters and more random ones.
func TestFiltersAgree(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 2)
	newest := sorted(events)

	filters := []string{
		`verb == "delete"`, `verb != "get"`, `verb in ["create", "update", "patch", "delete"]`, `!(verb in ["get", "list", "watch"])`,
		`user.startsWith("system:")`, `!user.startsWith("system:")`, `user.endsWith("")`, `user.contains("kube")`, `name.contains("%")`,
		`name.contains("_")`, `name.contains("\\")`, `name.contains("'")`, `name == "'"`, `name == "\u0000"`, `name.contains("\u0000")`,
		`name == "a\u0000b"`, `name.startsWith("a\u0000")`, `name < "é"`, `name <= "é"`, `name > "\uFFFD"`, `name >= "🙂"`, `name < ""`,
		`name == "é"`, `name == "e\u0301"`, `name in ["é", "日本語", "'", "\u0000"]`,
		`user.matches("^system:node")`, `user.matches("NODE")`, `user.matches("(?i)NODE")`, `name.matches("^.$")`, `name.matches("(?s)^.$")`,
		`name.matches("^$")`, `name.matches("")`, `name.matches("\\pL")`, `name.matches("^\\w+$")`, `name.matches("\\d+$")`, `name.matches("line.break")`,
		`name.matches("(?s)line.break")`, `name.matches("(?m)^break$")`, `name.matches("a.b")`, `name.matches("\\x00")`, `name.matches("(?i)^k$")`,
		`name.matches("(?i)^ω$")`, `name.matches("(?i)^S$")`, `name.matches("[^a-z]")`, `name.matches("\\bx\\b")`, `name.matches("^(long ){10,}$")`,
		`name.matches("'|--")`, `name.matches("\\Q[a-z]+\\E")`, `name.matches("[[:upper:]]")`, `name.matches("\\p{Greek}")`, `name.matches("^\\P{L}*\\z")`,
		`code >= 400`, `code < 0`, `code == 200 || code == 201`, `code in [200, 404, 409]`, `code > 3000000000`, `code != -9223372036854775807`,
		`latency_us > 1000 && latency_us < 100000`, `latency_us < 0`, `id <= 100`, `id % 1 == 0`,
		`final`, `!final`, `truncated`, `final && !truncated`, `final == truncated`, `true`, `false`, `final || true`,
		`"system:masters" in groups`, `!("system:authenticated" in groups)`, `"'" in groups`, `"\u0000" in groups`, `"" in groups`,
		`groups.exists(g, g.startsWith("system:"))`, `groups.all(g, g.startsWith("system:"))`, `groups.exists(g, g == "a" || g.contains("é"))`,
		`groups.all(g, g != "system:masters")`, `groups.exists(g, g == user)`, `groups.exists(g, g.matches("^.$"))`, `groups.exists(g, g > "t")`,
		`groups.all(g, g < "t" && verb == "get")`, `!groups.exists(g, g.contains(":"))`, `groups.exists(g, size(g) > 20)`,
		`size(groups) == 0`, `size(groups) > 1`, `groups.size() == 2`, `size(name) == 1`, `size(name) > 10`, `name.size() == 0`,
		`size(source_ips) == 1 && source_ips[0] == "10.0.0.3"`, `source_ips.exists(ip, ip.startsWith("10.0.0."))`,
		`time >= timestamp("1970-01-01T00:00:00Z")`, `time < timestamp("1970-01-01T00:00:00Z")`, `time == received`, `received != time`, `received < time`,
		`time > timestamp("0001-01-01T00:00:00Z") && time < timestamp("9999-12-31T23:59:59Z")`,
		`user == name`, `user < name`, `verb != resource`, `code >= 400 && !(reason in ["NotFound", "Conflict"]) || user == ""`,
		`(namespace == "kube-system" || namespace == "default") && (verb == "get" || verb == "list") && !(name == "")`,
		`as_user != ""`, `as_groups.exists(g, g == as_user)`, `raw_ == 1`,
	}
	understood := 0
	for _, text := range filters {
		f, err := query.Parse(text)
		if err != nil {
			t.Logf("no filter: %s: %v", text, err)
			continue
		}
		understood++
		agree(t, s, newest, f, text)
	}
	if understood < len(filters)*8/10 {
		t.Errorf("only %d of %d filters were understood", understood, len(filters))
	}

	rng := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		text := randomFilter(rng, events, 3)
		f, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		agree(t, s, newest, f, text)
	}
}

func agree(t *testing.T, s *Store, newest []*audit.Event, f *query.Filter, text string) {
	t.Helper()
	var want, got []int64
	for _, e := range newest {
		if f.Match(e) {
			want = append(want, e.ID)
		}
	}
	_, err := s.Search(t.Context(), query.SearchRequest{Filter: f, NoRaw: true}, func(e *audit.Event) error {
		got = append(got, e.ID)
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	if !slices.Equal(got, want) {
		sql, _ := filterSQL(f.Expr())
		for _, e := range newest {
			if slices.Contains(got, e.ID) != slices.Contains(want, e.ID) {
				t.Errorf("%s\nSQL %.500s\ngives %d events, the matcher %d; they differ at id %d: %.300s", text, sql, len(got), len(want), e.ID, e.Raw)
				return
			}
		}
		t.Errorf("%s: the order differs", text)
	}
}

// randomFilter makes a filter whose literals are values of events, or near them.
func randomFilter(rng *rand.Rand, events []audit.Event, depth int) string {
	if depth > 0 && rng.IntN(3) > 0 {
		x, y := randomFilter(rng, events, depth-1), randomFilter(rng, events, depth-1)
		return [...]string{"(" + x + " && " + y + ")", "(" + x + " || " + y + ")", "!(" + x + ")"}[rng.IntN(3)]
	}
	var cols []query.Column
	for _, c := range query.Columns() {
		if c.Filterable {
			cols = append(cols, c)
		}
	}
	c := cols[rng.IntN(len(cols))]
	e := &events[len(events)-1-rng.IntN(min(len(events), 400))]
	op := [...]string{"==", "!=", "<", "<=", ">", ">="}[rng.IntN(6)]
	switch v := c.Value(e).(type) {
	case bool:
		return [...]string{c.Name, "!" + c.Name}[rng.IntN(2)]
	case int64:
		return c.Name + " " + op + " " + strconv.FormatInt(v+int64(rng.IntN(3)-1), 10)
	case audit.Time:
		return c.Name + " " + op + ` timestamp("` + max(v, 1).String() + `")`
	case []string:
		member := ""
		if len(v) > 0 {
			member = v[rng.IntN(len(v))]
		}
		fn := [...]string{"exists", "all"}[rng.IntN(2)]
		return [...]string{
			celText(member) + " in " + c.Name,
			c.Name + "." + fn + "(x, x " + op + " " + celText(member) + ")",
			c.Name + "." + fn + "(x, " + randomText(rng, "x", member) + ")",
			"size(" + c.Name + ") " + op + " " + strconv.Itoa(rng.IntN(4)),
		}[rng.IntN(4)]
	case string:
		if len(v) > 200 {
			v = "long"
		}
		return [...]string{
			c.Name + " " + op + " " + celText(v),
			randomText(rng, c.Name, v),
			c.Name + " in [" + celText(v) + ", " + celText(strings.ToUpper(v)) + "]",
			"size(" + c.Name + ") " + op + " " + strconv.Itoa(len([]rune(v))),
		}[rng.IntN(4)]
	}
	panic("unknown type")
}

// randomText asks for a part of v, cut between code points.
func randomText(rng *rand.Rand, name, v string) string {
	r := []rune(v)
	from := rng.IntN(len(r) + 1)
	to := from + rng.IntN(len(r)-from+1)
	part := string(r[from:to])
	return [...]string{
		name + ".startsWith(" + celText(string(r[:to])) + ")",
		name + ".endsWith(" + celText(string(r[from:])) + ")",
		name + ".contains(" + celText(part) + ")",
		name + ".matches(" + celText(quoteMeta(part)) + ")",
	}[rng.IntN(4)]
}

func quoteMeta(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(`\.+*?()|[]{}^$`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// celText is s as a CEL string.
func celText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			b.WriteString(`\u00`)
			b.WriteString(strconv.FormatInt(int64(r)+0x100, 16)[1:])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// TestExprs runs trees that no CEL gives but a Source may get.
func TestExprs(t *testing.T) {
	events := hostileEvents(1e15)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 1)
	count := func(x query.Expr) int64 {
		t.Helper()
		sql, err := filterSQL(x)
		if err != nil {
			t.Fatal(err)
		}
		sn, err := s.acquire(query.Range{})
		if err != nil {
			t.Fatal(err)
		}
		defer sn.release()
		var n int64
		err = s.eng.query(t.Context(), "SELECT count(*) FROM read_parquet("+filesSQL(sn.Segments)+") WHERE "+sql, func(c *chunk) error {
			n = c.integer(0, 0)
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return n
	}
	match := func(fn func(e *audit.Event) bool) (n int64) {
		for i := range events {
			if fn(&events[i]) {
				n++
			}
		}
		return n
	}
	all := int64(len(events))
	for _, tt := range []struct {
		x    query.Expr
		want int64
	}{
		{&query.Compare{Column: "id", Op: ">", Value: int64(math.MinInt64)}, all},
		{&query.Compare{Column: "id", Op: ">", Value: int64(math.MaxInt64)}, 0},
		{&query.Compare{Column: "code", Op: "<", Value: int64(math.MaxInt64)}, all},
		{&query.Compare{Column: "time", Op: "<", Value: audit.Time(math.MaxInt64)}, all},
		{&query.Compare{Column: "time", Op: ">", Value: audit.Time(math.MinInt64)}, all},
		{&query.Compare{Column: "name", Op: "<", Value: "\xff"}, all},
		{&query.Compare{Column: "name", Op: "==", Value: "\xc3"}, 0},
		{&query.Compare{Column: "name", Op: "<", Value: "\xc3"}, match(func(e *audit.Event) bool { return e.Name < "\xc3" })},
		{&query.In{Column: "name", Values: []any{"\xff"}}, 0},
		{&query.In{Column: "name", Values: []any{"\xff", "'"}}, 1},
		{&query.Any{Column: "groups", X: &query.Compare{Op: ">=", Value: "\xc3"}}, match(func(e *audit.Event) bool {
			return slices.ContainsFunc(e.Groups, func(g string) bool { return g >= "\xc3" })
		})},
		{&query.Any{Column: "groups", X: &query.Any{Column: "as_groups", X: &query.Compare{Op: "==", Value: "'"}}}, 1},
		{&query.Const{Value: false}, 0},
	} {
		if got := count(tt.x); got != tt.want {
			sql, _ := filterSQL(tt.x)
			t.Errorf("%s: %d events, want %d", sql, got, tt.want)
		}
	}
	for _, bad := range []query.Expr{
		&query.Flag{Column: `final" OR true --`},
		&query.Compare{Column: "", Op: "==", Value: "x"},
		&query.Compare{Column: "name", Op: "; DROP", Value: "x"},
		&query.Compare{Column: "name", Op: "==", Value: 1.5},
		&query.Text{Column: "name", Func: "version", Arg: ""},
		&query.Text{Column: "name", Func: "contains", Arg: "\xff"},
		&query.Text{Column: "name", Func: "matches", Arg: "("},
	} {
		if sql, err := filterSQL(bad); err == nil {
			t.Errorf("%#v gives SQL: %s", bad, sql)
		}
	}
}
