package compat

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/emicklei/go-restful/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	thing "k8s.io/apiserver/pkg/endpoints/testing"
	"k8s.io/apiserver/pkg/registry/rest"
)

// The API behind both chains is made of the API server's own handlers, which call
// its audit functions where they do; only what they store objects in is made here.

var (
	coreVersion = schema.GroupVersion{Version: "v1"}
	appsVersion = schema.GroupVersion{Group: "apps", Version: "v1"}
)

func apiScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, metav1.SchemeGroupVersion)
	s.AddUnversionedTypes(coreVersion, &metav1.Status{})
	for _, gv := range []schema.GroupVersion{coreVersion, appsVersion} {
		internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
		s.AddKnownTypes(gv, &thing.Simple{}, &thing.SimpleList{}, &thing.SimpleGetOptions{})
		s.AddKnownTypes(internal, &thing.Simple{}, &thing.SimpleList{}, &thing.SimpleGetOptions{})
		metav1.AddToGroupVersion(s, gv)
		if err := s.AddFieldLabelConversionFunc(gv.WithKind("Simple"), func(label, value string) (string, string, error) { return label, value, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := thing.RegisterConversions(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// newAPI is an API of pods (things in their clothes), nodes and deployments, and some paths that are no resources.
func newAPI(t testing.TB, s *runtime.Scheme, codecs serializer.CodecFactory) http.Handler {
	t.Helper()
	c := restful.NewContainer()
	c.Router(restful.CurlyRouter{})
	c.DoNotRecover(true) // the API server's recovers elsewhere, and so do we
	group := func(root string, gv schema.GroupVersion, storage map[string]rest.Storage) {
		g := endpoints.APIGroupVersion{
			Storage: storage, Root: root, GroupVersion: gv, OptionsExternalVersion: &coreVersion,
			Creater: s, Convertor: s, UnsafeConvertor: runtime.UnsafeObjectConvertor(s), Defaulter: s, Typer: s,
			TypeConverter: managedfields.NewDeducedTypeConverter(), Namer: meta.NewAccessor(),
			EquivalentResourceRegistry: runtime.NewEquivalentResourceRegistry(),
			ParameterCodec:             runtime.NewParameterCodec(s), Serializer: codecs, MaxRequestBodyBytes: 3 << 20,
		}
		if _, _, err := g.InstallREST(c); err != nil {
			t.Fatal(err)
		}
	}
	group("/api", coreVersion, map[string]rest.Storage{
		"pods": &things{namespaced: true}, "pods/status": &statuses{}, "pods/binding": &bindings{}, "pods/log": &logs{},
		"pods/exec": &streams{}, "pods/attach": &streams{}, "pods/portforward": &streams{}, "pods/proxy": &streams{path: true},
		"nodes": &things{}, "namespaces": &things{},
	})
	group("/apis", appsVersion, map[string]rest.Storage{"deployments": &things{namespaced: true}, "deployments/scale": &statuses{}})
	c.Add(discovery.NewAPIGroupHandler(codecs, metav1.APIGroup{Name: "apps", Versions: []metav1.GroupVersionForDiscovery{{GroupVersion: "apps/v1", Version: "v1"}}}).WebService())

	mux := http.NewServeMux()
	mux.Handle("/", c)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		responsewriters.WriteRawJSON(http.StatusOK, map[string]string{"major": "1"}, w)
	})
	mux.HandleFunc("/silent", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/healthz", http.StatusFound) })
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("dropped <the> ball") })
	mux.HandleFunc("/panic-late", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "half an")
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/debug/pprof/trace", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "trace") })
	mux.HandleFunc("/early-hints", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.WriteHeader(http.StatusGone)
	})
	return mux
}

// made is the object of a name, the same each time.
func made(ctx context.Context, name string) *thing.Simple {
	o := &thing.Simple{Other: "<b>&\u2028", Labels: map[string]string{"app": "web"}}
	o.Name, o.UID, o.ResourceVersion = name, "7d3b2a10-0000-4000-8000-000000000001", "17"
	o.Namespace = request.NamespaceValue(ctx)
	o.CreationTimestamp = metav1.Unix(1763841600, 0)
	o.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:other":{}}`)},
	}}
	return o
}

// troubles are what objects of these names answer.
func trouble(name string) error {
	pods := schema.GroupResource{Resource: "pods"}
	switch name {
	case "missing":
		return apierrors.NewNotFound(pods, name)
	case "taken":
		return apierrors.NewAlreadyExists(pods, name)
	case "old":
		return apierrors.NewConflict(pods, name, fmt.Errorf("<changed> & gone"))
	case "busy":
		return apierrors.NewTooManyRequests("come back", 3)
	case "broken":
		return fmt.Errorf("the disk is <on fire>")
	case "panics":
		panic("storage \x00 panics")
	case "slow":
		return apierrors.NewTimeoutError("too late", 0)
	}
	return nil
}

type things struct{ namespaced bool }

