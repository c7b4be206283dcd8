package web

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/ktrail/ktrail/internal/query"
)

// document is the OpenAPI document, which must be valid itself.
func document(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// TestDocumentHasEveryRoute holds the routes and the document against each other.
func TestDocumentHasEveryRoute(t *testing.T) {
	doc, _ := document(t)
	ts := newTestServer(t, nil)
	var described, served []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	for _, pattern := range ts.inner.routes {
		_, path, _ := strings.Cut(pattern, " ")
		if !strings.HasPrefix(path, "/api/") && !slices.Contains([]string{"/livez", "/readyz", "/metrics"}, path) {
			continue // a page or a part of one, which is no API
		}
		served = append(served, pattern)
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("the document has\n%s\nthe server\n%s", strings.Join(described, "\n"), strings.Join(served, "\n"))
	}
}

// TestAnswersFollowDocument sends real requests and validates them, and what
// comes back, against the document. Each operation must be reached.
func TestAnswersFollowDocument(t *testing.T) {
	doc, router := document(t)
	ts := newTestServer(t, append(sampleEvents(t), decoded(t, hostile)))
	ts.source.Warn = query.Warnings{{Text: "a segment is damaged", Damage: true}, {Text: "no creation was found"}}
	ts.status = troubledStatus()
	ts.source.rows = []query.SQLRow{{Columns: []string{"a", "b"}, Values: []any{nil, int64(1)}}}
	missing := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			missing[method+" "+path] = true
		}
	}
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
	}{
		{"GET", "/api/v1/events?limit=5", "", nil, 200},
		{"GET", "/api/v1/events?filter=verb+%3D%3D+%22nothing%22&since=2026-01-01&until=2027-01-01&ascending=true&raw=false", "", nil, 200},
		{"GET", "/api/v1/events?from=1&to=1900000000000000", "", nil, 200},
		{"GET", "/api/v1/events?limit=5", "", []string{"Accept", typeLines}, 200},
		{"GET", "/api/v1/events?filter=verbb", "", nil, 400},
		{"GET", "/api/v1/events/3803", "", nil, 200},
		{"GET", "/api/v1/events/999999", "", nil, 404},
		{"GET", "/api/v1/events/follow?after=3800", "", nil, 200},
		{"GET", "/api/v1/events/follow?filter=1", "", nil, 400},
		{"GET", "/api/v1/histogram?buckets=20", "", nil, 200},
		{"GET", "/api/v1/histogram?filter=verb+%3D%3D+%22nothing%22", "", nil, 200},
		{"GET", "/api/v1/top?by=user&by=verb&limit=3", "", nil, 200},
		{"GET", "/api/v1/facets?columns=user&columns=verb,code,source_ips&include=verb%3Dget&include=verb%3Dlist&exclude=user%3Dx&contains=e&limit=3", "", nil, 200},
		{"GET", "/api/v1/facets?columns=time", "", nil, 400},
		{"GET", "/api/v1/objects", "", nil, 200},
		{"GET", "/api/v1/objects?depth=3&cluster=sample&namespace=payments&api_group=apps&resource=deployments&contains=W&limit=5", "", nil, 200},
		{"GET", "/api/v1/objects?namespace=payments", "", nil, 400},
		{"GET", "/api/v1/lanes?limit=3&bins=50", "", nil, 200},
		{"GET", "/api/v1/lanes?object=%5B%22sample%22%2C%22payments%22%2C%22apps%22%2C%22deployments%22%2C%22web%22%5D", "", nil, 200},
		{"GET", "/api/v1/lanes?object=x", "", nil, 400},
		{"GET", "/api/v1/top?by=user&filter=verb+%3D%3D+%22nothing%22", "", nil, 200},
		{"GET", "/api/v1/history?resource=deployments&api_group=apps&namespace=payments&name=web&diff=true&noise=false&limit=20", "", nil, 200},
		{"GET", "/api/v1/history?resource=secrets&name=none", "", nil, 200},
		{"GET", "/api/v1/actor?user=kubernetes-super-admin", "", nil, 200},
		{"GET", "/api/v1/actor?user=none", "", nil, 200},
		{"GET", "/api/v1/day?user=kubernetes-super-admin&from=1795376700000000&limit=50", "", nil, 200},
		{"GET", "/api/v1/day?user=system:serviceaccount:kube-system:coredns", "", nil, 200},
		{"GET", "/api/v1/day?user=none", "", nil, 200},
		{"GET", "/api/v1/export?format=jsonl&limit=3", "", nil, 200},
		{"GET", "/api/v1/export?format=csv&columns=time,user&limit=3", "", nil, 200},
		{"GET", "/api/v1/export?format=html&ids=3,5&tz=Europe%2FBerlin", "", nil, 200},
		{"GET", "/api/v1/export?format=html&tz=Nowhere", "", nil, 400},
		{"GET", "/api/v1/quarantine?source=%2Fvar%2Flog%2Fa.log&limit=5", "", nil, 200},
		{"GET", "/api/v1/quarantine?source=none", "", nil, 200},
		{"POST", "/api/v1/views", `{"name":"deletes","state":"/?filter=x"}`, []string{"Content-Type", typeJSON}, 200},
		{"POST", "/api/v1/views", `{"name":"deletes","state":"/?filter=x"}`, []string{"Content-Type", typeJSON}, 409},
		{"GET", "/api/v1/views", "", nil, 200},
		{"PUT", "/api/v1/views/deletes", `{"name":"all deletes"}`, []string{"Content-Type", typeJSON}, 200},
		{"DELETE", "/api/v1/views/all%20deletes", "", nil, 200},
		{"DELETE", "/api/v1/views/deletes", "", nil, 404},
		{"POST", "/api/v1/sql", `{"sql":"SELECT 1"}`, []string{"Content-Type", typeJSON}, 200},
		{"POST", "/api/v1/sql", `{"sql":"DROP TABLE x"}`, []string{"Content-Type", typeJSON}, 400},
		{"GET", "/api/v1/sources", "", nil, 200},
		{"GET", "/api/v1/sources?trends=true", "", nil, 200},
		{"POST", "/api/v1/import?name=a.log&cluster=demo", "x", []string{"Content-Type", "application/octet-stream"}, 200},
		{"GET", "/api/v1/openapi.json", "", nil, 200},
		{"GET", "/livez", "", nil, 200},
		{"GET", "/readyz?verbose=", "", nil, 503},
		{"GET", "/metrics", "", nil, 200},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			var resp *http.Response
			var body string
			if strings.Contains(c.path, "/follow") && c.status == 200 {
				resp, body = fetchSome(t, ts.URL+c.path, 1)
			} else {
				resp, body = fetch(t, c.method, ts.URL+c.path, c.body, c.header...)
			}
			if resp.StatusCode != c.status {
				t.Fatalf("status %d: %s", resp.StatusCode, body)
			}
			req, err := http.NewRequest(c.method, c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+1 < len(c.header); i += 2 {
				req.Header.Set(c.header[i], c.header[i+1])
			}
			route, path, err := router.FindRoute(req)
			if err != nil {
				t.Fatal(err)
			}
			delete(missing, route.Method+" "+route.Path)
			input := &openapi3filter.RequestValidationInput{Request: req, PathParams: path, Route: route}
			if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
				t.Errorf("the request does not follow the document: %v", err)
			}
			out := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(strings.NewReader(body))}
			kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
			switch kind {
			case typeJSON:
				if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
					t.Errorf("the answer does not follow the document: %v", err)
				}
			case typeLines, typeSSE, "text/plain", "text/csv", "text/html":
				media := route.Operation.Responses.Status(resp.StatusCode).Value.Content.Get(kind)
				if media == nil {
					t.Fatalf("the document has no %s", kind)
				}
				validateLines(t, doc, media, kind, body)
			default:
				t.Errorf("type %q", kind)
			}
		})
	}
	for operation := range missing {
		t.Errorf("%s is not tried", operation)
	}
}

