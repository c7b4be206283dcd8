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
		if path == "/{$}" || strings.HasPrefix(path, "/page/") || strings.HasPrefix(path, "/assets/") {
			continue // the page, which is no API
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
		{"GET", "/api/v1/top?by=user&filter=verb+%3D%3D+%22nothing%22", "", nil, 200},
		{"GET", "/api/v1/history?resource=deployments&api_group=apps&namespace=payments&name=web&diff=true&noise=false&limit=20", "", nil, 200},
		{"GET", "/api/v1/history?resource=secrets&name=none", "", nil, 200},
		{"GET", "/api/v1/actor?user=kubernetes-super-admin", "", nil, 200},
		{"GET", "/api/v1/actor?user=none", "", nil, 200},
		{"POST", "/api/v1/sql", `{"sql":"SELECT 1"}`, []string{"Content-Type", typeJSON}, 200},
		{"POST", "/api/v1/sql", `{"sql":"DROP TABLE x"}`, []string{"Content-Type", typeJSON}, 400},
		{"GET", "/api/v1/sources", "", nil, 200},
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
			case typeLines, typeSSE, "text/plain":
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
