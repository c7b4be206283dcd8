package compat

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"

	"github.com/ktrail/ktrail/audit/policy"
)

var errNobody = errors.New("nobody has this token")

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// answer is what a client has of one, without what is never the same twice.
type answer struct{ head, contentType, body string }

// send sends a call and returns its answer once its last event is made.
func (r *recorder) send(t *testing.T, c call) (got answer) {
	t.Helper()
	defer func() {
		select {
		case <-r.ended:
		case <-time.After(deadline):
			t.Fatalf("%s: no handler ended\n%q %q", c.name, c.target, c.header)
		}
	}()
	conn, err := r.wire.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: api.example\r\n", c.target)
	for _, h := range c.header {
		b.WriteString(h + "\r\n")
	}
	if c.body != "" && !strings.Contains(b.String(), "Transfer-Encoding: ") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(c.body))
	}
	if !strings.Contains(b.String(), "Connection: ") {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n" + c.body)
	if strings.Contains(b.String(), "Upgrade: ") {
		b.WriteString("hello\n")
	}
	go func() { _, _ = conn.Write(b.Bytes()) }() // a server need not read it all
	in := bufio.NewReader(conn)
	method, _, _ := strings.Cut(c.target, " ")
	a, err := http.ReadResponse(in, &http.Request{Method: method})
	for err == nil && a.StatusCode < 200 && a.StatusCode != http.StatusSwitchingProtocols {
		got.head += a.Status + "\n" // and the final one follows
		a, err = http.ReadResponse(in, &http.Request{Method: method})
	}
	if err != nil {
		return answer{head: got.head + "no answer"} // after a panic
	}
	a.Header.Del("Date")
	for i, id := range a.Header["Audit-Id"] {
		a.Header["Audit-Id"][i] = idOf(c, id)
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, a.Status)
	_ = a.Header.Write(&text)
	got.head, got.contentType = got.head+text.String(), a.Header.Get("Content-Type")
	body, err := io.ReadAll(a.Body)
	got.body = string(body)
	defer func() { got.body = sinceStart(got.body) }()
	switch {
	case a.StatusCode == http.StatusSwitchingProtocols:
		line, _ := in.ReadString('\n')
		got.body += line
	case got.contentType == "application/cbor": // the order of its members is never the same twice
		var v any
		if cbor.Unmarshal(body, &v) == nil {
			got.body = jsonText(v)
		}
	case a.Header.Get("Content-Encoding") == "gzip":
		if plain, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, _ = io.ReadAll(plain)
			got.body = string(body)
		}
	}
	if err != nil {
		got.head += "and then broken off"
	}
	return got
}

var (
	started = time.Now().Truncate(time.Second)
	moment  = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
)

// sinceStart takes the moments of this run from a text, such as when an object was applied: each chain has its own.
func sinceStart(text string) string {
	return moment.ReplaceAllStringFunc(text, func(m string) string {
		if at, err := time.Parse(time.RFC3339, m); err != nil || at.Before(started) {
			return m
		}
		return "a moment"
	})
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// idOf is an audit ID, or that the server made it.
func idOf(c call, id string) string {
	if uuid.MatchString(id) && !strings.Contains(strings.Join(c.header, "\n"), id) {
		return "made"
	}
	return id
}

// fields are an event's, by their paths; texts that are never the same twice are checked and replaced.
func fields(t *testing.T, c call, e event) map[string]string {
	t.Helper()
	times := map[string]time.Time{}
	for _, name := range []string{"requestReceivedTimestamp", "stageTimestamp"} {
		text, _ := e[name].(string)
		at, err := time.Parse("2006-01-02T15:04:05.000000Z", text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		times[name], e[name] = at, "a time"
	}
	switch received, stage := times["requestReceivedTimestamp"], times["stageTimestamp"]; {
	case stage.Before(received):
		t.Errorf("the stage is at %v, before the request at %v", stage, received)
	case stage.Equal(received) && e["stage"] == "RequestReceived":
		e["stageTimestamp"] = "the time of the request"
	}
	if status, _ := e["responseStatus"].(map[string]any); status != nil {
		if message, _ := status["message"].(string); strings.HasPrefix(message, "APIServer panic'd: ") {
			status["message"], _, _ = strings.Cut(message, "\ngoroutine ") // its number is never the same twice
		}
	}
	id, _ := e["auditID"].(string)
	e["auditID"] = idOf(c, id)
	flat := map[string]string{}
	flatten(flat, "", map[string]any(e))
	return flat
}

func flatten(into map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			into[path] = "{}"
		}
		for k, sub := range v {
			flatten(into, strings.TrimPrefix(path+"."+k, "."), sub)
		}
	case []any:
		if len(v) == 0 {
			into[path] = "[]"
		}
		for i, sub := range v {
			flatten(into, fmt.Sprintf("%s[%d]", path, i), sub)
		}
	default:
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		into[path] = sinceStart(string(b))
	}
}

