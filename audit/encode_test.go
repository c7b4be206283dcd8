package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// mirror has the fields of k8s.io/apiserver's audit/v1 Event, so that encoding/json
// writes what the API server does.
type mirror struct {
	Kind                     string            `json:"kind"`
	APIVersion               string            `json:"apiVersion"`
	Level                    string            `json:"level"`
	AuditID                  string            `json:"auditID"`
	Stage                    string            `json:"stage"`
	RequestURI               string            `json:"requestURI"`
	Verb                     string            `json:"verb"`
	User                     mirrorUser        `json:"user"`
	ImpersonatedUser         *mirrorUser       `json:"impersonatedUser,omitempty"`
	AuthenticationMetadata   *mirrorMetadata   `json:"authenticationMetadata,omitempty"`
	SourceIPs                []string          `json:"sourceIPs,omitempty"`
	UserAgent                string            `json:"userAgent,omitempty"`
	ObjectRef                *mirrorObject     `json:"objectRef,omitempty"`
	ResponseStatus           *mirrorStatus     `json:"responseStatus,omitempty"`
	RequestObject            json.RawMessage   `json:"requestObject,omitempty"`
	ResponseObject           json.RawMessage   `json:"responseObject,omitempty"`
	RequestReceivedTimestamp mirrorTime        `json:"requestReceivedTimestamp"`
	StageTimestamp           mirrorTime        `json:"stageTimestamp"`
	Annotations              map[string]string `json:"annotations,omitempty"`
}

type mirrorUser struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

type mirrorMetadata struct {
	ImpersonationConstraint string `json:"impersonationConstraint,omitempty"`
}

type mirrorObject struct {
	Resource        string `json:"resource,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	APIGroup        string `json:"apiGroup,omitempty"`
	APIVersion      string `json:"apiVersion,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Subresource     string `json:"subresource,omitempty"`
}

