package policy_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func TestLoad(t *testing.T) {
	yes, no := true, false
	text := head + `metadata:
  name: ours
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: [system:kube-proxy, ""]
  verbs: [watch]
  resources:
  - group: ""
    resources: [endpoints, services/status]
    resourceNames: [a]
  - group: apps
# a comment
- level: RequestResponse
  omitStages: [ResponseStarted, Panic]
  omitManagedFields: false
  userGroups: [system:nodes]
  namespaces: [""]
-
  level: Request
  omitManagedFields: true
  nonResourceURLs: ["*", /healthz*]
`
	got, err := policy.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Rule{
		{
			Level: policy.None, Users: []string{"system:kube-proxy", ""}, Verbs: []string{"watch"}, Line: 8, Column: 3,
			Resources: []policy.GroupResources{{Resources: []string{"endpoints", "services/status"}, ResourceNames: []string{"a"}}, {Group: "apps"}},
		},
		{Level: policy.RequestResponse, UserGroups: []string{"system:nodes"}, Namespaces: []string{""}, OmitStages: policy.ResponseStarted | policy.Panic, OmitManagedFields: &no, Line: 17, Column: 3},
		{Level: policy.Request, NonResourceURLs: []string{"*", "/healthz*"}, OmitManagedFields: &yes, Line: 23, Column: 3},
	}
	if got.Name != "ours" || got.OmitStages != policy.RequestReceived || !got.OmitManagedFields || !reflect.DeepEqual(got.Rules, want) {
		t.Errorf("got %+v\nwant rules %+v", got, want)
	}
	for field, want := range map[string][2]int{
		"omitStages": {5, 13}, "rules[0].resources[1].group": {15, 12}, "rules[2].nonResourceURLs[1]": {25, 26},
		"rules[3]": {}, "rules[0].namespaces": {}, "nothing": {},
	} {
		if line, column := got.Position(field); [2]int{line, column} != want {
			t.Errorf("Position(%q) = %d, %d, want %v", field, line, column, want)
		}
	}
}

