package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

func TestBuiltInCatalog(t *testing.T) {
	c := policy.BuiltIn()
	if n := len(c.Resources()); n < 70 {
		t.Fatalf("%d resources", n)
	}
	groups := c.Groups()
	for _, g := range []string{"", "apps", "batch", "rbac.authorization.k8s.io", "resource.k8s.io", "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io", "events.k8s.io", "apiregistration.k8s.io"} {
		if !slices.Contains(groups, g) {
			t.Errorf("no group %q", g)
		}
	}
	for _, r := range c.Resources() {
		if r.Name == "" || r.Kind == "" || len(r.Versions) == 0 || len(r.Verbs) == 0 || r.Name != strings.ToLower(r.Name) || r.Partial {
			t.Errorf("resource %+v", r)
		}
	}
	for resource, namespaced := range map[string]bool{"pods": true, "nodes": false, "secrets": true, "namespaces": false} {
		if r := c.Lookup("", resource); r == nil || r.Namespaced != namespaced {
			t.Errorf("%s: %+v", resource, r)
		}
	}
	pods := c.Lookup("", "pods")
	if pods.Sub("exec") == nil || pods.Sub("nosuch") != nil || !slices.Equal(pods.Verbs, []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}) {
		t.Errorf("pods: %+v", pods)
	}
	if r := c.Lookup("authentication.k8s.io", "tokenreviews"); r == nil || !slices.Equal(r.Verbs, []string{"create"}) {
		t.Errorf("tokenreviews: %+v", r)
	}
	if c.Lookup("apps", "pods") != nil {
		t.Error("pods are in apps")
	}
}

func TestCatalogResolve(t *testing.T) {
	for word, want := range map[string]string{
		"pods": "pods", "Pod": "pods", "po": "pods", "deploy": "deployments.apps", "Deployment": "deployments.apps",
		"deployments.apps": "deployments.apps", "deployments.batch": "", "event": "events events.events.k8s.io", "": "", "nosuch": "",
		"clusterrole.rbac.authorization.k8s.io": "clusterroles.rbac.authorization.k8s.io",
	} {
		var got []string
		for _, r := range policy.BuiltIn().Resolve(word) {
			got = append(got, r.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %q", word, got, want)
		}
	}
}

func TestCatalogWith(t *testing.T) {
	for name, data := range map[string]string{
		"table": "NAME     SHORTNAMES   APIVERSION   NAMESPACED   KIND\nwidgets  wd  example.com/v1  true  Widget\ngadgets      example.com/v1alpha1  false  Gadget\n",
		"wide":  "widgets  wd  example.com/v1  true  Widget  create,get,watch  all\ngadgets    example.com/v1alpha1  false  Gadget  get  \n",
		"old":   "widgets  wd  example.com/v1  true  Widget  [create get]\ngadgets    example.com/v1alpha1  false  Gadget  [get]\n",
		"kubectl json": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"","resources":[
			{"name":"widgets","singularName":"widget","namespaced":true,"group":"example.com","version":"v1","kind":"Widget","verbs":["create","get"],"shortNames":["wd"]},
			{"name":"gadgets","namespaced":false,"group":"example.com","version":"v1alpha1","kind":"Gadget","verbs":["get"]}]}`,
		"kubectl yaml": "apiVersion: v1\ngroupVersion: \"\"\nkind: APIResourceList\nresources:\n- {group: example.com, kind: Widget, name: widgets, namespaced: true, version: v1, shortNames: [wd], verbs: [get]}\n- {group: example.com, kind: Gadget, name: gadgets, namespaced: false, version: v1alpha1, verbs: [get]}\n",
		"server": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"example.com/v1","resources":[
			{"name":"widgets","singularName":"widget","namespaced":true,"kind":"Widget","verbs":["get"],"shortNames":["wd"]},
			{"name":"widgets/spin","namespaced":true,"kind":"Spin","verbs":["create"]}]}
			{"kind":"APIResourceList","groupVersion":"example.com/v1alpha1","resources":[{"name":"gadgets","kind":"Gadget","verbs":["get"]}]}`,
		"aggregated": "\xef\xbb\xbf" + `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"example.com"},"versions":[
			{"version":"v1","resources":[{"resource":"widgets","responseKind":{"kind":"Widget"},"scope":"Namespaced","singularResource":"widget","verbs":["get"],"shortNames":["wd"],"subresources":[{"subresource":"spin","verbs":["create"]}]}]},
			{"version":"v1alpha1","resources":[{"resource":"gadgets","responseKind":{"kind":"Gadget"},"scope":"Cluster","verbs":["get"]}]}]}]}`,
	} {
		built := policy.BuiltIn()
		before := len(built.Resources())
		c, err := built.With([]byte(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w, g := c.Lookup("example.com", "widgets"), c.Lookup("example.com", "gadgets")
		switch {
		case w == nil || g == nil:
			t.Errorf("%s: not all are there", name)
		case w.Kind != "Widget" || !w.Namespaced || g.Namespaced || !slices.Equal(w.ShortNames, []string{"wd"}) || g.Versions[0] != "v1alpha1":
			t.Errorf("%s: %+v %+v", name, w, g)
		case w.Partial == (w.Sub("spin") != nil):
			t.Errorf("%s: partial %v, subresources %v", name, w.Partial, w.Subresources)
		}
		if len(built.Resources()) != before || built.Lookup("example.com", "widgets") != nil {
			t.Fatalf("%s: the built-in catalog changed", name)
		}
	}
}

// A list that leaves subresources out takes none away.
func TestCatalogWithKeeps(t *testing.T) {
	c, err := policy.BuiltIn().With([]byte("pods po v1 true Pod\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Lookup("", "pods"); r.Partial || r.Sub("exec") == nil || len(r.ShortNames) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCatalogRefuses(t *testing.T) {
	for data, want := range map[string]string{
		"":                           "empty",
		"hello world":                "line 1",
		"pods v1 true Pod\n\x00\x01": "line 2",
		`{"kind":"PodList"}`:         `"PodList"`,
		`{"kind":`:                   "byte",
		"kind: [":                    "read API resources",
	} {
		if _, err := policy.BuiltIn().With([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", data, err, want)
		}
	}
}

// FuzzCatalogWith: whatever the list, it is read or refused, and a catalog stays in order.
func FuzzCatalogWith(f *testing.F) {
	for _, s := range []string{
		"widgets  wd  example.com/v1  true  Widget  create,get  all\n", `{"kind":"APIResourceList","groupVersion":"a/v1","resources":[{"name":"b/c","verbs":["get"]}]}`,
		`{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"a"},"versions":[{"version":"v1","resources":[{"resource":"b","subresources":[{"subresource":"c"}]}]}]}]}`,
		"kind: APIResourceList\nresources:\n- name: x\n",
	} {
		f.Add([]byte(s))
	}
	built := policy.BuiltIn()
	n := len(built.Resources())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := built.With(data)
		if err != nil {
			return
		}
		if len(built.Resources()) != n || len(c.Resources()) < n {
			t.Fatalf("%d built-in resources, were %d; now %d", len(built.Resources()), n, len(c.Resources()))
		}
		for _, r := range c.Resources() {
			if got := c.Lookup(r.Group, r.Name); got == nil || got.String() != r.String() {
				t.Fatalf("%+v is listed and not found", r)
			}
		}
	})
}