type mirrorStatus struct {
	Metadata struct{}        `json:"metadata"`
	Status   string          `json:"status,omitempty"`
	Message  string          `json:"message,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Details  json.RawMessage `json:"details,omitempty"`
	Code     int32           `json:"code,omitempty"`
}

// mirrorTime is metav1.MicroTime.
type mirrorTime audit.Time

func (t mirrorTime) MarshalJSON() ([]byte, error) {
	std := audit.Time(t).Std()
	if t == 0 || std.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(std.Format("2006-01-02T15:04:05.000000Z07:00"))
}

func (t *mirrorTime) UnmarshalJSON(b []byte) error { return (*audit.Time)(t).UnmarshalJSON(b) }

func mirrorOf(r *audit.Record) *mirror {
	m := &mirror{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: r.Level, AuditID: r.AuditID, Stage: r.Stage,
		RequestURI: r.RequestURI, Verb: r.Verb, User: mirrorUser(r.User), SourceIPs: r.SourceIPs, UserAgent: r.UserAgent,
		RequestObject: r.RequestObject, ResponseObject: r.ResponseObject,
		RequestReceivedTimestamp: mirrorTime(r.Received), StageTimestamp: mirrorTime(r.Time), Annotations: r.Annotations,
	}
	if r.ImpersonatedUser != nil {
		m.ImpersonatedUser = (*mirrorUser)(r.ImpersonatedUser)
	}
	if r.ImpersonationConstraint != "" {
		m.AuthenticationMetadata = &mirrorMetadata{r.ImpersonationConstraint}
	}
	if o := r.ObjectRef; o != nil {
		m.ObjectRef = &mirrorObject{o.Resource, o.Namespace, o.Name, o.UID, o.APIGroup, o.APIVersion, o.ResourceVersion, o.Subresource}
	}
	if s := r.ResponseStatus; s != nil {
		m.ResponseStatus = &mirrorStatus{Status: s.Status, Message: s.Message, Reason: s.Reason, Details: s.Details, Code: s.Code}
	}
	return m
}

// record is the way back.
func (m *mirror) record() *audit.Record {
	r := &audit.Record{
		Level: m.Level, AuditID: m.AuditID, Stage: m.Stage, RequestURI: m.RequestURI, Verb: m.Verb,
		User: audit.UserInfo(m.User), ImpersonatedUser: (*audit.UserInfo)(m.ImpersonatedUser), SourceIPs: m.SourceIPs, UserAgent: m.UserAgent,
		RequestObject: m.RequestObject, ResponseObject: m.ResponseObject,
		Received: audit.Time(m.RequestReceivedTimestamp), Time: audit.Time(m.StageTimestamp), Annotations: m.Annotations,
	}
	if m.AuthenticationMetadata != nil {
		r.ImpersonationConstraint = m.AuthenticationMetadata.ImpersonationConstraint
	}
	if o := m.ObjectRef; o != nil {
		r.ObjectRef = &audit.ObjectRef{
			Resource: o.Resource, Namespace: o.Namespace, Name: o.Name, UID: o.UID,
			APIGroup: o.APIGroup, APIVersion: o.APIVersion, ResourceVersion: o.ResourceVersion, Subresource: o.Subresource,
		}
	}
	if s := m.ResponseStatus; s != nil {
		r.ResponseStatus = &audit.Status{Status: s.Status, Message: s.Message, Reason: s.Reason, Details: s.Details, Code: s.Code}
	}
	return r
}

// sampleRecords are the events of the sample log.
func sampleRecords(t testing.TB) (records []*audit.Record, lines [][]byte) {
	t.Helper()
	lines = sampleLines(t)
	for i, line := range lines {
		var m mirror
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		records = append(records, m.record())
	}
	return records, lines
}

// TestEncodeSample: what kube-apiserver wrote is written again, to the byte.
func TestEncodeSample(t *testing.T) {
	records, lines := sampleRecords(t)
	for i, r := range records {
		got, err := r.AppendJSON(nil)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if !bytes.Equal(got, lines[i]) {
			t.Fatalf("line %d:\n got %s\nwant %s", i+1, got, lines[i])
		}
		checkEvent(t, r, got)
	}
}

// checkEvent holds Record.Event against what Decode finds in the line.
func checkEvent(t *testing.T, r *audit.Record, line []byte) {
	t.Helper()
	var want audit.Event
	if err := audit.Decode(line, &want); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want.Rule = r.Rule
	got, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("Event():\n got %+v\nwant %+v", got, want)
	}
}

// checkRecord holds r against encoding/json, in whatever r was put.
func checkRecord(t *testing.T, r *audit.Record) {
	t.Helper()
	want, wantErr := json.Marshal(mirrorOf(r))
	const before = "before"
	got, err := r.AppendJSON([]byte(before))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, encoding/json has %v for %+v", err, wantErr, r)
	}
	if rest, ok := bytes.CutPrefix(got, []byte(before)); !ok || !bytes.Equal(rest, want) {
		t.Fatalf("\n got %s\nwant %s%s", got, before, want)
	}
	if err != nil {
		if e, err := r.Event(); err == nil || !reflect.ValueOf(e).IsZero() {
			t.Fatalf("Event() is %+v, %v", e, err)
		}
		return
	}
	if bytes.ContainsAny(want, "\n\r") {
		t.Fatalf("the line has a line end in it: %q", want)
	}
	checkEvent(t, r, want)
}

// odd are texts that need care.
var odd = []string{
	"", "a", "plain text of a fair length", `"`, `\`, "<script>&amp;</script>", "\x00\x01\x1f\x7f", "\b\f\n\r\t", "tab\there",
	"grüße 世界 😀", "\u2028\u2029\u2027\u202a", "\xff\xfe", "a\xffb\xe2\x80", "\xe2\x80\xa8x", "\xed\xa0\x80", "1234567<", "12345678>9", "\ufffd",
	strings.Repeat("x", 100) + "&" + strings.Repeat("é", 20),
}

func randomText(rnd *rand.Rand) string {
	s := odd[rnd.IntN(len(odd))]
	if rnd.IntN(4) == 0 {
		s += odd[rnd.IntN(len(odd))]
	}
	return s
}