func TestLoadAccepts(t *testing.T) {
	rule := "rules: [{level: Metadata}]\n"
	for name, text := range map[string]string{
		"JSON with tabs":          "\t{\"apiVersion\":\t\"audit.k8s.io/v1\",\n\t\"kind\": \"Policy\", \"rules\": [{\"level\": \"Metadata\"}]}",
		"no kind":                 "apiVersion: audit.k8s.io/v1\n" + rule,
		"keys nobody knows":       head + "rule: x\nrules: [{level: Metadata, verb: [get], resource: 5}]\n",
		"a key twice":             head + "rules: []\n" + rule,
		"a marker in front":       "# comment\n---\n" + head + rule,
		"a marker at the end":     head + rule + "---\n# nothing\n---\n",
		"an end marker":           head + rule + "...\n",
		"aliases and merges":      head + "x: &r {level: Metadata}\nrules: [*r, {<<: *r, verbs: [get]}]\n",
		"the case of other keys":  head + "RULES: 5\n" + rule,
		"nulls":                   head + "omitStages:\nmetadata:\nrules: [{level: Metadata, users: , verbs: [null]}]\n",
		"creationTimestamp: null": head + "metadata: {creationTimestamp: null, labels: {a: b}}\n" + rule,
	} {
		p, err := policy.Load([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if p.Rules[0].Level != policy.Metadata || p.Rules[0].Line == 0 {
			t.Errorf("%s: got %+v", name, p.Rules)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	rule := "rules: [{level: Metadata}]\n"
	for _, c := range []struct{ text, want string }{
		{"", "line 1, column 1: there is nothing in it"},
		{" \n", "line 1, column 1: there is nothing in it"},
		{"k8s\x00\n\x1b", "line 1, column 1: is protobuf; write the policy as YAML or JSON"},
		{"\x7fELF\x02\x01\x01\x00", "line 1, column 1: is no YAML: control characters are not allowed"},
		{"rules:\n- level: None\n  - verbs: [get]\n", "line 2, column 1: is no YAML: did not find expected key"},
		{"a: [1\nb: 2", "line 1, column 1: is no YAML: did not find expected ',' or ']'"},
		{"{\"a\": 1,\n  b: 2}", "line 2, column 3: is no JSON: invalid character 'b' looking for beginning of object key string"},
		{"just text", "line 1, column 1: is a string; it must be a mapping"},
		{"- 1", "line 1, column 1: is a list; it must be a mapping"},
		{rule, "line 1, column 1: apiVersion: is missing: write audit.k8s.io/v1"},
		{"apiVersion: audit.k8s.io/v1beta1\n", "line 1, column 13: apiVersion: \"audit.k8s.io/v1beta1\" was removed in Kubernetes 1.24: write audit.k8s.io/v1"},
		{"kind: Policy\napiVersion: v1\n", "line 2, column 13: apiVersion: \"v1\" is no version of an audit policy: write audit.k8s.io/v1"},
		{"kind: PolicyList\napiVersion: audit.k8s.io/v1\n", "line 1, column 7: kind: \"PolicyList\" is no audit policy: write Policy"},
		{head, "line 1, column 1: rules: there are none: a policy needs at least one rule"},
		{head + "rules: []\n", "line 3, column 8: rules: there are none: a policy needs at least one rule"},
		{head + "rules: {level: None}\n", "line 3, column 8: rules: is a mapping; it must be a list"},
		{head + "rules:\n- level: None\n- level: Metadata\n  verbs: get\n", "line 6, column 10: rules[1].verbs: is a string; it must be a list"},
		{head + "rules:\n- level: None\n  users: [a, yes]\n", "line 5, column 14: rules[0].users[1]: is true or false; it must be a string: put it in quotes"},
		{head + "rules:\n- level: None\n  users: [a, 5]\n", "line 5, column 14: rules[0].users[1]: is a number; it must be a string: put it in quotes"},
		{head + "omitManagedFields: 'true'\n" + rule, "line 3, column 20: omitManagedFields: is a string; it must be true or false"},
		{head + "metadata: {creationTimestamp: x}\n" + rule, "line 3, column 11: metadata: parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""},
		{head + rule + "---\nkind: Policy\n", "line 5, column 1: a second document begins here; the API server reads the first one only and ignores this: put one policy in a file"},
		{"---\n# empty\n---\n" + head + rule, "line 4, column 1: a second document begins here and the first one, the only one that the API server reads, is empty: remove the --- before it"},
		{head + rule + "---\na: [\n", "line 5, column 1: is no YAML: did not find expected node content (after the first document)"},
		{head + "rules:\n- verbs: [get]\n- level: metadata\n", "line 4, column 3: rules[0].level: Required value\n" +
			`line 5, column 10: rules[1].level: Unsupported value: "metadata": supported values: "None", "Metadata", "Request", "RequestResponse"`},
		{
			head + "omitStages: [Received]\nrules:\n- level: None\n  nonResourceURLs: [healthz, /a*b]\n  namespaces: [x]\n  resources: [{group: apps}, {group: apps/v1, resourceNames: [x]}]\n",
			`line 3, column 14: omitStages[0]: Invalid value: "Received": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic` + "\n" +
				`line 6, column 21: rules[0].nonResourceURLs[0]: Invalid value: "healthz": non-resource URL rules must begin with a '/' character` + "\n" +
				`line 6, column 30: rules[0].nonResourceURLs[1]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule` + "\n" +
				`line 8, column 38: rules[0].resources.group: Invalid value: "apps/v1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')` + "\n" +
				`line 8, column 62: rules[0].resources.resourceNames: Invalid value: ["x"]: using resourceNames requires at least one resource` + "\n" +
				`line 6, column 20: rules[0].nonResourceURLs: Invalid value: ["healthz","/a*b"]: rules cannot apply to both regular resources and non-resource URLs`,
		},
		{strings.Repeat("#", policy.MaxSize+1), "is 4 MiB large; a policy has at most 4 MiB"},
	} {
		p, err := policy.Load([]byte(c.text))
		if err == nil {
			t.Errorf("%.80q: loaded as %+v", c.text, p)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%.80q:\n got %s\nwant %s", c.text, err, c.want)
		}
		var one *policy.LoadError
		if !errors.As(err, &one) {
			t.Errorf("%.80q: %T holds no LoadError", c.text, err)
		}
	}
}
