package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/golden"
)

// sections are the parts of a golden file: "-- name --" begins one.
func sections(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	name := "about"
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(n, " --") {
			name = strings.TrimSuffix(n, " --")
			continue
		}
		all[name] += line
	}
	return all
}

// finish checks got to be what the file wants.
func finish(t *testing.T, file string, s map[string]string, got string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(s["about"])
	for _, name := range []string{"policy", "baseline", "log"} {
		if text, ok := s[name]; ok {
			b.WriteString("-- " + name + " --\n" + text)
		}
	}
	b.WriteString("-- want --\n" + got)
	golden.Check(t, file, b.String())
}

// logOf makes a log of short lines: an event each, "user=alice verb=get resource=pods
// request=100 response=2000 x5" being five of them. "sample" is the sample log.
func logOf(t *testing.T, text string) []byte {
	t.Helper()
	if strings.TrimSpace(text) == "sample" {
		return sampleLog(t)
	}
	var b bytes.Buffer
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	id := 0
	for line := range strings.Lines(text) {
		fields := map[string]string{"level": "Metadata", "stage": "ResponseComplete", "code": "200", "verb": "get"}
		times := 1
		for _, word := range strings.Fields(line) {
			key, value, ok := strings.Cut(word, "=")
			if n, err := strconv.Atoi(strings.TrimPrefix(word, "x")); !ok && err == nil {
				times = n
				continue
			}
			fields[key] = value
		}
		if _, after := fields["after"]; after {
			d, err := time.ParseDuration(fields["after"])
			if err != nil {
				t.Fatal(err)
			}
			at = at.Add(d)
		}
		for range times {
			id++
			event(t, &b, fields, id, at)
		}
	}
	return b.Bytes()
}

func event(t *testing.T, b *bytes.Buffer, f map[string]string, id int, at time.Time) {
	auditID := f["id"]
	if auditID == "" {
		auditID = fmt.Sprintf("%08d", id)
	}
	e := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": f["level"], "auditID": auditID, "stage": f["stage"], "verb": f["verb"],
		"stageTimestamp": at.Format("2006-01-02T15:04:05.000000Z"), "requestURI": f["uri"],
	}
	user := map[string]any{}
	if f["user"] != "" {
		user["username"] = f["user"]
	}
	if f["groups"] != "" {
		user["groups"] = strings.Split(f["groups"], ",")
	}
	e["user"] = user
	if f["as"] != "" {
		e["impersonatedUser"] = map[string]any{"username": f["as"]}
	}
	if f["resource"] != "" {
		resource, sub, _ := strings.Cut(f["resource"], "/")
		e["objectRef"] = map[string]any{"resource": resource, "subresource": sub, "apiGroup": f["group"], "apiVersion": "v1", "namespace": f["namespace"], "name": f["name"]}
	}
	if f["stage"] != audit.StageRequestReceived {
		code, err := strconv.Atoi(f["code"])
		if err != nil {
			t.Fatal(err)
		}
		e["responseStatus"] = map[string]any{"code": code}
	}
	for key, name := range map[string]string{"request": "requestObject", "response": "responseObject"} {
		if f[key] == "" {
			continue
		}
		n, err := strconv.Atoi(f[key])
		if err != nil {
			t.Fatal(err)
		}
		meta := map[string]any{"name": "x", "creationTimestamp": "2026-11-22T10:00:00Z"}
		if f["managed"] != "" {
			meta["managedFields"] = []string{f["managed"]}
		}
		e[name] = map[string]any{"metadata": meta, "data": strings.Repeat("d", n)}
	}
	if f["truncated"] != "" {
		e["annotations"] = map[string]string{"audit.k8s.io/truncated": "true"}
	}
	enc := json.NewEncoder(b)
	if err := enc.Encode(e); err != nil {
		t.Fatal(err)
	}
}

func TestSimulateGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/simulate/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := sections(t, file)
			o := Options{Policy: load(t, s["policy"])}
			if s["baseline"] != "" {
				o.Baseline = load(t, s["baseline"])
			}
			r := simulated(t, o, logOf(t, s["log"]))
			finish(t, file, s, told(r))
		})
	}
}

// told is a report in few lines.
func told(r *Report) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("log       %d events %d bytes %d bad, %.5f days", r.Log.Events, r.Log.Bytes, r.Log.Bad, r.Log.Days)
	amount := func(name string, a *Amount) {
		s := fmt.Sprintf("%-9s %d events %d bytes", name, a.Events, a.Bytes)
		if a.MoreEvents != (Range{}) {
			s += fmt.Sprintf(", more events %.0f", a.MoreEvents.Middle)
		}
		if a.MoreBytes != (Range{}) {
			s += fmt.Sprintf(", more bytes %.0f..%.0f..%.0f", a.MoreBytes.Low, a.MoreBytes.Middle, a.MoreBytes.High)
		}
		line("%s", s)
	}
	amount("recorded", &r.Recorded)
	if r.Baseline != nil {
		amount("baseline", r.Baseline)
	}
	amount("policy", &r.Policy)
	line("left out  %d events %d bytes, %d by stage", r.LeftOut.Events, r.LeftOut.Bytes, r.LeftOut.ByStage)
	for i := range r.Levels {
		amount("  "+r.Levels[i].Level.String(), &r.Levels[i].Amount)
	}
	for i := range r.Stages {
		if r.Stages[i].Events > 0 || r.Stages[i].MoreEvents.High > 0 {
			amount("  "+r.Stages[i].Stage, &r.Stages[i].Amount)
		}
	}
	for i, x := range r.Rules {
		amount(fmt.Sprintf("  rule %d line %d %s", x.Rule, x.Line, x.Level), &r.Rules[i].Amount)
	}
	for i, x := range r.Clients {
		amount(fmt.Sprintf("  client %q", x.User), &r.Clients[i].Amount)
	}
	line("lost      %+v", r.Lost.Loss)
	for _, by := range []struct {
		name string
		rows []LossRow
	}{{"user", r.Lost.ByUser}, {"verb", r.Lost.ByVerb}, {"resource", r.Lost.ByResource}} {
		for _, x := range by.rows {
			line("  %s %q %+v", by.name, x.Name, x.Loss)
		}
	}
	for _, n := range r.Notes {
		line("note      %s: %s", n.Name, n.Text)
	}
	return b.String()
}

func TestSuggestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/suggest/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := sections(t, file)
			var p *policy.Policy
			if s["policy"] != "" {
				p = load(t, s["policy"])
			}
			a := advised(t, p, logOf(t, s["log"]))
			var b strings.Builder
			fmt.Fprintf(&b, "recorded %d events %d bytes, after %d events %d bytes, kept %+v\n", a.Recorded.Events, a.Recorded.Bytes, a.After.Events, a.After.Bytes, a.Kept)
			for i, x := range a.Suggestions {
				fmt.Fprintf(&b, "\n%d %s: %s\n  %s\n  saves %d events %d bytes, %.1f%%; gives up %s\n%s", i+1, x.Name, x.Title, x.Where, x.Saves.Events, x.Saves.Bytes, 100*x.Saves.Share, x.GivesUp, x.YAML)
			}
			for _, x := range a.Refused {
				fmt.Fprintf(&b, "\nrefused %s: %s\n", x.Name, x.Reason)
			}
			finish(t, file, s, b.String())
		})
	}
}

// advised is the whole way: simulate, suggest, check until all holds.
func advised(t testing.TB, p *policy.Policy, log []byte) *Advice {
	t.Helper()
	s := New(Options{Policy: p, Suggest: true})
	if err := s.Read(context.Background(), "log", bytes.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	a := s.Suggest(10)
	for range 50 {
		c := a.Check(2)
		if err := c.Read(context.Background(), "log", bytes.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		if a.Settle(c) {
			return a
		}
	}
	t.Fatal("there is always something that fails the check")
	return nil
}