// bodies are valid and invalid JSON, compact and not.
var bodies = []string{
	`{}`, `[]`, `null`, `"x"`, `-1.5e+10`, ` true `, `{"a":[1,2,{"b":null}]}` + "\n", `{ "a" : [ 1 , 2 ] , "b":"c d" }`,
	`{"html":"<b>&</b>"}`, `{"a<b": "1 > 0", "x":"` + "\u2028\u2029" + `"}`, `{"a":"` + "\xff\xe2\x80" + `"}`, `{"e":"\u003c\n\ud800"}`,
	"{\r\n\t\"a\": \"b\"\r\n}\r\n", `[ [ [ ] , { } ] ]`, strings.Repeat("[", 200) + strings.Repeat("]", 200), strings.Repeat(`[ {"<":`, 100) + `1` + strings.Repeat("} ]", 100),
	`{`, `{"a"}`, `{"a":1,}`, `[1,]`, `01`, `"\x"`, "\"\n\"", `{"a":1} x`, `nul`, ` `, `{"a":1}}`, `"abc`, `"<`,
	`<`, `{"<": <}`, strings.Repeat("<", 30), `[>]`, `{"<<<<":&}`, "\x00", "1\x00", `["x"` + "\x00]",
}

func randomRecord(rnd *rand.Rand) *audit.Record {
	text := func() string { return randomText(rnd) }
	list := func() []string {
		switch rnd.IntN(4) {
		case 0:
			return nil
		case 1:
			return []string{}
		}
		var l []string
		for range 1 + rnd.IntN(3) {
			l = append(l, text())
		}
		return l
	}
	user := func() audit.UserInfo {
		u := audit.UserInfo{Username: text(), UID: text(), Groups: list()}
		for range rnd.IntN(20) - 10 {
			if u.Extra == nil {
				u.Extra = map[string][]string{}
			}
			u.Extra[text()] = list()
			u.Extra["authentication.kubernetes.io/credential-id"] = list()
			u.Extra["authentication.kubernetes.io/pod-name"] = list()
		}
		return u
	}
	at := func() audit.Time {
		switch rnd.IntN(8) {
		case 0:
			return 0
		case 1:
			return audit.TimeOf(time.Time{})
		case 2:
			return audit.TimeOf(time.Date(rnd.IntN(10000), time.Month(1+rnd.IntN(12)), 1+rnd.IntN(31), 23, 59, 59, 999999000, time.UTC).AddDate(0, 0, -31))
		}
		return audit.TimeOf(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) + audit.Time(rnd.Int64N(1e15))
	}
	body := func(odds int) []byte {
		if rnd.IntN(odds) > 0 {
			return nil
		}
		return []byte(bodies[rnd.IntN(len(bodies))])
	}
	r := &audit.Record{
		Level: text(), AuditID: text(), Stage: text(), RequestURI: text(), Verb: text(), User: user(), SourceIPs: list(), UserAgent: text(),
		RequestObject: body(3), ResponseObject: body(4), Received: at(), Time: at(), Rule: rnd.Int32(),
	}
	if rnd.IntN(2) == 0 {
		r.Stage = "ResponseStarted"
	}
	if rnd.IntN(3) == 0 {
		u := user()
		r.ImpersonatedUser, r.ImpersonationConstraint = &u, text()
	}
	if rnd.IntN(2) == 0 {
		r.ObjectRef = &audit.ObjectRef{Resource: text(), Namespace: text(), Name: text(), UID: text(), APIGroup: text(), APIVersion: text(), ResourceVersion: text(), Subresource: text()}
	}
	if rnd.IntN(2) == 0 {
		r.ResponseStatus = &audit.Status{Status: text(), Message: text(), Reason: text(), Code: rnd.Int32() - math.MaxInt32/2, Details: body(4)}
	}
	for range rnd.IntN(30) - 10 {
		if r.Annotations == nil {
			r.Annotations = map[string]string{}
		}
		r.Annotations[text()] = text()
		r.Annotations["authorization.k8s.io/decision"] = text()
		r.Annotations["audit.k8s.io/truncated"] = "true"
	}
	return r
}

func TestEncodeRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 1))
	for range 20_000 {
		checkRecord(t, randomRecord(rnd))
	}
	checkRecord(t, &audit.Record{})
	checkRecord(t, &audit.Record{ObjectRef: &audit.ObjectRef{}, ResponseStatus: &audit.Status{}, ImpersonatedUser: &audit.UserInfo{}})
}

// TestEncodeTexts puts each byte at each place of texts of the lengths about a word of the processor.
func TestEncodeTexts(t *testing.T) {
	const plain = "abcdefghijklmnopqrstuvwxyz"
	for _, n := range []int{1, 2, 3, 4, 7, 8, 9, 16, 17} {
		for at := range n {
			for c := range 256 {
				text := []byte(plain[:n])
				text[at] = byte(c)
				checkRecord(t, &audit.Record{AuditID: string(text), Verb: string(text[at:])})
			}
		}
	}
}