// validateLines holds each line or event of a stream against the schema that the
// document names for it, which OpenAPI 3.0 has no word for.
func validateLines(t *testing.T, doc *openapi3.T, media *openapi3.MediaType, kind, body string) {
	t.Helper()
	extension := map[string]string{typeLines: "x-line", typeSSE: "x-data"}[kind]
	if extension == "" {
		return
	}
	name, err := json.Marshal(media.Extensions[extension])
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(name, &ref); err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas[strings.TrimPrefix(ref.Ref, "#/components/schemas/")]
	if schema == nil {
		t.Fatalf("the document does not say what a line of %s is: %s", kind, name)
	}
	n := 0
	for line := range strings.Lines(body) {
		if kind == typeSSE {
			var ok bool
			if line, ok = strings.CutPrefix(line, "data: "); !ok {
				continue
			}
		}
		n++
		var v any
		d := json.NewDecoder(bytes.NewReader([]byte(line)))
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if err := schema.Value.VisitJSON(v); err != nil {
			t.Errorf("a line does not follow the document: %v", err)
		}
	}
	if n == 0 && kind == typeLines {
		t.Error("the stream is empty")
	}
}

// TestDocumentHasEveryParameter holds the parameters that handlers know against
// the document: a handler names those it takes when it is sent another.
func TestDocumentHasEveryParameter(t *testing.T) {
	doc, _ := document(t)
	ts := newTestServer(t, nil)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !strings.HasPrefix(path, "/api/v1/") || strings.HasSuffix(path, "openapi.json") {
				continue
			}
			_, body := fetch(t, method, ts.URL+strings.Replace(path, "{id}", "1", 1)+"?no_such=1", "")
			_, list, ok := strings.Cut(body, "this path takes ")
			if !ok {
				t.Errorf("%s %s takes any parameter: %s", method, path, body)
				continue
			}
			list, _, _ = strings.Cut(list, `"`)
			var described []string
			for _, p := range op.Parameters {
				if p.Value.In == openapi3.ParameterInQuery {
					described = append(described, p.Value.Name)
				}
			}
			takes := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
			slices.Sort(described)
			slices.Sort(takes)
			if !slices.Equal(described, takes) {
				t.Errorf("%s %s: the document has %v, the handler takes %v", method, path, described, takes)
			}
		}
	}
}
