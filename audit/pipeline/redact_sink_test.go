package pipeline_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
)

func TestRedactSink(t *testing.T) {
	var to take
	in := []audit.Event{
		decoded(t, line("pods", `"auditID":"a","requestObject":{"x":"y"}`)),
		decoded(t, line("secrets", `"auditID":"b","requestObject":{"data":{"k":"aHVudGVyMg=="}}`)),
		decoded(t, line("secrets", `"auditID":"c","requestObject":{"data":{"k":"aHVudGVyMg=="}}`)),
		decoded(t, line("pods", `"auditID":"d"`)),
	}
	in[1].Rule = 5
	in[2].Raw = `"Secret" of no event`
	before := append([]audit.Event(nil), in...)
	err := pipeline.NewRedact(&to, redactor(t)).Send(t.Context(), in)
	var loss *pipeline.Loss
	if !errors.As(err, &loss) || loss.Reason != pipeline.ReasonRedact || ids(loss.Events) != "c" {
		t.Errorf("Send gave %v", err)
	}
	got := to.all()
	if ids(got) != "a b d" || strings.Contains(got[1].Raw, "aHVudGVyMg") || got[1].Rule != 5 || !strings.Contains(got[1].Raw, "redacted:string:12:") {
		t.Errorf("handed on %s: %+v", ids(got), got[1])
	}
	if !reflect.DeepEqual(before, in) {
		t.Error("the caller's events were changed")
	}
	before[1].Rule, got[1].Rule = 0, 0 // no line has it
	checkColumns(t, before[1], got[1])

	to.fail(errors.New("down"))
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	l.Enter(pipeline.NewRedact(&to, redactor(t)).Send(t.Context(), in), in)
	if got := counts(l); got != "/error/0=2 /error/5=1 redact/redact/0=1" {
		t.Errorf("counted %s", got)
	}
}