// TestEncodeManyMembers: maps of any size are written in the order of their keys.
func TestEncodeManyMembers(t *testing.T) {
	for n := range 80 {
		r := &audit.Record{User: audit.UserInfo{Extra: map[string][]string{}}, Annotations: map[string]string{}}
		for i := range n {
			key := fmt.Sprint("k", i*7919%1000)
			r.User.Extra[key], r.Annotations[key] = []string{key}, key
		}
		if n > 0 {
			r.User.Extra["authentication.kubernetes.io/pod-name"] = []string{"web"}
			r.Annotations["authorization.k8s.io/decision"] = "allow"
		}
		checkRecord(t, r)
		as := audit.UserInfo{Extra: r.User.Extra}
		r.ImpersonatedUser = &as
		checkRecord(t, r)
	}
}

// TestEncodeErrors: what cannot be written says which field it is.
func TestEncodeErrors(t *testing.T) {
	deep := []byte(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))
	late := audit.TimeOf(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
	early := audit.TimeOf(time.Date(-1, 12, 31, 23, 59, 59, 999_999_000, time.UTC))
	for _, c := range []struct {
		r    audit.Record
		want string
	}{
		{audit.Record{RequestObject: []byte(`{"a":tru}`)}, "encode audit event: requestObject is not JSON: unexpected byte at 8 of 9"},
		{audit.Record{ResponseObject: []byte(`{"a":"<<<<<<", x`)}, "encode audit event: responseObject is not JSON: unexpected byte at 15 of 16"},
		{audit.Record{ResponseStatus: &audit.Status{Details: []byte(`{`)}}, "encode audit event: details is not JSON: unexpected byte at 1 of 1"},
		{audit.Record{RequestObject: deep}, "encode audit event: requestObject is not JSON: unexpected byte at 9999 of 20000"},
		{audit.Record{Time: late}, "encode audit event: stageTimestamp is outside the years 0 to 9999"},
		{audit.Record{Received: early}, "encode audit event: requestReceivedTimestamp is outside the years 0 to 9999"},
		{audit.Record{Received: math.MinInt64}, "encode audit event: requestReceivedTimestamp is outside the years 0 to 9999"},
		{audit.Record{Received: math.MaxInt64}, "encode audit event: requestReceivedTimestamp is outside the years 0 to 9999"},
	} {
		if _, err := c.r.AppendJSON(nil); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	// One less deep is the deepest that can be read again.
	r := audit.Record{RequestObject: deep[1 : len(deep)-1]}
	line, err := r.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	checkEvent(t, &r, line)
}

// TestEncodeTimes walks over every day of 2,000 years, and their ends.
func TestEncodeTimes(t *testing.T) {
	for day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 10_000; day = day.Add(24*time.Hour + 7*time.Second + 13*time.Microsecond) {
		if day.Year() == 1000 {
			day = day.AddDate(8000, 0, 0)
		}
		r := audit.Record{Time: audit.TimeOf(day)}
		line, err := r.AppendJSON(nil)
		if want := `"stageTimestamp":"` + r.Time.String() + `"`; err != nil || !day.IsZero() && !bytes.Contains(line, []byte(want)) {
			t.Fatalf("%v: %v in %s", day, err, line)
		}
	}
}

// TestEncodeAllocates: an event is one allocation, its line.
func TestEncodeAllocates(t *testing.T) {
	r := benchRecord(1500)
	buf := make([]byte, 0, 8<<10)
	if n := testing.AllocsPerRun(100, func() { buf, _ = r.AppendJSON(buf[:0]) }); n != 0 {
		t.Errorf("AppendJSON allocates %v times", n)
	}
	var e audit.Event
	if n := testing.AllocsPerRun(100, func() { e, _ = r.Event() }); n != 1 {
		t.Errorf("Event allocates %v times", n)
	}
	if e.Raw == "" {
		t.Error("no line")
	}
}

// FuzzEncode puts text and bodies of all kinds into records and compares with encoding/json.
func FuzzEncode(f *testing.F) {
	for i, s := range odd {
		f.Add(s, []byte(bodies[i%len(bodies)]), []byte(bodies[(i*7+3)%len(bodies)]), int64(i)*1e15, uint64(i))
	}
	f.Fuzz(func(t *testing.T, s string, request, response []byte, at int64, seed uint64) {
		if len(request) > 9000 || len(response) > 9000 { // no depth that only encoding/json takes
			return
		}
		r := randomRecord(rand.New(rand.NewPCG(seed, 2)))
		r.AuditID, r.UserAgent, r.User.Groups = s, s, append(r.User.Groups, s)
		r.RequestObject, r.ResponseObject = request, response
		if y := audit.Time(at).Std().Year(); y >= 0 && y <= 9999 {
			r.Time = audit.Time(at)
		}
		if r.Annotations != nil {
			r.Annotations[s] = s
		}
		checkRecord(t, r)
	})
}

// benchRecord is a create with its body: a line of 900 bytes and the body.
func benchRecord(size int) *audit.Record {
	at := audit.TimeOf(time.Date(2026, 11, 22, 19, 44, 31, 14243000, time.UTC))
	body := []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-5d9c7b7f9d-x2x5q","namespace":"prod","labels":{"app":"web"}},"spec":{"containers":[`)
	for i := 0; len(body) < size; i++ {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"name":"web","image":"registry.example.com/web:1.2.3","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"}},"imagePullPolicy":"IfNotPresent","terminationMessagePath":"/dev/termination-log"}`...)
	}
	body = append(body, `]}}`...)
	return &audit.Record{
		Level: "Request", AuditID: "49af3d22-ea40-42ab-9879-0060ae862902", Stage: "ResponseComplete",
		RequestURI: "/api/v1/namespaces/prod/pods?fieldManager=kubectl-client-side-apply&fieldValidation=Strict", Verb: "create",
		User: audit.UserInfo{
			Username: "kubernetes-admin", Groups: []string{"kubeadm:cluster-admins", "system:authenticated"},
			Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=075f16e28c4f0e237f87ed51c59ed8b95b555c9d1f17ff0328f50914f2bf12be"}},
		},
		SourceIPs: []string{"10.99.0.1"}, UserAgent: "kubectl/v1.37.2 (linux/amd64) kubernetes/7c48b2b",
		ObjectRef:      &audit.ObjectRef{Resource: "pods", Namespace: "prod", Name: "web-5d9c7b7f9d-x2x5q", APIVersion: "v1"},
		ResponseStatus: &audit.Status{Code: 201},
		RequestObject:  body,
		Received:       at, Time: at + 5417,
		Annotations: map[string]string{
			"authorization.k8s.io/decision": "allow",
			"authorization.k8s.io/reason":   `RBAC: allowed by ClusterRoleBinding "kubeadm:cluster-admins" of ClusterRole "cluster-admin" to Group "kubeadm:cluster-admins"`,
		},
	}
}

// BenchmarkEncode encodes the event of the budget (2.4 KB), one without a body, and
// bodies that are compact, and that are indented and full of <.
func BenchmarkEncode(b *testing.B) {
	big := benchRecord(1 << 20)
	var indented bytes.Buffer
	if err := json.Indent(&indented, benchRecord(1<<20).RequestObject, "", "  "); err != nil {
		b.Fatal(err)
	}
	markup := bytes.ReplaceAll(big.RequestObject, []byte("registry.example"), []byte("<b>&</b>"))
	for _, c := range []struct {
		name string
		r    *audit.Record
		body []byte
	}{
		{name: "metadata", r: benchRecord(0)},
		{name: "2.4KB", r: benchRecord(1200)},
		{name: "body/compact", r: big, body: big.RequestObject},
		{name: "body/indented", r: big, body: indented.Bytes()},
		{name: "body/markup", r: big, body: markup},
	} {
		r := *c.r
		if c.name == "metadata" {
			r.RequestObject = nil
		}
		if c.body != nil {
			r.RequestObject = c.body
		}
		line, err := r.AppendJSON(nil)
		if err != nil {
			b.Fatal(err)
		}
		size := int64(len(line))
		if c.body != nil {
			size = int64(len(c.body))
		}
		b.Run(c.name+"/append", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf, _ = r.AppendJSON(buf[:0])
			}
		})
		b.Run(c.name+"/event", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Event(); err != nil {
					b.Fatal(err)
				}
			}
		})
		m := mirrorOf(&r)
		b.Run(c.name+"/json", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
