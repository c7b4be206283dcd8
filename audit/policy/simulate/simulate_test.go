package simulate

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

func preset(t testing.TB, name string) *policy.Policy {
	t.Helper()
	p, ok := policy.LookupPreset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return load(t, string(p.YAML))
}

func load(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func simulated(t testing.TB, o Options, log []byte) *Report {
	t.Helper()
	s := New(o)
	if err := s.Read(context.Background(), "log", bytes.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	return s.Report()
}

// What a policy has recorded is what it records: a log that is cut to a policy is kept
// to the byte by that policy, nothing of it is lost, and nothing has to be guessed.
func TestOwnPolicyKeepsEverything(t *testing.T) {
	events := sampleEvents(t)
	for _, pre := range policy.Presets() {
		t.Run(pre.Name, func(t *testing.T) {
			p := load(t, string(pre.YAML))
			decide := newDecider(p)
			var log []byte
			n := 0
			for _, e := range events {
				a := policy.AttributesOf(e)
				level := levelOf(e.Level)
				d := decide.decide(&a, level)
				if d.Level == policy.None || d.Level > level || d.OmitStages&(1<<stageOf(e.Stage)) != 0 || e.Truncated {
					continue
				}
				cut := partsOf(e, nil)
				log = cut.append(log, d.Level, d.OmitManagedFields)
				n++
			}
			if n < 100 {
				t.Fatalf("%d events left", n)
			}
			r := simulated(t, Options{Policy: p}, log)
			if r.Log.Events != int64(n) || r.Log.Bytes != int64(len(log)) || r.Log.Bad != 0 {
				t.Errorf("read %+v, want %d events of %d bytes", r.Log, n, len(log))
			}
			if r.Policy.Events != int64(n) || r.Policy.Bytes != int64(len(log)) {
				t.Errorf("keeps %d events, %d bytes; want %d, %d", r.Policy.Events, r.Policy.Bytes, n, len(log))
			}
			if r.LeftOut != (LeftOut{}) || r.Lost.Loss != (Loss{}) {
				t.Errorf("left out %+v, lost %+v", r.LeftOut, r.Lost.Loss)
			}
			if r.Policy.MoreBytes != (Range{}) && !p.OmitManagedFields {
				t.Errorf("guesses %+v: %v", r.Policy.MoreBytes, r.Notes)
			}
		})
	}
}

// Each list is the same total told another way.
func TestListsAddUp(t *testing.T) {
	log := sampleLog(t)
	for _, pre := range policy.Presets() {
		p := load(t, string(pre.YAML))
		r := simulated(t, Options{Policy: p, Baseline: preset(t, "metadata")}, log)
		var levels, stages Amount
		for _, l := range r.Levels {
			levels.plus(l.Amount)
		}
		for _, s := range r.Stages {
			stages.plus(s.Amount)
		}
		for name, sum := range map[string]Amount{"levels": levels, "stages": stages} {
			if sum.Events != r.Policy.Events || sum.Bytes != r.Policy.Bytes {
				t.Errorf("%s: %s add up to %d events, %d bytes; the total is %d, %d", pre.Name, name, sum.Events, sum.Bytes, r.Policy.Events, r.Policy.Bytes)
			}
			if math.Abs(sum.MoreBytes.Middle-r.Policy.MoreBytes.Middle) > 4 { // each is rounded
				t.Errorf("%s: %s add up to %v estimated bytes, the total is %v", pre.Name, name, sum.MoreBytes, r.Policy.MoreBytes)
			}
		}
		if r.Policy.Events+r.LeftOut.Events != r.Recorded.Events {
			t.Errorf("%s: %d kept and %d left out of %d", pre.Name, r.Policy.Events, r.LeftOut.Events, r.Recorded.Events)
		}
		if r.Recorded.Bytes != int64(len(log)) {
			t.Errorf("%s: recorded %d bytes of %d", pre.Name, r.Recorded.Bytes, len(log))
		}
		if r.Baseline == nil || r.Baseline.Events != r.Recorded.Events {
			t.Errorf("%s: the one-rule policy as the baseline records %+v of %d events", pre.Name, r.Baseline, r.Recorded.Events)
		}
	}
}

// The sums are those of each event decided and cut by itself.
func TestAgainstEachEvent(t *testing.T) {
	events := sampleEvents(t)
	for _, pre := range policy.Presets() {
		p := load(t, string(pre.YAML))
		decide := newDecider(p)
		var n, bytes int64
		users := map[string]int64{}
		for _, e := range events {
			a := policy.AttributesOf(e)
			d := decide.decide(&a, 0)
			if d.Level == policy.None || d.OmitStages&(1<<stageOf(e.Stage)) != 0 {
				continue
			}
			size := int64(len(reference(t, e.Raw, min(d.Level, levelOf(e.Level)), d.OmitManagedFields)))
			n++
			bytes += size
			users[e.User] += size
		}
		r := simulated(t, Options{Policy: p}, sampleLog(t))
		if r.Policy.Events != n || r.Policy.Bytes != bytes {
			t.Errorf("%s: %d events, %d bytes; want %d, %d", pre.Name, r.Policy.Events, r.Policy.Bytes, n, bytes)
		}
		for _, c := range r.Clients {
			if c.Bytes != users[c.User] {
				t.Errorf("%s: client %s takes %d bytes, want %d", pre.Name, c.User, c.Bytes, users[c.User])
			}
		}
	}
}

// However a log comes, it is the same log.
func TestFormsOfALog(t *testing.T) {
	plain := sampleLog(t)
	want := simulated(t, Options{Policy: preset(t, "recommended")}, plain)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	list := append([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[`), bytes.TrimSuffix(bytes.ReplaceAll(plain, []byte("\n"), []byte(",\n")), []byte(",\n"))...)
	list = append(list, "]}"...)
	crlf := bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n"))
	for name, log := range map[string][]byte{"gzip": zipped.Bytes(), "list": list, "crlf": crlf, "no newline at the end": bytes.TrimSuffix(plain, []byte("\n"))} {
		got := simulated(t, Options{Policy: preset(t, "recommended"), Workers: 3}, log)
		if got.Log.Events != want.Log.Events || got.Policy.Events != want.Policy.Events || got.Policy.Bytes != want.Policy.Bytes {
			t.Errorf("%s: %+v of %+v, want %+v", name, got.Policy, got.Log, want.Policy)
		}
	}
	s := New(Options{Policy: preset(t, "recommended")})
	for _, e := range eventsOf(t, string(plain)) {
		s.Add(e)
	}
	if got := s.Report(); got.Policy.Bytes != want.Policy.Bytes || got.Log.Bytes != want.Log.Bytes {
		t.Errorf("Add: %+v of %+v, want %+v", got.Policy, got.Log, want.Policy)
	}
}

func TestTornAndForeignLines(t *testing.T) {
	event := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api","verb":"get","stageTimestamp":"2026-11-22T10:00:00.000000Z"}`
	r := simulated(t, Options{}, []byte(strings.Repeat("\x00", 50)+event+"\nnot json\n"+event[:60]+event+"\n\n"+event+"\n"+event[:100]))
	if r.Log.Events != 3 || r.Log.Bad != 2 {
		t.Errorf("%+v, want 3 events and 2 bad lines", r.Log)
	}
	for _, text := range []string{"kind: Policy\n", "\x7fELF\x00\x01\n\x02", `{"kind":"Pod"}`, "[1,2,3]"} {
		if err := New(Options{}).Read(context.Background(), "x", strings.NewReader(text)); !errors.Is(err, ErrNoEvents) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := New(Options{}).Read(context.Background(), "x", strings.NewReader("")); err != nil {
		t.Errorf("an empty log: %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := New(Options{}).Read(cancelled, "x", bytes.NewReader(sampleLog(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A line that is longer than a block, and one behind it.
func TestLongLines(t *testing.T) {
	long := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","objectRef":{"resource":"pods","apiVersion":"v1"},"responseObject":{"x":"` + strings.Repeat("y", 3*blockSize) + `"},"stageTimestamp":"2026-11-22T10:00:00.000000Z"}` + "\n"
	short := strings.Replace(long, strings.Repeat("y", 3*blockSize), "y", 1)
	log := strings.Repeat(short, 5000) + long + strings.Repeat(short, 4000) + long + short
	r := simulated(t, Options{Policy: preset(t, "metadata")}, []byte(log))
	if r.Log.Events != 9003 || r.Log.Bytes != int64(len(log)) {
		t.Errorf("%+v, want 9003 events in %d bytes", r.Log, len(log))
	}
	if one := r.Policy.Bytes / 9003; r.Policy.Bytes != one*9003 || one > 300 {
		t.Errorf("%d bytes without bodies are not 9003 times the same", r.Policy.Bytes)
	}
}
