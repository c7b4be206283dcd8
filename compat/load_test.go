package compat

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"

	"github.com/ktrail/ktrail/audit/policy"
)

// holdLoad fails if the two loaders differ about a text, and returns whether they
// took it. Where both refuse a policy by its validation the texts must be equal too.
func holdLoad(t *testing.T, text []byte) bool {
	t.Helper()
	want, wantErr := auditpolicy.LoadPolicyFromBytes(text)
	got, err := policy.Load(text)
	if err != nil {
		var bad policy.LoadErrors
		if !errors.As(err, &bad) || len(bad) == 0 {
			t.Fatalf("the error is %T: %v", err, err)
		}
		for _, e := range bad {
			if lines := 1 + len(breaks.FindAll(text, -1)); (e.Line < 1 || e.Column < 1 || e.Line > lines) && len(text) <= policy.MaxSize {
				t.Fatalf("%v is not at a place of\n%q", e, text)
			}
		}
		// What we refuse on purpose, whatever the API server says of it.
		if strings.Contains(err.Error(), "document") || bytes.HasPrefix(text, []byte("k8s\x00")) {
			return false
		}
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("ours: %v\nupstream: %v\nfor\n%q", err, wantErr, text)
	}
	if err != nil {
		if theirs := validation(wantErr); theirs != nil {
			var ours []string
			for _, e := range err.(policy.LoadErrors) {
				if one := e.Field + ": " + e.Msg; !slices.Contains(ours, one) { // an aggregate says a thing once
					ours = append(ours, one)
				}
			}
			if !slices.Equal(ours, theirs) {
				t.Fatalf("ours:\n%s\nupstream:\n%s\nfor\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"), text)
			}
		}
		return false
	}
	theirs, convErr := FromUpstream(want)
	if convErr != nil {
		t.Fatal(convErr)
	}
	if got.Name != theirs.Name || got.OmitStages != theirs.OmitStages || got.OmitManagedFields != theirs.OmitManagedFields || len(got.Rules) != len(theirs.Rules) {
		t.Fatalf("ours: %+v\nupstream: %+v\nfor\n%s", got, theirs, text)
	}
	for i, r := range got.Rules {
		r.Line, r.Column = 0, 0
		if !reflect.DeepEqual(r, theirs.Rules[i]) {
			t.Fatalf("rule %d\nours: %#v\nupstream: %#v\nfor\n%s", i, r, theirs.Rules[i], text)
		}
	}
	return true
}

// breaks are what YAML takes for the end of a line.
var breaks = regexp.MustCompile("[\n\r\u0085\u2028\u2029]")

