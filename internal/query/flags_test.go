package query_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/query"
)

func TestFlags(t *testing.T) {
	one := func(s string) []string { return []string{s} }
	tests := []struct {
		in   query.Flags
		want string
	}{
		{query.Flags{}, ""},
		{query.Flags{Verb: one("")}, ""},
		{query.Flags{Verb: one("delete")}, `verb == "delete"`},
		{query.Flags{Verb: one("DELETE")}, `verb == "delete"`},
		{query.Flags{Verb: one("delete,patch"), Namespace: one("prod")}, `verb in ["delete", "patch"] && namespace == "prod"`},
		{query.Flags{Verb: []string{"delete", "patch,delete"}}, `verb in ["delete", "patch"]`},
		{query.Flags{Verb: one("!get,!list,!watch")}, `!(verb in ["get", "list", "watch"])`},
		{query.Flags{Verb: one("!get")}, `verb != "get"`},
		{query.Flags{User: one("alice*")}, `user.startsWith("alice")`},
		{query.Flags{User: one("*@example.com")}, `user.endsWith("@example.com")`},
		{query.Flags{User: one("*admin*")}, `user.contains("admin")`},
		{query.Flags{User: one("a*b")}, `user.matches("(?s)^a.*b$")`},
		{query.Flags{User: one("a.*.b*c")}, `user.matches("(?s)^a\\..*\\.b.*c$")`},
		{query.Flags{User: one("*")}, `user != ""`},
		{query.Flags{User: one("!*")}, `!(user != "")`},
		{query.Flags{User: one(`!\!a`)}, `user != "!a"`},
		{query.Flags{User: one(" , a,,b,")}, `user in ["a", "b"]`},
		{query.Flags{User: one("  ")}, ""},
		{query.Flags{User: one("**x**")}, `user.contains("x")`},
		{query.Flags{User: one("!system:*")}, `!user.startsWith("system:")`},
		{query.Flags{User: one("alice*,!alice-bot,bob")}, `(user == "bob" || user.startsWith("alice")) && user != "alice-bot"`},
		{query.Flags{User: one(`CN=x\,O=y`)}, `user == "CN=x,O=y"`},
		{query.Flags{User: one(`\*\!\\`)}, `user == "*!\\"`},
		{query.Flags{As: one("*")}, `as_user != ""`},
		{query.Flags{Group: one("system:masters,dev*")}, `("system:masters" in groups || groups.exists(x, x.startsWith("dev")))`},
		{query.Flags{Group: one("!system:masters")}, `!("system:masters" in groups)`},
		{query.Flags{Resource: one("deploy")}, `resource == "deployments"`},
		{query.Flags{Resource: one("deploy,sts,cm")}, `resource in ["deployments", "statefulsets", "configmaps"]`},
		{query.Flags{Resource: one("deployments.apps")}, `(resource == "deployments" && api_group == "apps")`},
		{query.Flags{Resource: one("pods/log")}, `(resource == "pods" && subresource == "log")`},
		{query.Flags{Resource: one("deploy/web")}, `(resource == "deployments" && name == "web")`},
		{query.Flags{Resource: one("widgets.example.com,secrets")}, `(resource == "secrets" || (resource == "widgets" && api_group == "example.com"))`},
		{query.Flags{APIGroup: one("core")}, `(api_group == "" && resource != "")`},
		{query.Flags{Code: one("403")}, `code == 403`},
		{query.Flags{Code: one("403,404")}, `code in [403, 404]`},
		{query.Flags{Code: one("4xx")}, `(code >= 400 && code < 500)`},
		{query.Flags{Code: one(">=400")}, `(code >= 400)`},
		{query.Flags{Code: one("400-499")}, `(code >= 400 && code <= 499)`},
		{query.Flags{Code: one("!404")}, `code != 404`},
		{query.Flags{Code: one("!2xx,!404")}, `!(code == 404 || (code >= 200 && code < 300))`},
		{query.Flags{IP: one("10.0.0.1")}, `"10.0.0.1" in source_ips`},
		{query.Flags{IP: one("10.0.0.0/16")}, `source_ips.exists(x, x.startsWith("10.0."))`},
		{query.Flags{Decision: one("denied")}, `decision == "forbid"`},
		{query.Flags{Stage: one("panic")}, `stage == "Panic"`},
		{query.Flags{Level: one("metadata")}, `level == "Metadata"`},
		{query.Flags{Failed: true}, `code >= 400`},
		{query.Flags{Writes: true}, `verb in ["create", "update", "patch", "delete", "deletecollection"] && !(api_group in ["authentication.k8s.io", "authorization.k8s.io"])`},
		{query.Flags{Not: []string{"user=system:*", "verb=get,list"}}, `!user.startsWith("system:") && !(verb in ["get", "list"])`},
		{query.Flags{Not: one("code=4xx")}, `!((code >= 400 && code < 500))`},
		{
			query.Flags{Agent: one("kubectl/*"), AuditID: one("x"), Cluster: one("c"), Source: one("s"), Name: one("n"), Subresource: one("exec")},
			`subresource == "exec" && name == "n" && agent.startsWith("kubectl/") && audit_id == "x" && cluster == "c" && source == "s"`,
		},
	}
	for _, tt := range tests {
		got, err := tt.in.CEL()
		if err != nil || got != tt.want {
			t.Errorf("%+v:\n got %s, %v\nwant %s", tt.in, got, err, tt.want)
			continue
		}
		if _, err := query.Parse(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}

func TestFlagsErrors(t *testing.T) {
	tests := []struct {
		in   query.Flags
		want string
	}{
		{query.Flags{Code: []string{"4x"}}, `code "4x" is not understood; write 403, 4xx, >=400 or 400-499`},
		{query.Flags{Stage: []string{"Done"}}, "is none of RequestReceived"},
		{query.Flags{Decision: []string{"maybe"}}, "neither allow nor forbid"},
		{query.Flags{IP: []string{"10.0.0.0/17"}}, "/8, /16, /24"},
		{query.Flags{IP: []string{"fe80::/10"}}, "not understood"},
		{query.Flags{Resource: []string{"a/b/c/d"}}, "not understood"},
		{query.Flags{Not: []string{"user"}}, "flag=value"},
		{query.Flags{Not: []string{"usr=x"}}, "did you mean user?"},
		{query.Flags{Not: []string{"user=!x"}}, "negates twice"},
		{query.Flags{Verb: []string{"!"}}, `verb "!" says what is not asked for without naming it`},
		{query.Flags{User: []string{"alice, ! "}}, `user "alice, ! " says`},
		{query.Flags{User: []string{"!!alice"}}, `user "!!alice" negates twice`},
		{query.Flags{User: []string{"! !alice"}}, "negates twice"},
		{query.Flags{Resource: []string{"!!pods"}}, `resource "!!pods" negates twice`},
		{query.Flags{Namespace: []string{","}}, `namespace "," names nothing`},
		{query.Flags{Namespace: []string{" , ,"}}, "names nothing"},
		{query.Flags{Not: []string{"verb=,"}}, "names nothing"},
	}
	for _, tt := range tests {
		_, err := tt.in.CEL()
		var bad *query.UsageError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %s", tt.in, err, tt.want)
		}
	}
}

// TestFlagsOfErrors: who shows an error beside the field that is wrong learns which it is.
func TestFlagsOfErrors(t *testing.T) {
	flag := func(err error) string {
		var bad *query.UsageError
		if !errors.As(err, &bad) {
			t.Fatalf("got %v", err)
		}
		return bad.Flag
	}
	for _, f := range []query.Flags{{Resource: []string{"a/b/c/d"}}, {Resource: []string{"!"}}, {Resource: []string{","}}} {
		if _, err := f.CEL(); flag(err) != "resource" {
			t.Errorf("%v: the flag is %q", err, flag(err))
		}
	}
	for _, tt := range []struct{ since, until, want string }{{"x", "", "since"}, {"", "x", "until"}, {"1969-01-01", "", "since"}, {"1h", "2h", "until"}} {
		_, err := query.NewRange(tt.since, tt.until, time.Now(), time.UTC)
		if flag(err) != tt.want {
			t.Errorf("%v: the flag is %q, want %q", err, flag(err), tt.want)
		}
	}
}

func TestFlagsFilter(t *testing.T) {
	f, err := (&query.Flags{User: []string{"a,b*"}}).Filter(`code == 1 || code == 2 // why`)
	if err != nil {
		t.Fatal(err)
	}
	want := "(user == \"a\" || user.startsWith(\"b\")) && (code == 1 || code == 2 // why\n)"
	if f.String() != want {
		t.Errorf("got %s", f)
	}
	again, err := query.Parse(query.WithFinal(f).String())
	if err != nil {
		t.Fatal(err)
	}
	if got := show(again.Expr()); got != `(flag final && (user == "a" || user.startsWith("b")) && (code == int64 1 || code == int64 2))` {
		t.Errorf("got %s", got)
	}
	if f, err := (&query.Flags{}).Filter(""); err != nil || f.String() != "" || query.WithFinal(f).String() != "final" {
		t.Errorf("got %v, %v", f, err)
	}
}

// TestFlagsInjection holds that no value changes the structure: what is a text
// stays one text, whatever is in it.
func TestFlagsInjection(t *testing.T) {
	hostile := []string{
		`" || true || "`, `\" || true || \"`, `x" // `, "x\n|| true", "x\r\ny", `"""`, `'''`, `\`, `\\`, `\"`, "\x00", "\u2028", "\xff\xfe",
		`") || user.matches("`, "$(id)", "=cmd()", "<script>", "\u202e", "{{.}}", "%s", `a\`, `"in groups`, "𝕏\U0010ffff",
	}
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("\"\\'/|&()[]{}\n\r\t\x00,!* axn0x☃\u2028\ufeff")
	for range 2000 {
		b := make([]rune, 1+r.IntN(12))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		hostile = append(hostile, string(b))
	}
	texts := reflect.TypeFor[query.Flags]()
	for _, h := range hostile {
		escaped := strings.NewReplacer(`\`, `\\`, ",", `\,`, "*", `\*`, "!", `\!`).Replace(h)
		for i := range texts.NumField() {
			var f query.Flags
			name := texts.Field(i).Name
			switch name {
			case "Code", "Stage", "Level", "Decision", "Failed", "Writes":
				continue // nothing of a value is taken over
			case "Not":
				f.Not = []string{"user=" + escaped}
			default:
				reflect.ValueOf(&f).Elem().Field(i).Set(reflect.ValueOf([]string{escaped}))
			}
			cel, err := f.CEL()
			if err != nil {
				var bad *query.UsageError
				if !errors.As(err, &bad) {
					t.Fatalf("%s %q: %v", name, h, err)
				}
				continue
			}
			if cel == "" {
				continue
			}
			parsed, err := query.Parse(cel)
			if err != nil {
				t.Fatalf("%s %q became %s: %v", name, h, cel, err)
			}
			for _, shape := range []string{"Const", "||"} {
				if strings.Contains(fmt.Sprintf("%T", parsed.Expr()), shape) {
					t.Fatalf("%s %q became %s", name, h, cel)
				}
			}
			if strings.ContainsAny(cel, "\n\r\x00\u2028") {
				t.Fatalf("%s %q became %q", name, h, cel)
			}
			if c, ok := parsed.Expr().(*query.Compare); ok && name != "Verb" {
				want := strings.TrimSpace(strings.ToValidUTF8(h, "\ufffd"))
				got := c.Value.(string)
				if strings.ReplaceAll(got, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") && name != "Resource" && name != "APIGroup" {
					t.Fatalf("%s %q became the text %q", name, h, got)
				}
			}
		}
	}
}
