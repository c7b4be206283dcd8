package query

import "testing"

func TestPlural(t *testing.T) {
	for kind, want := range map[string]string{
		"rollout": "rollouts", "policy": "policies", "proxy": "proxies", "gateway": "gateways", "gatewayclass": "gatewayclasses", "mesh": "meshes",
		"kafkamirror": "kafkamirrors", "helmrelease": "helmreleases", "box": "boxes", "batch": "batches", "database": "databases", "endpoints": "endpoints", "": "",
	} {
		got := pluralOf(kind)
		if got != want {
			t.Errorf("plural of %q is %q, not %q", kind, got, want)
		}
		if one := singularOf(got); one != kind {
			t.Errorf("singular of %q is %q, not %q", got, one, kind)
		}
	}
	for _, k := range kubernetesResources {
		if k.plural != "endpoints" && pluralOf(k.singular) != k.plural {
			t.Errorf("the plural of Kubernetes' own %s is %s, not %s", k.singular, k.plural, pluralOf(k.singular))
		}
	}
	if got := Noun(ObjectKey{APIGroup: "apps", Resource: "statefulsets"}); got != "stateful set" {
		t.Errorf("one of statefulsets is a %q", got)
	}
}
