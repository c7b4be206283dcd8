package capture

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/audit/policy"
)

// DefaultMaxBody is the most of a body that is recorded if [Options.MaxBody] is 0: 3 MiB,
// the most that an API server takes in a request (MaxRequestBodyBytes), which is etcd's
// limit of 1.5 MiB for an object and as much again for its history in managedFields.
const DefaultMaxBody = 3 << 20

// Options are a Handler's.
type Options struct {
	// Policy is asked once for each request and returns the policy of the moment, so that
	// it can be changed while requests are served. [Fixed] is for one that stays.
	Policy func() *policy.Evaluator
	// Sink takes the events.
	Sink pipeline.Sink
	// Strict is the mode blocking-strict, at every stage: a request whose events the
	// sink does not take is not answered. Without it such events are entered in Ledger,
	// and the request goes on.
	Strict bool
	// Ledger counts what is lost. nil makes one of the Handler's own, which Log is not told of.
	Ledger *pipeline.Ledger
	// Identifier says who makes a request. nil means that the Handler stands in front of
	// the API's own authentication, and knows nobody; see [IdentifierFunc].
	Identifier Identifier
	// Resolver says what a request is about; the zero value is a Kubernetes API's.
	Resolver Resolver
	// LongRunning is whether a request has the stage ResponseStarted and no bodies. nil is [LongRunning].
	LongRunning func(*http.Request, *RequestInfo) bool
	// CheckTimeout has a request with an unreadable parameter timeout refused with a 400
	// before anybody is identified, as an API server does.
	CheckTimeout bool
	// MaxBody is the most bytes of a request's or an answer's body that are recorded;
	// a larger one is left out and noted. 0 is DefaultMaxBody.
	MaxBody int
	// Log is told of events that could not be made. nil is silent.
	Log *slog.Logger
}

// Fixed is a policy that does not change, as [Options] want it.
func Fixed(e *policy.Evaluator) func() *policy.Evaluator {
	return func() *policy.Evaluator { return e }
}

func (o *Options) validate() error {
	switch {
	case o.Policy == nil:
		return errors.New("capture requests: Options.Policy is nil: without a policy nothing is recorded; policy.Compile makes one")
	case o.Sink == nil:
		return errors.New("capture requests: Options.Sink is nil: there is nowhere for events to go; audit/backend opens what flags describe")
	case o.MaxBody < 0:
		return fmt.Errorf("capture requests: Options.MaxBody is %d: it is a number of bytes, 0 for %d", o.MaxBody, DefaultMaxBody)
	}
	if o.Ledger == nil {
		o.Ledger = pipeline.NewLedger(pipeline.LedgerOptions{})
	}
	if o.LongRunning == nil {
		o.LongRunning = LongRunning
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
