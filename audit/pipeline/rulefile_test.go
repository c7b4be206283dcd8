package pipeline_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
)

func rules(tb testing.TB, text string) *pipeline.Rules {
	tb.Helper()
	r, err := pipeline.LoadRules("rules.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestRules(t *testing.T) {
	for _, tc := range []struct{ name, rules, resource, body, want string }{
		{"a field", "rules: [{resources: [configmaps], fields: [data]}]", "configmaps", `{"kind":"ConfigMap","data":{"a":"b"},"metadata":{"name":"x"}}`, `{"kind":"ConfigMap","data":<object 9>,"metadata":{"name":"x"}}`},
		{"each value", "rules: [{resources: [configmaps], fields: [data.*]}]", "configmaps", `{"data":{"a":"bb","c":1,"d":"","e":null}}`, `{"data":{"a":<string 2>,"c":<number 1>,"d":"","e":null}}`},
		{"through lists", "rules: [{resources: [pods], fields: [spec.containers.env.value]}]", "pods", `{"spec":{"containers":[{"env":[{"name":"A","value":"s1"},{"name":"B","valueFrom":{}}]},{"env":null}],"value":"v"}}`, `{"spec":{"containers":[{"env":[{"name":"A","value":<string 2>},{"name":"B","valueFrom":{}}]},{"env":null}],"value":"v"}}`},
		{"quoted, any case", `rules: [{resources: [pods], fields: ['metadata.Annotations["a.io/x[1]"]', 'spec["a"]["b"].c']}]`, "pods", `{"metadata":{"annotations":{"a.io/x[1]":"s1","a":"b"}},"spec":{"a":{"b":{"c":"s2"}}}}`, `{"metadata":{"annotations":{"a.io/x[1]":<string 2>,"a":"b"}},"spec":{"a":{"b":{"c":<string 2>}}}}`},
		{"lists and tables", "rules: [{resources: [configmaps], fields: [data.*]}]", "configmaps", `{"kind":"ConfigMapList","items":[{"data":{"a":"s1"}},{"metadata":{}}],"rows":[{"cells":["x"],"object":{"data":{"b":"s2"}}}]}`, `{"kind":"ConfigMapList","items":[{"data":{"a":<string 2>}},{"metadata":{}}],"rows":[{"cells":["x"],"object":{"data":{"b":<string 2>}}}]}`},
		{"a field called items", "rules: [{resources: [x], fields: [items.a]}]", "x", `{"items":[{"a":"s1","b":"c"}]}`, `{"items":[{"a":<string 2>,"b":"c"}]}`},
		{"the copy", "rules: [{resources: [configmaps], fields: [data]}]", "configmaps", `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","x":"y"}}}`, `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":<string 2>,"x":"y"}}}`},
		{"the copy in what admission webhooks did", "rules: [{resources: [configmaps], fields: [data]}]", "configmaps", `{"a":"b"},"annotations":{"patch.webhook.admission.k8s.io/round_0_index_0":"s1","x":"y"}`, `{"a":"b"},"annotations":{"patch.webhook.admission.k8s.io/round_0_index_0":<string 2>,"x":"y"}`},
		{"other resources", "rules: [{resources: [configmaps, deployments.apps, pods/log], fields: [data]}]", "pods", `{"data":"x"}`, `{"data":"x"}`},
		{"every subresource", "rules: [{resources: [pods], fields: [data]}]", "pods/status", `{"data":"x"}`, `{"data":<string 1>}`},
		{"one subresource", "rules: [{resources: [pods/status], fields: [data]}]", "pods/status", `{"data":"x"}`, `{"data":<string 1>}`},
		{"all", "rules: [{resources: ['*'], fields: [data]}]", "whatever", `{"data":"x"},"responseObject":{"data":true}`, `{"data":<string 1>},"responseObject":{"data":<boolean 4>}`},
		{"a body without names", "rules: [{resources: [pods], fields: [data]}]", "pods", `"s1"`, `<string 2>`},
		{
			"JSON patch", "rules: [{resources: [pods], fields: [spec.containers.env.value, data.*, whole]}]", "pods",
			`[{"op":"replace","path":"/spec/containers/0/env/1/value","value":"s1"},{"op":"add","path":"/spec/containers/-","value":{"name":"c","env":[{"name":"n","value":"s2"}]}},{"path":"/data/0","value":"s3"},{"path":"/data","value":{"a":"s4"}},{"path":"","value":{"data":{"a":"s5"},"b":"c"}},{"path":"/whole/deeper/1","value":"s6"},{"path":"/spec/nodeName","value":"n"}]`,
			`[{"op":"replace","path":"/spec/containers/0/env/1/value","value":<string 2>},{"op":"add","path":"/spec/containers/-","value":{"name":"c","env":[{"name":"n","value":<string 2>}]}},{"path":"/data/0","value":<string 2>},{"path":"/data","value":{"a":<string 2>}},{"path":"","value":{"data":{"a":<string 2>},"b":"c"}},{"path":"/whole/deeper/1","value":<string 2>},{"path":"/spec/nodeName","value":"n"}]`,
		},
		{"odd JSON patch", "rules: [{resources: [pods], fields: [data]}]", "pods", `["x",{"path":"data","value":"s1"},{"path":7,"value":"s2"},{"path":"/a","path":"/data","value":"s3"},{"value":"s4"}]`, `["x",{"path":"data","value":<string 2>},{"path":7,"value":<string 2>},{"path":"/a","path":"/data","value":<string 2>},{"value":<string 2>}]`},
		{"with those always on", "rules: [{resources: [secrets], fields: [type]}]", "secrets", `{"data":{"a":"s1"},"type":"Opaque"}`, `{"data":{"a":<string 2>},"type":<string 6>}`},
		{"without those always on", "builtIn: false", "secrets", `{"data":{"a":"s1"}}`, `{"data":{"a":"s1"}}`},
		{"instead of those always on", "{builtIn: false, rules: [{resources: [secrets], fields: [data.b]}]}", "secrets", `{"data":{"a":"s1","b":"s2"}}`, `{"data":{"a":"s1","b":<string 2>}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := redactor(t).WithRules(rules(t, tc.rules))
			var b audit.Batch
			if err := b.Add([]byte(line(tc.resource, `"requestObject":`+tc.body))); err != nil {
				t.Fatal(err)
			}
			before := b.Events[0]
			changed, err := r.Redact(&b.Events[0], &b)
			if err != nil {
				t.Fatal(err)
			}
			got := short.ReplaceAllString(b.Events[0].Raw, "<$1 $2>")
			if want := line(tc.resource, `"requestObject":`+tc.want); got != want || changed != (tc.body != tc.want) {
				t.Errorf("changed %v\ngot  %s\nwant %s", changed, got, want)
			}
			checkColumns(t, before, b.Events[0])
			if again, err := r.Redact(&b.Events[0], &b); again || err != nil {
				t.Errorf("a second time it changes the line again (%v): %s", err, b.Events[0].Raw)
			}
		})
	}
}

func TestRulesQuery(t *testing.T) {
	r := redactor(t).WithRules(rules(t, "rules: [{resources: [pods/exec], query: [command, token]}]"))
	const uri = `/api/v1/namespaces/a/pods/b/exec?command=mysql\u0026command=-psecret\u0026container=c\u0026stdin=\u0026T%6fken=x`
	var b audit.Batch
	for _, resource := range []string{"pods/exec", "pods/log"} {
		if err := b.Add([]byte(line(resource, `"requestURI":"`+uri+`"`))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range b.Events {
		if _, err := r.Redact(&b.Events[i], &b); err != nil {
			t.Fatal(err)
		}
	}
	e := b.Events[0]
	if strings.Contains(e.Raw, "secret") || strings.Contains(e.URI, "secret") || strings.Count(e.URI, "redacted:string:") != 3 || !strings.Contains(e.URI, "&container=c&stdin=&T%6fken=redacted:string:1:hmac-") {
		t.Errorf("got %s\n%s", e.URI, e.Raw)
	}
	if again := decoded(t, e.Raw); !reflect.DeepEqual(again, e) {
		t.Errorf("the columns are not the line's: %+v", e)
	}
	if strings.Contains(b.Events[1].Raw, "redacted") {
		t.Errorf("another resource was redacted: %s", b.Events[1].Raw)
	}
	if changed, err := r.Redact(&b.Events[0], &b); changed || err != nil {
		t.Errorf("a second time: %v, %v", changed, err)
	}
	half := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","requestURI":"/x?command=secret`
	if got := string(r.RedactLine([]byte(half))); strings.Contains(got, "secret") {
		t.Errorf("half a line became %s", got)
	}
}

func TestLoadRulesRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "rules.yaml: the file is empty"},
		{"# nothing", "rules.yaml: the file is empty"},
		{"rules: [", "rules.yaml:1: not YAML"},
		{"a:\n b: c\n  d: e\n", "rules.yaml:3: not YAML"},
		{"[]", "rules.yaml:1:1: a file of rules is a mapping"},
		{"rule: []", `rules.yaml:1:1: "rule" is not known; a file of rules has builtIn, rules`},
		{"builtIn: no", "rules.yaml:1:10: builtIn is true or false"},
		{"builtIn: False", "rules.yaml:1:10: builtIn is true or false, written so"},
		{"builtIn: 'false'", "rules.yaml:1:10: builtIn is true or false"},
		{"builtIn: true", "rules.yaml:1:1: rules: is missing"},
		{"rules: []", "rules.yaml:1:8: rules is a list, and not an empty one"},
		{"rules:\n- fields: [a]", "rules.yaml:2:3: the rule has no resources"},
		{"rules:\n- resources: [a]", "rules.yaml:2:3: the rule takes nothing out"},
		{"rules:\n- resources: [a]\n  field: [a]", `rules.yaml:3:3: "field" is not known; a rule has resources, fields, query`},
		{"rules:\n- resources: [a]\n  fields: [a]\n  fields: [b]", "rules.yaml:4:3: fields is there twice"},
		{"rules:\n- resources: configmaps\n  fields: [a]", "rules.yaml:2:14: resources is a list"},
		{"rules:\n- resources: [a]\n  fields: [[b]]", "rules.yaml:3:12: fields is a list of texts"},
		{"rules:\n- resources: [ConfigMap]\n  fields: [a]", `rules.yaml:2:15: resource "ConfigMap": resources are named in the plural and in lower case`},
		{"rules:\n- resources: [a., 'b/', x*, a.*]\n  fields: [a]", `rules.yaml:2:15: resource "a."`},
		{"rules:\n- resources: [a]\n  fields:\n  - .spec", `rules.yaml:4:5: field ".spec": a name is missing`},
		{"rules:\n- resources: [a]\n  fields: [a..b]", "a name is missing"},
		{"rules:\n- resources: [a]\n  fields: ['a[0]']", "lists need no brackets"},
		{"rules:\n- resources: [a]\n  fields: ['a[\"b\"]c']", "a dot is missing"},
		{"rules:\n- resources: [a]\n  fields: [a/b]", `"a/b" is no plain name: write ["like/this"]`},
		{"rules: [{resources: [a], fields: [b]}]\n---\nrules: []", "more than one document"},
		{"rules: &x [*x]", "rules.yaml"},
	} {
		_, err := pipeline.LoadRules("rules.yaml", []byte(tc.text))
		if err == nil || !strings.HasPrefix(err.Error(), "rules.yaml:") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v\nwant %s", tc.text, err, tc.want)
		}
		var re *pipeline.RuleError
		if !errors.As(err, &re) {
			t.Errorf("%q: the error is a %T", tc.text, err)
		}
	}
	_, err := pipeline.LoadRules("r", []byte("rules:\n- resources: [A]\n  fields: [b c]\n- x: y\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three mistakes are told as %v", err)
	}
}