func (*things) New() runtime.Object     { return &thing.Simple{} }
func (*things) NewList() runtime.Object { return &thing.SimpleList{} }
func (*things) Destroy()                {}
func (*things) GetSingularName() string { return "thing" }
func (s *things) NamespaceScoped() bool { return s.namespaced }
func (*things) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(schema.GroupResource{Resource: "pods"}).ConvertToTable(ctx, o, options)
}

func (*things) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return made(ctx, name), trouble(name)
}

func (*things) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	list := &thing.SimpleList{Items: []thing.Simple{*made(ctx, "a"), *made(ctx, "b")}}
	list.ResourceVersion = "18"
	if o != nil && o.Continue != "" {
		return nil, apierrors.NewResourceExpired("the continue token is <too old>")
	}
	return list, nil
}

func (*things) Create(ctx context.Context, o runtime.Object, valid rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	in := o.(*thing.Simple)
	if err := trouble(in.Name); err != nil {
		return nil, err
	}
	if in.Name == "" {
		in.Name = in.GenerateName + "x7k2p"
	}
	out := made(ctx, in.Name)
	out.GenerateName, out.Other = in.GenerateName, in.Other
	return out, valid(ctx, out)
}

func (*things) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc, _ rest.ValidateObjectUpdateFunc, _ bool, _ *metav1.UpdateOptions) (runtime.Object, bool, error) {
	if err := trouble(name); err != nil {
		return nil, false, err
	}
	o, err := info.UpdatedObject(ctx, made(ctx, name))
	return o, name == "new", err
}

func (*things) Delete(ctx context.Context, name string, _ rest.ValidateObjectFunc, _ *metav1.DeleteOptions) (runtime.Object, bool, error) {
	if err := trouble(name); err != nil {
		return nil, false, err
	}
	if name == "status" {
		return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{Name: name, Kind: "pods", UID: "u<1>"}}, true, nil
	}
	return made(ctx, name), name != "graceful", nil
}

func (*things) DeleteCollection(ctx context.Context, _ rest.ValidateObjectFunc, _ *metav1.DeleteOptions, _ *metainternalversion.ListOptions) (runtime.Object, error) {
	return &thing.SimpleList{Items: []thing.Simple{*made(ctx, "a")}}, nil
}

// Watch has two events and ends.
func (*things) Watch(ctx context.Context, _ *metainternalversion.ListOptions) (watch.Interface, error) {
	w := watch.NewFakeWithChanSize(2, false)
	w.Add(made(ctx, "a"))
	w.Delete(made(ctx, "a"))
	w.Stop()
	return w, nil
}

type statuses struct{}

func (*statuses) New() runtime.Object { return &thing.Simple{} }
func (*statuses) Destroy()            {}
func (*statuses) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return (&things{}).Get(ctx, name, o)
}

func (*statuses) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, c rest.ValidateObjectFunc, u rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return (&things{}).Update(ctx, name, info, c, u, force, o)
}

type bindings struct{}

func (*bindings) New() runtime.Object { return &thing.Simple{} }
func (*bindings) Destroy()            {}
func (*bindings) Create(_ context.Context, name string, _ runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	return &metav1.Status{Status: metav1.StatusSuccess}, trouble(name)
}

type logs struct{}

func (*logs) New() runtime.Object { return &thing.Simple{} }
func (*logs) Destroy()            {}
func (*logs) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return &logStream{strings.NewReader("a line\n<another>\n")}, trouble(name)
}

type logStream struct{ io.Reader }

func (*logStream) Close() error                     { return nil }
func (*logStream) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (*logStream) DeepCopyObject() runtime.Object   { panic("a stream is not copied") }
func (s *logStream) InputStream(context.Context, string, string) (io.ReadCloser, bool, string, error) {
	return s, true, "text/plain", nil
}

// streams are what takes the connection over where it is told to, and writes where not.
type streams struct{ path bool }

func (*streams) New() runtime.Object { return &thing.Simple{} }
func (*streams) Destroy()            {}
func (*streams) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"}
}

func (s *streams) NewConnectOptions() (runtime.Object, bool, string) {
	if s.path {
		return &thing.SimpleGetOptions{}, true, "atAPath"
	}
	return nil, false, ""
}

func (*streams) Connect(_ context.Context, name string, _ runtime.Object, answer rest.Responder) (http.Handler, error) {
	if err := trouble(name); err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case name == "refuses":
			answer.Error(apierrors.NewBadRequest("no container <x>"))
		case name == "silent":
		case r.Header.Get("Upgrade") != "":
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			echo(rw, r)
		default:
			_, _ = io.WriteString(w, "through")
		}
	}), nil
}

// echo switches protocols and sends one line back.
func echo(rw *bufio.ReadWriter, r *http.Request) {
	_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	_ = rw.Flush()
	line, err := rw.ReadString('\n')
	if err != nil {
		return
	}
	_, _ = rw.WriteString(line)
	_ = rw.Flush()
}

// deadline is for what must not hang a test.
const deadline = 2 * time.Minute
