package capture_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/backend"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
)

// audited is api with an audit log in front. docs/capture.md shows it, to the letter.
func audited(ctx context.Context, api http.Handler, rules []byte, args []string) (http.Handler, *backend.Backend, error) {
	p, err := policy.Load(rules)
	if err != nil {
		return nil, nil, err
	}
	settings, refused := flags.Read(flags.Parse(args), flags.Latest) // --audit-log-path=/var/log/audit.log ...
	if len(refused) > 0 {
		return nil, nil, refused[0]
	}
	sinks, err := backend.Open(ctx, settings, backend.Options{})
	if err != nil {
		return nil, nil, err
	}
	h, err := capture.Handler(api, capture.Options{
		Policy: capture.Fixed(policy.Compile(p)), Identifier: capture.IdentifierFunc(whoIs),
		Sink: sinks, Ledger: sinks.Ledger(), Strict: sinks.Strict(),
	})
	return h, sinks, err
}

// whoIs is what the API knows of its users.
func whoIs(r *http.Request) (capture.Identity, error) {
	name, password, _ := r.BasicAuth()
	if password != "open sesame" {
		return capture.Identity{}, fmt.Errorf("wrong password of %q", name)
	}
	return capture.Identity{User: audit.UserInfo{Username: name}}, nil
}

func Example() {
	dir, err := os.MkdirTemp("", "capture")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "audit.log")
	ctx := context.Background()

	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	h, sinks, err := audited(ctx, api, []byte(`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}`), []string{"--audit-log-path=" + path})
	if err != nil {
		panic(err)
	}
	for _, password := range []string{"open sesame", "guess"} {
		r := httptest.NewRequest("DELETE", "/apis/example.com/v1/namespaces/prod/caves/gold", nil)
		r.SetBasicAuth("ali", password)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if err := sinks.Close(ctx); err != nil {
		panic(err)
	}

	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var ev audit.Event
		if err := audit.Decode(lines.Bytes(), &ev); err != nil {
			panic(err)
		}
		fmt.Println(ev.Stage, ev.User, ev.Verb, ev.Resource, ev.Namespace, ev.Name, ev.Code)
	}
	// Output:
	// RequestReceived ali delete caves prod gold 0
	// ResponseComplete ali delete caves prod gold 204
	// ResponseStarted  delete caves prod gold 401
}

// The documentation shows the code that runs here.
func TestDocShowsTheExample(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "args []string) (http.Handler, *backend.Backend, error) {\n")
	code, _, ok := strings.Cut(code, "\n}\n")
	if !ok || len(code) < 200 {
		t.Fatal("no function audited in example_test.go")
	}
	if !strings.Contains(string(doc), code) {
		t.Errorf("docs/capture.md does not have this code:\n%s", code)
	}
}
