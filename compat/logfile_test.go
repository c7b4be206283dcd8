package compat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstreamaudit "k8s.io/apiserver/pkg/audit"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
)

// logSample are the lines of the sample log.
func logSample(t *testing.T) (lines []string) {
	t.Helper()
	f, err := os.Open("../testdata/audit-sample.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if s.Err() != nil || len(lines) < 1000 {
		t.Fatalf("%d lines, %v", len(lines), s.Err())
	}
	return lines
}

func upstreamEvent(t *testing.T, line string) *auditinternal.Event {
	t.Helper()
	obj, err := runtime.Decode(upstreamaudit.Codecs.UniversalDecoder(), []byte(line))
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	// The API server would hold the times in its own zone.
	e := obj.(*auditinternal.Event)
	e.RequestReceivedTimestamp.Time = e.RequestReceivedTimestamp.UTC()
	return e
}

// oddRecord has every field, with text that encoders differ about.
func oddRecord(rnd *rand.Rand) *audit.Record {
	odd := []string{"", "plain", `"\`, "<a href='&'>", "\x00\x1f\b\f\n\r\t\x7f", "世界😀", "\u2028\u2029", "\xff\xc3(\xed\xa0\x80", "é\xe4\xb8", "</script>", strings.Repeat("long ", 40)}
	text := func() string { return odd[rnd.IntN(len(odd))] + odd[rnd.IntN(len(odd))] }
	list := func() (l []string) {
		for range rnd.IntN(4) {
			l = append(l, text())
		}
		return l
	}
	user := func() audit.UserInfo {
		return audit.UserInfo{Username: text(), UID: text(), Groups: list(), Extra: map[string][]string{text(): list(), text(): {}}}
	}
	bodies := []string{"", `{"kind":"Pod"}`, " { \"a\" : [ 1.50e3, \"<&>\", null ] }\n", `"` + "\u2028" + `"`, `[]`}
	body := func() []byte { return []byte(bodies[rnd.IntN(len(bodies))]) }
	at := func() audit.Time {
		return audit.TimeOf(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)) + audit.Time(rnd.IntN(2)*rnd.IntN(1e9))
	}
	r := &audit.Record{
		Level: text(), AuditID: text(), Stage: text(), RequestURI: text(), Verb: text(), User: user(), SourceIPs: list(), UserAgent: text(),
		ImpersonationConstraint: text(), RequestObject: body(), ResponseObject: body(), Received: at(), Time: at(),
		Annotations: map[string]string{text(): text(), text(): text()},
	}
	if rnd.IntN(2) == 0 {
		u := user()
		r.ImpersonatedUser = &u
	}
	if rnd.IntN(2) == 0 {
		r.ObjectRef = &audit.ObjectRef{Resource: text(), Namespace: text(), Name: text(), UID: text(), APIGroup: text(), APIVersion: text(), ResourceVersion: text(), Subresource: text()}
	}
	if rnd.IntN(2) == 0 {
		r.ResponseStatus = &audit.Status{Status: text(), Message: text(), Reason: text(), Code: rnd.Int32N(3) * 200, Details: []byte(bodies[rnd.IntN(2)])}
		if len(r.ResponseStatus.Details) > 0 {
			r.ResponseStatus.Details = []byte(`{"name":"a","kind":"b","causes":[{"reason":"c"}],"retryAfterSeconds":3}`)
		}
	}
	return r
}

// TestEncode: what our encoder writes of a record, the API server's writes of the same event, to
// the byte; and what it cannot write, ours refuses.
func TestEncode(t *testing.T) {
	encoder := upstreamaudit.Codecs.LegacyCodec(auditv1.SchemeGroupVersion)
	rnd := rand.New(rand.NewPCG(1, 5))
	const events = 100_000
	refused := 0
	for range events {
		r := oddRecord(rnd)
		for _, body := range []*[]byte{&r.RequestObject, &r.ResponseObject} {
			if rnd.IntN(50) == 0 && len(*body) > 0 { // as an attacker might send it
				*body = slices.Clone(*body)
				(*body)[rnd.IntN(len(*body))] = byte(rnd.IntN(256))
			}
		}
		line, err := r.AppendJSON(nil)
		want, theirErr := runtime.Encode(encoder, ToEvent(r))
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("error %v, upstream %v, of %+v", err, theirErr, r)
		}
		if err != nil {
			refused++
			continue
		}
		if string(want) != string(line)+"\n" {
			t.Fatalf("\n    got %s\nupstream %s", line, want)
		}
	}
	if refused < events/1000 || refused > events/10 {
		t.Errorf("%d of %d cannot be written: the test tries too little of one kind", refused, events)
	}
	t.Logf("%d events, of which neither side can write %d, not one difference", events, refused)
}

// TestLegacy: --audit-log-format=legacy, line by line.
func TestLegacy(t *testing.T) {
	lines := logSample(t)
	rnd := rand.New(rand.NewPCG(2, 5))
	for range 1000 {
		line, err := oddRecord(rnd).AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	for _, line := range lines {
		var e audit.Event
		if err := audit.Decode([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if got, want := string(logfile.AppendLegacy(nil, &e)), upstreamaudit.EventString(upstreamEvent(t, line)); got != want {
			t.Fatalf("of %s\n    got %s\nupstream %s", line, got, want)
		}
	}
}

// TestRotation: the same events make the same files as the API server's writer makes.
func TestRotation(t *testing.T) {
	lines := logSample(t)
	for _, compress := range []bool{false, true} {
		theirs, ours := t.TempDir(), t.TempDir()
		up := &lumberjack.Logger{Filename: filepath.Join(theirs, "audit.log"), MaxSize: 1, Compress: compress}
		w, err := logfile.Open(logfile.WriterOptions{Path: filepath.Join(ours, "audit.log"), MaxSize: 1, Compress: compress})
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range lines {
			if _, err := up.Write([]byte(line + "\n")); err != nil {
				t.Fatal(err)
			}
			// Alone, and some together: files end at the same event.
			if i%3 != 0 {
				continue
			}
			var list []audit.Event
			for _, l := range lines[i:min(i+3, len(lines))] {
				list = append(list, audit.Event{Raw: l})
			}
			if err := w.WriteEvents(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		plain := func(dir string) (files []string, names []string) {
			for {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				files, names = nil, nil
				rotated := 0
				for _, e := range entries {
					if filepath.Ext(e.Name()) == ".log" && e.Name() != "audit.log" {
						rotated++
					}
					data, err := os.ReadFile(filepath.Join(dir, e.Name()))
					if err != nil {
						break
					}
					if filepath.Ext(e.Name()) == ".gz" {
						z, err := gzip.NewReader(bytes.NewReader(data))
						if err != nil {
							break
						}
						var b bytes.Buffer
						if _, err := b.ReadFrom(z); err != nil {
							break
						}
						data = b.Bytes()
					}
					files = append(files, string(data))
					names = append(names, e.Name()[:6]+filepath.Ext(e.Name()))
				}
				// Compression runs behind: both have the same files in the end.
				if len(files) == len(entries) && (!compress || rotated == 0) {
					return files, names
				}
			}
		}
		want, wantNames := plain(theirs)
		got, gotNames := plain(ours)
		if len(want) < 4 {
			t.Fatalf("only %d files: the log is too small", len(want))
		}
		if !slices.Equal(got, want) || !slices.Equal(gotNames, wantNames) {
			t.Errorf("compress %v: %d files %q, upstream has %d %q", compress, len(got), gotNames, len(want), wantNames)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := up.Close(); err != nil {
			t.Error(err)
		}
	}
}