// The example of the documentation is read as it stands there.
func TestRulesInTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(text), "```yaml\n# redact.yaml\n")
	if !ok {
		t.Fatal("docs/capture.md has no redact.yaml")
	}
	example, _, _ = strings.Cut(example, "```")
	rules(t, example)
}

func FuzzLoadRules(f *testing.F) {
	f.Add("rules: [{resources: ['*'], fields: [data.*, 'a[\"b.c\"].d']}]", `{"data":{"a":"b"}}`)
	f.Add("builtIn: false\nrules:\n- resources: [pods/exec]\n  query: [command]\n", `[{"path":"/a/0/1/-","value":"x"}]`)
	f.Add("rules: &a\n- resources: [x.y.z/*]\n  fields: [\"*\"]\n", `{"items":[{"rows":[]}]}`)
	f.Fuzz(func(t *testing.T, text, body string) {
		rules, err := pipeline.LoadRules("f", []byte(text))
		if err != nil {
			var re *pipeline.RuleError
			if !errors.As(err, &re) || re.File != "f" {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		var e audit.Event
		if audit.Decode([]byte(line("pods/exec", `"requestURI":"/?command=x","requestObject":`+body)), &e) != nil {
			return
		}
		// What rules make of a line is an event with the same columns, and stays as it is.
		var b audit.Batch
		before := e
		r := redactor(t).WithRules(rules)
		if _, err := r.Redact(&e, &b); err != nil {
			t.Fatal(err)
		}
		again := decoded(t, e.Raw)
		if !reflect.DeepEqual(again, e) {
			t.Fatalf("the columns are not the line's:\n%+v\n%+v", e, again)
		}
		if e.URI = before.URI; strings.Contains(text, "builtIn") {
			return
		}
		was := again.Raw
		if changed, err := r.Redact(&again, &b); changed || err != nil {
			t.Fatalf("a second time: %v\n%s\n%s", err, was, again.Raw)
		}
	})
}