// stagesOf are the stages of events, in their order.
func stagesOf(events []event) string {
	var s []string
	for _, e := range events {
		s = append(s, fmt.Sprint(e["stage"]))
	}
	return strings.Join(s, " ")
}

// diff are the fields in which the events of both differ: theirs, then ours.
func diff(t *testing.T, c call, theirs, ours []event) map[string][2]string {
	t.Helper()
	if a, b := stagesOf(theirs), stagesOf(ours); a != b {
		return map[string][2]string{"stages": {a, b}}
	}
	out := map[string][2]string{}
	for i := range theirs {
		a, b := fields(t, c, theirs[i]), fields(t, c, ours[i])
		all := maps.Clone(a)
		maps.Copy(all, b)
		for k := range all {
			if a[k] != b[k] {
				out[k] = [2]string{cmp.Or(a[k], "nothing"), cmp.Or(b[k], "nothing")}
			}
		}
	}
	return out
}

// policies are what every call is recorded by.
var policies = map[string]string{
	"Metadata":                  "rules: [{level: Metadata}]",
	"Request":                   "rules: [{level: Request}]",
	"RequestResponse":           "rules: [{level: RequestResponse}]",
	"without managed fields":    "omitManagedFields: true\nrules: [{level: RequestResponse}]",
	"without RequestReceived":   "omitStages: [RequestReceived]\nrules: [{level: Metadata}]",
	"without ResponseStarted":   "rules: [{level: Metadata, omitStages: [ResponseStarted]}]",
	"ResponseComplete left out": "rules: [{level: Request, omitStages: [ResponseComplete, Panic]}]",
	"by rules":                  "rules: [{level: None, nonResourceURLs: [/healthz*]}, {level: None, verbs: [watch, list]}, {level: RequestResponse, users: [alice]}, {level: Request, resources: [{group: '', resources: [pods/*]}]}, {level: Metadata}]",
	"None":                      "rules: [{level: None}]",
}

func loadPolicy(t *testing.T, rules string) *policy.Policy {
	t.Helper()
	p, err := policy.Load([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n" + rules))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestChain has every call go through the API server's filters and through ours, under every policy: the
// answers are the same, and the events, field by field, but for what the table of differences names.
func TestChain(t *testing.T) {
	shown := map[string]bool{}
	recorded := 0
	for name, rules := range policies {
		t.Run(name, func(t *testing.T) {
			chains := newChains(t)
			chains.use(loadPolicy(t, rules))
			for _, c := range calls() {
				chains.script.Store(&c.script)
				answer := chains.theirs.send(t, c)
				if got := chains.ours.send(t, c); got != answer && explained(c, "answer") != "" {
					shown[explained(c, "answer")] = true
				} else if got != answer {
					t.Errorf("%s: the answer is\n%q\nupstream's\n%q", c.name, got, answer)
				}
				theirs, ours := chains.theirs.take(t), chains.ours.take(t)
				recorded += len(theirs)
				for field, values := range diff(t, c, theirs, ours) {
					if d := explained(c, field); d != "" {
						shown[d] = true
						continue
					}
					t.Errorf("%s: %s is %s, upstream %s", c.name, field, values[1], values[0])
				}
			}
		})
	}
	for _, d := range differences {
		if d.Fields != nil && !shown[d.Name] {
			t.Errorf("%q is in the table of differences, and no call shows it any more", d.Name)
		}
	}
	if recorded < 1000 {
		t.Errorf("only %d events: the test compares too little", recorded)
	}
	t.Logf("%d requests under %d policies, %d events of the API server compared", len(calls()), len(policies), recorded)
}

// explained is the difference that a field of a call's events shows, "" if it is none of those that the call names.
func explained(c call, field string) string {
	for _, d := range differences {
		if slices.Contains(c.differs, d.Name) && slices.ContainsFunc(d.Fields, func(prefix string) bool { return strings.HasPrefix(field, prefix) }) {
			return d.Name
		}
	}
	return ""
}

// TestDifferencesTold: docs/capture.md has the table.
func TestDifferencesTold(t *testing.T) {
	doc, err := os.ReadFile("../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "The same %d requests go through kube-apiserver's own filters and handlers and through these, under %d policies, and %d,000 random ones under as many random policies (`compat/random_test.go`); every field of every event and every answer are compared (`make compat`). All that differs:\n\n", len(calls()), len(policies), defaultRandom/1000)
	table.WriteString("| where | kube-apiserver | ktrail | why |\n|---|---|---|---|\n")
	for _, d := range differences {
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", d.Where, d.Theirs, d.Ours, d.Why)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/capture.md has not the table of differences:\n%s", table.String())
	}
}
