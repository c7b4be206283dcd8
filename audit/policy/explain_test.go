package policy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/golden"
)

// testdata/explain.txt is a policy, "---", and requests, each with what was said of
// it.
func TestExplain(t *testing.T) {
	const file = "testdata/explain.txt"
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, rest, ok := strings.Cut(string(was), "\n---\n")
	if !ok {
		t.Fatalf("%s has no ---", file)
	}
	p, err := policy.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(text + "\n---\n")
	requests := 0
	for line := range strings.Lines(rest) {
		request, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> ")
		if !ok {
			continue
		}
		requests++
		fmt.Fprintf(&b, "\n> %s\n", request)
		a := requestOf(t, request)
		e := p.Explain(&a)
		if d := policy.Compile(p).Decide(&a); d != e.Decision {
			t.Errorf("%s: decided %+v, explained %+v", request, d, e.Decision)
		}
		for _, s := range e.Steps {
			if s.Matched {
				fmt.Fprintf(&b, "  rule %d, line %d: matches\n", s.Rule+1, s.Line)
				continue
			}
			fmt.Fprintf(&b, "  rule %d, line %d: %s (line %d) wants %q, has %q\n", s.Rule+1, s.Line, s.Field, s.FieldLine, s.Wants, s.Has)
		}
		fmt.Fprintf(&b, "  %v, omitted [%v], managed fields omitted %v\n", e.Level, e.OmitStages, e.OmitManagedFields)
	}
	if requests < 8 {
		t.Errorf("%s has only %d requests", file, requests)
	}
	golden.Check(t, file, b.String())
}

// requestOf reads "verb=get resource=pods groups=a,b".
func requestOf(t *testing.T, text string) (a policy.Attributes) {
	t.Helper()
	a.NonResource = strings.Contains(text, "path=")
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "verb":
			a.Verb = value
		case "user":
			a.User = value
		case "groups":
			a.Groups = strings.Split(value, ",")
		case "nouser":
			a.NoUser = true
		case "resource":
			a.Resource, a.Subresource, _ = strings.Cut(value, "/")
		case "group":
			a.APIGroup = value
		case "namespace":
			a.Namespace = value
		case "name":
			a.Name = value
		case "path":
			a.Path = value
		default:
			t.Fatalf("%q is no attribute", key)
		}
	}
	return a
}

func TestAttributesOf(t *testing.T) {
	for name, c := range map[string]struct{ line, want string }{
		"a create loses the name of its body": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"create","requestURI":"/api/v1/namespaces/prod/secrets?fieldManager=kubectl","user":{"username":"bob","groups":["g"]},"objectRef":{"resource":"secrets","namespace":"prod","name":"db","apiVersion":"v1"}}`,
			"create bob [g] false | /secrets/ prod  | /api/v1/namespaces/prod/secrets false",
		},
		"a create with a name in its URL keeps it": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"create","requestURI":"/api/v1/namespaces/prod/secrets/db","user":{"username":"bob"},"objectRef":{"resource":"secrets","namespace":"prod","name":"db","apiVersion":"v1"}}`,
			"create bob [] false | /secrets/ prod db | /api/v1/namespaces/prod/secrets/db false",
		},
		"a subresource has its object in the URL": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"create","requestURI":"/api/v1/namespaces/prod/pods/web/exec?command=sh","user":{"username":"bob"},"objectRef":{"resource":"pods","namespace":"prod","name":"web","apiVersion":"v1","subresource":"exec"}}`,
			"create bob [] false | /pods/exec prod web | /api/v1/namespaces/prod/pods/web/exec false",
		},
		"a namespace of the body only": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"create","requestURI":"/apis/example.com/v1/things","user":{"username":"bob"},"objectRef":{"resource":"things","namespace":"prod","name":"x","apiGroup":"example.com","apiVersion":"v1"}}`,
			"create bob [] false | example.com/things/   | /apis/example.com/v1/things false",
		},
		"a list by name": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"list","requestURI":"/api/v1/namespaces/prod/secrets?fieldSelector=metadata.name%3Ddb","user":{"username":"bob"},"objectRef":{"resource":"secrets","namespace":"prod","name":"db","apiVersion":"v1"}}`,
			"list bob [] false | /secrets/ prod db | /api/v1/namespaces/prod/secrets false",
		},
		"nobody, and an escaped path": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get","requestURI":"/a%20b%2Fc?x=%2F","user":{}}`,
			"get  [] true | //   | /a b/c true",
		},
		"a path that cannot be unescaped": {
			`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get","requestURI":"/a%zz","user":{"username":"x"}}`,
			"get x [] false | //   | /a%zz true",
		},
	} {
		var e audit.Event
		if err := audit.Decode([]byte(c.line), &e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a := policy.AttributesOf(&e)
		if got := fmt.Sprintf("%s %s %v %v | %s/%s/%s %s %s | %s %v", a.Verb, a.User, a.Groups, a.NoUser, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name, a.Path, a.NonResource); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestLevelsAndStages(t *testing.T) {
	for _, l := range policy.Levels() {
		text, err := l.MarshalText()
		var back policy.Level
		if err != nil || back.UnmarshalText(text) != nil || back != l || l.String() != string(text) {
			t.Errorf("%v became %q and %v (%v)", l, text, back, err)
		}
	}
	for _, bad := range []string{"", "none", "All"} {
		if l, err := policy.ParseLevel(bad); err == nil {
			t.Errorf("ParseLevel(%q) = %v", bad, l)
		}
		if s, err := policy.ParseStage(bad); err == nil {
			t.Errorf("ParseStage(%q) = %v", bad, s)
		}
	}
	if _, err := policy.Level(9).MarshalText(); err == nil {
		t.Error("level 9 was marshalled")
	}
	for s := range policy.AllStages + 1 {
		text, err := s.MarshalJSON()
		var back policy.Stages
		if err != nil || back.UnmarshalJSON(text) != nil || back != s {
			t.Errorf("%v became %s and %v (%v)", s, text, back, err)
		}
	}
	some := policy.Panic | policy.RequestReceived
	if some.String() != "RequestReceived,Panic" || !some.Has(policy.Panic) || some.Has(policy.Panic|policy.ResponseStarted) || !some.Has(0) {
		t.Errorf("%v is not the set of two", some)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(head + "rules: [{level: Metadata, resources: [{group: apps}]}]\n"))
	f.Add([]byte(head + "x: &a {level: None}\nrules: [*a, {<<: *a, users: [x]}, *a]\n---\n"))
	f.Add([]byte(`{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"Nope"}]}`))
	f.Add([]byte(head + "rules: &r [{level: None}, *r]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := policy.Load(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if len(p.Rules) == 0 {
			t.Error("a policy without rules was loaded")
		}
		a := policy.Attributes{Verb: "get", Resource: "pods"}
		if got, want := policy.Compile(p).Decide(&a), p.Explain(&a).Decision; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
