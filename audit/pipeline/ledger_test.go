package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/durable"
)

// take is a Sink that keeps what it is sent, and fails with err where that is set.
type take struct {
	mu     sync.Mutex
	sends  [][]audit.Event
	err    error
	closed int
}

func (k *take) Send(_ context.Context, events []audit.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.sends = append(k.sends, slices.Clone(events))
	return nil
}

func (k *take) Close(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed++
	return nil
}

func (k *take) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *take) all() []audit.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Concat(k.sends...)
}

// ids are the audit IDs of events, in order.
func ids(events []audit.Event) string {
	var s []string
	for i := range events {
		s = append(s, events[i].AuditID)
	}
	return strings.Join(s, " ")
}

// events makes events with the audit IDs and rules in spec: a:1 b:2 c.
func events(tb testing.TB, spec string) []audit.Event {
	tb.Helper()
	var out []audit.Event
	for _, word := range strings.Fields(spec) {
		id, rule, _ := strings.Cut(word, ":")
		var e audit.Event
		if err := audit.Decode([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"`+id+`","stage":"ResponseComplete","requestURI":"/","verb":"get","user":{"username":"u"}}`), &e); err != nil {
			tb.Fatal(err)
		}
		if rule != "" {
			_, _ = fmt.Sscan(rule, &e.Rule)
		}
		out = append(out, e)
	}
	return out
}

func counts(l *pipeline.Ledger) string {
	var s []string
	for _, c := range l.Counts() {
		s = append(s, fmt.Sprintf("%s/%s/%d=%d", c.Sink, c.Reason, c.Rule, c.Events))
	}
	return strings.Join(s, " ")
}

func TestLedgerCounts(t *testing.T) {
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	abc := events(t, "a:1 b:2 c")
	l.Enter(nil, abc)
	if got := counts(l); got != "" {
		t.Fatalf("no error counted as %s", got)
	}
	l.Enter(errors.New("boom"), abc)
	l.Enter(&pipeline.Loss{Sink: "log", Reason: pipeline.ReasonDisk, Events: abc[:1]}, abc)
	l.Enter(fmt.Errorf("send: %w", errors.Join(
		&pipeline.Loss{Sink: "log", Reason: pipeline.ReasonDisk, Events: abc[:1]},
		errors.Join(&pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonDown, Events: abc[1:]}),
	)), abc)
	l.Enter(context.DeadlineExceeded, abc[:1])
	l.Cut("truncate", abc[1])
	want := "/error/0=1 /error/1=1 /error/2=1 /stop/1=1 log/disk/1=2 truncate/cut/2=1 webhook/down/0=1 webhook/down/2=1"
	if got := counts(l); got != want {
		t.Errorf("counts are\n%s, want\n%s", got, want)
	}
}

func TestLedgerReportsOncePerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		var to take
		l := pipeline.NewLedger(pipeline.LedgerOptions{Log: slog.New(slog.NewTextHandler(&text, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx, &to) })
		time.Sleep(time.Hour)
		if len(to.all()) > 0 || text.Len() > 0 {
			t.Fatalf("an idle ledger said %s", text.String())
		}
		one := events(t, "a:3")
		for range 100_000 { // ten a millisecond: ten seconds
			l.Enter(&pipeline.Loss{Sink: "buffer", Reason: pipeline.ReasonFull, Events: one}, one)
			time.Sleep(100 * time.Microsecond)
		}
		time.Sleep(time.Hour)
		got := to.all()
		if n := strings.Count(text.String(), "\n"); n != 2 || len(got) != 2 {
			t.Fatalf("100,000 losses in ten seconds made %d lines in the log and %d events, want 2 of each:\n%s", n, len(got), text.String())
		}
		for _, want := range []string{`msg="audit events were lost" sink=buffer reason=full events=99999 total=100000`, `rules="3=99999"`} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, text.String())
			}
		}
		var e audit.Event
		if err := audit.Decode([]byte(got[1].Raw), &e); err != nil {
			t.Fatal(err)
		}
		if !pipeline.IsReport(&e) || !e.Final || e.Time == 0 || e.AuditID == got[0].AuditID || e.Message != "99999 audit events were lost by buffer: full; 100000 since the start" {
			t.Errorf("the report is %s", e.Raw)
		}
		for _, want := range []string{`"ktrail/events":"99999"`, `"ktrail/total":"100000"`, `"ktrail/rules":"3=99999"`, `"ktrail/since":"2000-01-01T01:00:00.000100Z"`} {
			if !strings.Contains(e.Raw, want) {
				t.Errorf("the report has no %s: %s", want, e.Raw)
			}
		}
		cancel()
		wg.Wait()
	})
}

// A sink that is down loses the reports too. They must not be counted, for they would
// feed themselves, and what they told must come with the next that gets through.
func TestLedgerReportLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to take
		to.fail(errors.New("down"))
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx, &to) })
		l.Enter(errors.New("x"), events(t, "a:1 b:1"))
		time.Sleep(10 * time.Minute)
		if got := counts(l); got != "/error/1=2" {
			t.Errorf("after lost reports the counts are %s", got)
		}
		to.fail(nil)
		time.Sleep(10 * time.Minute)
		got := to.all()
		if len(got) != 1 || !strings.Contains(got[0].Raw, `"ktrail/total":"2"`) {
			t.Errorf("the sink is back and has %d reports, want one with the total", len(got))
		}
		cancel()
		wg.Wait()
		l.Enter(errors.New("x"), events(t, "c:1"))
		l.Flush(t.Context(), &to)
		l.Flush(t.Context(), &to)
		if got := to.all(); len(got) != 2 || !strings.Contains(got[1].Raw, `"ktrail/total":"3"`) {
			t.Errorf("Flush left %d reports in all, want 2", len(got))
		}
	})
}

// A webhook that refuses everything refuses the reports too, also those that were on disk
// meanwhile: what they lost must not be the next report.
func TestLedgerReportRefusedFromDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := sinkFunc(func(_ context.Context, in []audit.Event) error {
			return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonRefused, Events: in}
		})
		var text bytes.Buffer
		l := pipeline.NewLedger(pipeline.LedgerOptions{Log: slog.New(slog.NewTextHandler(&text, nil))})
		s := spool(t, refuse, pipeline.SpoolOptions{FS: durable.NewMemFS(), Ledger: l})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx, s.Overflow()) })
		l.Enter(errors.New("x"), events(t, "c"))
		time.Sleep(time.Hour)
		if got := counts(l); got != "/error/0=1" || strings.Count(text.String(), "\n") != 1 {
			t.Errorf("counted %s, told %s", got, text.String())
		}
		cancel()
		wg.Wait()
		closed1(t, s)
	})
}

// sinkFunc is a Sink that is a function.
type sinkFunc func(context.Context, []audit.Event) error

func (f sinkFunc) Send(ctx context.Context, in []audit.Event) error { return f(ctx, in) }
func (sinkFunc) Close(context.Context) error                        { return nil }

// fatError is an error that holds what it is about, as a failed write of events does.
type fatError struct{ events []audit.Event }

func (e *fatError) Error() string { return fmt.Sprintf("%d events", len(e.events)) }

// What is lost is counted, not kept.
func TestLedgerKeepsNoEvents(t *testing.T) {
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	fat := &fatError{events(t, "a b")}
	gone := weak.Make(fat)
	l.Enter(&pipeline.Loss{Sink: "log", Reason: pipeline.ReasonDisk, Events: fat.events, Err: fat}, nil)
	runtime.KeepAlive(fat)
	fat = nil
	runtime.GC()
	if gone.Value() != nil {
		t.Error("the ledger keeps the error, and its events")
	}
	runtime.KeepAlive(l)
}

func TestBlocking(t *testing.T) {
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	var to take
	b := pipeline.NewBlocking(&to, l)
	ab := events(t, "a b")
	to.fail(&pipeline.Loss{Sink: "log", Reason: pipeline.ReasonDisk, Events: ab[1:]})
	if err := b.Send(t.Context(), ab); err != nil || counts(l) != "log/disk/0=1" {
		t.Errorf("Send gave %v and counted %s", err, counts(l))
	}
	to.fail(nil)
	if err := b.Send(t.Context(), ab); err != nil || ids(to.all()) != "a b" {
		t.Errorf("Send gave %v and handed on %s", err, ids(to.all()))
	}
	if err := b.Close(t.Context()); err != nil || to.closed != 1 {
		t.Errorf("Close gave %v and closed the sink below %d times", err, to.closed)
	}
}

func TestFanOut(t *testing.T) {
	var first, second, third take
	first.fail(&pipeline.Loss{Sink: "log", Reason: pipeline.ReasonDisk, Events: events(t, "a")})
	third.fail(errors.New("no loss in here: all are lost"))
	f := pipeline.FanOut{&first, &second, &third}
	ab := events(t, "a b")
	err := f.Send(t.Context(), ab)
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	l.Enter(err, ab)
	if got := counts(l); got != "/error/0=2 log/disk/0=1" {
		t.Errorf("counted %s", got)
	}
	if got := ids(second.all()); got != "a b" {
		t.Errorf("the sink behind one that fails got %q", got)
	}
	if err := f.Close(t.Context()); err != nil || first.closed+second.closed+third.closed != 3 {
		t.Errorf("Close gave %v, or left a sink open", err)
	}
}

// null is a Sink that takes everything.
type null struct{}

func (null) Send(context.Context, []audit.Event) error { return nil }
func (null) Close(context.Context) error               { return nil }

// What every event passes must not allocate.
func TestHotPathDoesNotAllocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		ba := batch(t, null{}, pipeline.BatchOptions{Events: 4096, BatchEvents: 8, Ledger: l})
		redact := pipeline.NewRedact(pipeline.NewBlocking(truncate(t, ba, pipeline.TruncateOptions{MaxEvent: 1000, MaxBatch: 1000, Ledger: l}), l), redactor(t))
		in := events(t, "a")
		for range 2048 { // the buffer grows
			_ = redact.Send(t.Context(), in)
		}
		synctest.Wait()
		if n := testing.AllocsPerRun(1000, func() { _ = redact.Send(t.Context(), in) }); n > 0 {
			t.Errorf("an event on its way allocates %v times", n)
		}
		if err := redact.Close(t.Context()); err != nil || counts(l) != "" {
			t.Errorf("Close gave %v, lost were %s", err, counts(l))
		}
	})
}
