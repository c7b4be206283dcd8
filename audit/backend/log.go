package backend

import (
	"context"
	"errors"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
	"github.com/ktrail/ktrail/audit/pipeline"
)

// logSink is a log file as a [pipeline.Sink].
type logSink struct{ w *logfile.Writer }

// Send implements [pipeline.Sink].
func (s logSink) Send(ctx context.Context, events []audit.Event) error {
	err := s.w.WriteEvents(ctx, events)
	if err == nil {
		return nil
	}
	var we *logfile.WriteError
	if !errors.As(err, &we) {
		return err
	}
	loss := &pipeline.Loss{Sink: "log", Reason: pipeline.ReasonDisk, Events: we.Events, Err: err}
	if we.Full {
		loss.Reason = pipeline.ReasonFull
	}
	return loss
}

// Close implements [pipeline.Sink].
func (s logSink) Close(context.Context) error { return s.w.Close() }
