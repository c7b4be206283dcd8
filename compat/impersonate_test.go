package compat

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/policy"
)

// question is one that an authorizer is asked; both sides ask it in the same words.
type question struct {
	User   string
	Groups []string
	Extra  map[string][]string
	// Not the version: the old filter asks for users without one, the new one for users of v1. RBAC does not look at it.
	Verb, Group, Resource, Subresource, Namespace, Name, Path string
}

// allowed is an authorizer that allows a part of all questions, always the same.
func (q question) allowed(share uint64) bool {
	text, err := json.Marshal(q)
	if err != nil {
		panic(err)
	}
	h := fnv.New64a()
	_, _ = h.Write(text)
	return h.Sum64()>>7%100 < share
}

type lastEvent struct{ raw string }

func (l *lastEvent) Send(_ context.Context, events []audit.Event) error {
	l.raw = events[len(events)-1].Raw
	return nil
}
func (*lastEvent) Close(context.Context) error { return nil }

// TestImpersonation has the same requests impersonate through the API server's filter and ours.
func TestImpersonation(t *testing.T) {
	for _, constrained := range []bool{false, true} {
		for _, share := range []uint64{50, 80, 95, 100} {
			t.Run(fmt.Sprintf("constrained=%v/allowed=%d%%", constrained, share), func(t *testing.T) { impersonate(t, constrained, share) })
		}
	}
}

func impersonate(t *testing.T, constrained bool, share uint64) {
	var theirs user.Info
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { theirs, _ = request.UserFrom(r.Context()) })
	authorize := authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		u := a.GetUser()
		q := question{
			User: u.GetName(), Groups: u.GetGroups(), Extra: u.GetExtra(), Verb: a.GetVerb(), Group: a.GetAPIGroup(),
			Resource: a.GetResource(), Subresource: a.GetSubresource(), Namespace: a.GetNamespace(), Name: a.GetName(),
		}
		if !a.IsResourceRequest() {
			q = question{User: q.User, Groups: q.Groups, Extra: q.Extra, Verb: q.Verb, Path: a.GetPath()}
		}
		if q.allowed(share) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
	scheme := runtime.NewScheme()
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{})
	codecs := serializer.NewCodecFactory(scheme)
	upstream := impersonation.WithImpersonation(next, authorize, codecs)
	if constrained {
		upstream = impersonation.WithConstrainedImpersonation(next, authorize, codecs)
	}
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

	var who audit.UserInfo
	p, err := policy.Load([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]"))
	if err != nil {
		t.Fatal(err)
	}
	sink := &lastEvent{}
	ours, err := capture.Handler(capture.Impersonation(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), capture.ImpersonationOptions{
		Allowed: func(_ context.Context, a capture.Access) (bool, error) {
			return question{
				a.User.Username, a.User.Groups, a.User.Extra, a.Verb, a.Group, a.Resource, a.Subresource, a.Namespace, a.Name, a.Path,
			}.allowed(share), nil
		},
		Constrained: func(context.Context) bool { return constrained },
	}), capture.Options{Policy: capture.Fixed(policy.Compile(p)), Sink: sink, Identifier: capture.IdentifierFunc(func(*http.Request) (capture.Identity, error) {
		return capture.Identity{User: who}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}

	random := rand.New(rand.NewPCG(1, share)) //nolint:gosec // the same requests each time
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	some := func(list ...string) []string {
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list[:random.IntN(len(list)+1)]
	}
	recorded := 0
	for range 4000 {
		who = audit.UserInfo{Username: pick("alice", "bob", "system:serviceaccount:kube-system:agent"), Groups: some("ops", "dev")}
		if random.IntN(2) == 0 {
			who.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {pick("n1", "n2")}}
		}
		r := httptest.NewRequest(pick("GET", "POST", "DELETE"), pick("/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/prod/deployments/web/scale", "/api/v1/nodes/n1", "/healthz"), http.NoBody)
		r.Header.Set("Impersonate-User", pick("carol", "system:anonymous", "system:node:n1", "system:node:N_1", "system:serviceaccount:prod:deployer", "system:serviceaccount:Prod:x", "system:serviceaccount:a:b:c", "system:node:"))
		if random.IntN(3) == 0 {
			for _, g := range some("dev", "qa", "system:masters", "system:authenticated", "system:unauthenticated", "a", "b") {
				r.Header.Add("Impersonate-Group", g)
			}
		}
		if random.IntN(4) == 0 {
			r.Header.Set("Impersonate-Uid", "7")
		}
		for range random.IntN(3) {
			r.Header.Add("Impersonate-Extra-"+pick("Acme.com%2fproject", "scopes", "Acme.com%2Fother", "A_b.com%2fx", "%zz"), pick("x", "y", ""))
		}
		mine := r.Clone(r.Context())
		info, err := resolver.NewRequestInfo(r)
		if err != nil {
			t.Fatal(err)
		}
		ctx := request.WithRequestInfo(r.Context(), info)
		ctx = request.WithUser(ctx, &user.DefaultInfo{Name: who.Username, Groups: who.Groups, Extra: who.Extra})
		theirs = nil
		upstream.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))

		ours.ServeHTTP(httptest.NewRecorder(), mine)
		var event struct {
			ImpersonatedUser *struct {
				Username string
				UID      string
				Groups   []string
				Extra    map[string][]string
			}
		}
		if err := json.Unmarshal([]byte(sink.raw), &event); err != nil {
			t.Fatal(err)
		}
		got := event.ImpersonatedUser
		switch {
		case theirs == nil && got != nil:
			t.Fatalf("the API server refuses what is recorded as allowed: %v\n%s", mine.Header, sink.raw)
		case theirs == nil:
			continue
		case got == nil:
			t.Fatalf("the API server takes %v for %v, which is not recorded\n%s", mine.Header, theirs, sink.raw)
		}
		recorded++
		want := *got
		want.Username, want.UID, want.Groups, want.Extra = theirs.GetName(), theirs.GetUID(), theirs.GetGroups(), theirs.GetExtra()
		if len(want.Extra) == 0 {
			want.Extra = nil
		}
		if !reflect.DeepEqual(*got, want) {
			t.Fatalf("the API server takes %v by %+v for %+v; recorded is %+v", mine.Header, who, want, *got)
		}
	}
	if recorded < 10 {
		t.Errorf("%d of 4,000 were allowed: the test tests nothing", recorded)
	}
}