// validation are the problems of an error of the API server's validation, nil if
// it is another error.
func validation(err error) []string {
	var list utilerrors.Aggregate
	if !errors.As(err, &list) {
		return nil
	}
	var texts []string
	for _, e := range list.Errors() {
		var one *field.Error
		if !errors.As(e, &one) {
			return nil
		}
		if text := one.Error(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// texts are policies and what people take for them: the seeds of all that follows.
var texts = []string{
	"", "\n", "# nothing", "---", "null", "~", "5", "x", "[]", "{}", "{", "}", "\t", "a: b: c", "- a", "\x00", "\xff\xfe", "k8s\x00", "\xef\xbb\xbfkind: Policy",
	head + metadataRule, head + "rules: []", head, head + "rules:", head + "rules: {}", head + "rules: x", head + "rules: [x]", head + "rules: [[]]", head + "rules: [null]",
	"apiVersion: audit.k8s.io/v1\n" + metadataRule, "kind: Policy\n" + metadataRule, metadataRule,
	"apiVersion: audit.k8s.io/v1beta1\nkind: Policy\n" + metadataRule, "apiVersion: audit.k8s.io/v1alpha1\nkind: Policy\n" + metadataRule,
	"apiVersion: audit.k8s.io/__internal\nkind: Policy\n" + metadataRule, "apiVersion: audit.k8s.io/\nkind: Policy\n" + metadataRule, "apiVersion: /\n" + metadataRule,
	"apiVersion: a/b/c\nkind: Policy\n" + metadataRule, "apiVersion: v1\nkind: Policy\n" + metadataRule, "apiVersion: v1\nkind: Status\n", "apiVersion: 1\n" + metadataRule,
	"apiVersion: audit.k8s.io/v1\nkind: policy\n" + metadataRule, "apiVersion: audit.k8s.io/v1\nkind: PolicyList\nitems: []\n", "apiVersion: audit.k8s.io/v1\nkind: Event\n" + metadataRule,
	"apiVersion: audit.k8s.io/v1\nkind: ListOptions\n" + metadataRule, "apiVersion: audit.k8s.io/v1\nkind: null\n" + metadataRule, "apiVersion: audit.k8s.io/v1\nkind: 7\n" + metadataRule,
	"APIVersion: audit.k8s.io/v1\nKind: Policy\n" + metadataRule, "apiversion: audit.k8s.io/v1\napiVersion: v1\n" + metadataRule, "apiVersion: audit.k8s.io/v1\napiversion: v1\n" + metadataRule,
	head + "Rules: [{level: None}]\n" + metadataRule, head + "rules: [{Level: None}]\n", head + "rules: [{level: None, Verbs: 5}]\n", head + "rules: [{level: none}]\n", head + "rules: [{level: ''}]", head + "rules: [{level: null}]", head + "rules: [{level: 0}]",
	head + "rules: [{level: None, verb: [get]}]", head + "rules: [{level: None, users: x}]", head + "rules: [{level: None, users: [5]}]", head + "rules: [{level: None, users: [yes]}]", head + "rules: [{level: None, users: [null, '']}]", head + "rules: [{level: None, users: []}]", head + "rules: [{level: None, users: [[a]]}]",
	head + "rules: [{level: None, omitStages: [RequestReceived, RequestReceived, Panic]}]", head + "rules: [{level: None, omitStages: [requestReceived, '']}]", head + "omitStages: [X]\nrules: []", head + "omitStages: [ResponseStarted]\n" + metadataRule, head + "omitStages: Panic\n" + metadataRule,
	head + "omitManagedFields: true\n" + metadataRule, head + "omitManagedFields: yes\n" + metadataRule, head + "omitManagedFields: 'true'\n" + metadataRule, head + "omitManagedFields: null\n" + metadataRule, head + "rules: [{level: None, omitManagedFields: false}, {level: None, omitManagedFields: on}, {level: None, omitManagedFields: }]",
	head + "rules: [{level: None, nonResourceURLs: ['*', '/*', '/a*', '', 'a', 'a*b', '/a*b', '**', '/**', '*a', '/ü*', '/☸']}]", head + "rules: [{level: None, nonResourceURLs: [/a], resources: [{}]}]", head + "rules: [{level: None, nonResourceURLs: [/a], namespaces: [x]}]",
	head + "rules: [{level: None, resources: [{group: apps/v1}, {group: '*'}, {group: ''}, {group: A}, {group: a..b}, {group: '*.x'}, {group: -a}, {group: a_b}, {group: " + strings.Repeat("a", 254) + "}]}]",
	head + "rules: [{level: None, resources: [{resourceNames: [a]}, {resources: [x], resourceNames: [a]}, {resources: [], resourceNames: ['<&>\u2028']}]}]", head + "rules: [{level: None, resources: [pods]}]", head + "rules: [{level: None, resources: {group: x}}]", head + "rules: [{level: None, resources: [null, {}]}]",
	head + "metadata: {name: x, labels: {a: b}, creationTimestamp: null, generation: 3}\n" + metadataRule, head + "metadata: {labels: {a: 5}}\n" + metadataRule, head + "metadata: x\n" + metadataRule, head + "metadata: {creationTimestamp: 2020-01-01T00:00:00Z}\n" + metadataRule, head + "metadata: {creationTimestamp: 'x'}\n" + metadataRule,
	head + "metadata: {generation: 1.5}\n" + metadataRule, head + "metadata: {generation: '1'}\n" + metadataRule, head + "metadata: {generation: 99999999999999999999}\n" + metadataRule, head + "metadata: {ownerReferences: [{controller: x}]}\n" + metadataRule, head + "metadata: {managedFields: [{time: x}]}\n" + metadataRule, head + "metadata: {managedFields: [{fieldsV1: 5, time: null}]}\n" + metadataRule, head + "metadata: {finalizers: [1]}\n" + metadataRule, head + "metadata: {deletionGracePeriodSeconds: x}\n" + metadataRule, head + "metadata: {deletionTimestamp: 5}\n" + metadataRule, head + "metadata: {clusterName: 5}\n" + metadataRule,
	head + metadataRule + "rules: [{level: None}]\n", head + metadataRule + "---\nkind: X\n", head + metadataRule + "---\n", head + metadataRule + "...\n", "---\n" + head + metadataRule, "---\n---\n" + head + metadataRule, "# x\n---\n# y\n" + head + metadataRule, "%YAML 1.1\n---\n" + head + metadataRule, head + metadataRule + "---\n: [\n",
	head + "x: &a {level: None}\nrules: [*a, {<<: *a, users: [x]}, *a]\n", head + "x: &a [*a]\n" + metadataRule, head + "rules: &r [{level: None}, *r]\n", head + "rules: *x\n", head + "1: x\ntrue: y\n1.5: z\n~: q\n" + metadataRule, head + "? [a]\n: b\n" + metadataRule, head + "? {a: b}\n: b\n" + metadataRule,
	head + "x: .nan\n" + metadataRule, head + "x: .inf\n" + metadataRule, head + "x: 2001-01-01\n" + metadataRule, head + "x: !!binary aGk=\n" + metadataRule, head + "x: !foo y\n" + metadataRule, head + "x: !!int y\n" + metadataRule, head + "rules: [{level: !!str None}]\n", head + "rules: [{level: !!binary Tm9uZQ==}]\n", head + "rules: [{level: None, users: [!!str 5, 0x10, 1e3, 010, 1_000, =, <<, y, n]}]\n",
	head + "rules:\n- level: None\n  users:\n  - |\n    a\n    b\n  - >-\n    c\n    d\n  - \"\\u2028\\x00\"\n", "\ufeff" + head + metadataRule, strings.ReplaceAll(head+metadataRule, "\n", "\r\n"), strings.ReplaceAll(head+metadataRule, "\n", "\r"), head + "rules:\n\t- level: None\n",
	`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}`, ` {"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]} `, `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}x`, `{apiVersion: audit.k8s.io/v1, rules: [{level: Metadata}]}`,
	`{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","users":["a","b"]}],"rules":[{"verbs":["x"]},{"level":"Request"}]}`, `{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","level":"Request","level":null}]}`, `{"apiVersion":"audit.k8s.io/v1","RULES":5,"rules":[{"level":"None","LEVEL":7}]}`,
	`{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","users":["\ud83d\ude00","\ud83d","` + "\xff" + `"]}]}`, "{\"apiVersion\":\"audit.k8s.io/v1\",\t\"rules\":[{\"level\":\"Nope\"}]}", "\u00a0{\"apiVersion\":\"audit.k8s.io/v1\"}", "\x0b{\"apiVersion\":\"audit.k8s.io/v1\"}", `["apiVersion"]`, `"x"`, `{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None"}]}{}`, `{"a":1e400}`, `{"apiVersion":"audit.k8s.io/v1","x":1e400,"rules":[{"level":"None"}]}`,
}

const (
	head         = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	metadataRule = "rules: [{level: Metadata}]\n"
)

func TestLoadTexts(t *testing.T) {
	taken := 0
	for _, text := range texts {
		if holdLoad(t, []byte(text)) {
			taken++
		}
	}
	t.Logf("%d of %d texts are policies", taken, len(texts))
	if taken < 30 || taken > len(texts)-50 {
		t.Error("the texts are too much alike to prove anything")
	}
}

// Policies that are almost right: keys and values put together at random, and then
// damaged in a place.
func TestLoadRandom(t *testing.T) {
	taken, refused, invalid := 0, 0, 0
	for seed := range uint64(6000) {
		r := random{rand.New(rand.NewPCG(seed, 5))}
		text := []byte(randomText(r))
		if r.IntN(4) == 0 {
			text = damage(r, text)
		}
		if holdLoad(t, text) {
			taken++
			continue
		}
		refused++
		if _, err := auditpolicy.LoadPolicyFromBytes(text); validation(err) != nil {
			invalid++
		}
	}
	t.Logf("%d taken, %d refused, %d of those by the validation", taken, refused, invalid)
	if taken < 500 || refused < 500 || invalid < 500 {
		t.Error("the random texts are too much alike to prove anything")
	}
}

// randomText is a policy in flow style, which may be wrong in a few values.
func randomText(r random) string {
	odd := func(plain string, others ...string) string {
		if r.IntN(40) > 0 {
			return plain
		}
		return r.one(append(others, "null", "5", "[]", "{}", "[x]", "''", "true", "\"\\t\"", "*a", "&a x", "!!str 5", "-", "~", "{a: b}"))
	}
	list := func(from ...string) string {
		var values []string
		for range r.IntN(3) {
			values = append(values, odd(r.one(from)))
		}
		return odd("[" + strings.Join(values, ", ") + "]")
	}
	var rules []string
	for range r.IntN(4) {
		var fields []string
		add := func(key, value string) {
			if r.IntN(2) == 0 {
				fields = append(fields, odd(key, "verb", "user", "Level", "level")+": "+value)
			}
		}
		fields = append(fields, "level: "+odd(r.one([]string{"None", "Metadata", "Request", "RequestResponse"}), "none", "All"))
		add("users", list("alice", "'*'", "system:node:a"))
		add("verbs", list("get", "'*'", "WATCH"))
		add("omitStages", list("RequestReceived", "Panic", "ResponseStarted", "ResponseComplete"))
		add("omitManagedFields", odd("true"))
		if r.IntN(3) == 0 {
			add("nonResourceURLs", list("/healthz*", "'*'", "/", "'/a*b'", "x"))
		} else {
			var resources []string
			for range r.IntN(3) {
				resources = append(resources, "{group: "+odd(r.one([]string{"''", "apps", "'*'", "rbac.authorization.k8s.io"}), "apps/v1", "A")+", resources: "+list("pods", "'*'", "pods/log")+", resourceNames: "+list("a", "b")+"}")
			}
			add("resources", odd("["+strings.Join(resources, ", ")+"]"))
			add("namespaces", list("default", "''"))
		}
		rules = append(rules, odd("{"+strings.Join(fields, ", ")+"}"))
	}
	text := "apiVersion: " + odd("audit.k8s.io/v1", "audit.k8s.io/v1beta1", "v1") + "\n" + odd("kind: Policy\n", "kind: Event\n", "", "Kind: Policy\n") + odd("", "metadata: {name: x}\n", "omitStages: [Panic, x]\n") + "rules: " + odd("["+strings.Join(rules, ", ")+"]") + "\n"
	if r.IntN(10) == 0 {
		text += r.one([]string{"---\n", "...\n", "---\nx\n", "---\n# x\n", "omitManagedFields: true\n", "rules: []\n", "\x00", "x"})
	}
	return text
}

func damage(r random, text []byte) []byte {
	at := r.IntN(len(text))
	switch r.IntN(3) {
	case 0:
		return slices.Delete(slices.Clone(text), at, min(len(text), at+1+r.IntN(3)))
	case 1:
		return slices.Insert(slices.Clone(text), at, []byte(r.one([]string{"\n", " ", ":", "-", "{", "]", "\"", "'", "#", "&a ", "*a ", "\t", "---\n", "!!binary ", "\xff"}))...)
	}
	text = slices.Clone(text)
	text[at] = byte(r.IntN(256))
	return text
}

func FuzzLoad(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	if text, err := GCEPolicy(); err == nil {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) { holdLoad(t, text) })
}

// Real text, with comments, and every rule where it is said to be.
func TestLoadGCE(t *testing.T) {
	text, err := GCEPolicy()
	if err != nil {
		t.Fatal(err)
	}
	if !holdLoad(t, text) {
		t.Error("the GCE policy is refused")
	}
	p, err := policy.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range p.Rules {
		if line := strings.Split(string(text), "\n")[r.Line-1]; !strings.HasPrefix(strings.TrimSpace(line), "- level: "+r.Level.String()) {
			t.Errorf("rule %d is said to begin in %q", i, line)
		}
	}
}
