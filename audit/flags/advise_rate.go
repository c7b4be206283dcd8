package flags

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ktrail/ktrail/audit/finding"
)

const (
	// writes is the bytes a second that the API server's log back end encodes and
	// writes on one core: 2.4 KB in 41.8 µs, measured with k8s.io/apiserver 0.37.
	writes = 2400 / 41.8e-6
	// inMemory is an event's memory against its JSON: 0.75 measured on 12,000
	// events of a kubeadm control plane, copied as the API server copies them.
	inMemory = 0.75
	// muchMemory is a buffer that a control plane feels.
	muchMemory = 512 << 20
	// littleDrain is a throttle that a small idle cluster reaches: a one-node
	// kubeadm control plane made 31 events a second on average, 347 at most.
	littleDrain = 400
)

// rates holds what a back end in batch mode can take against what comes.
func (a *advisor) rates() {
	for _, b := range a.backends() {
		if b.Mode != Batch || b.BufferSize <= 0 || b.BatchSize <= 0 {
			continue
		}
		needed := 0
		switch {
		case b.Throttle && b.QPS > 0 && b.Burst > 0:
			needed = a.throttled(b, float64(b.QPS)*float64(b.BatchSize))
		case b.word == "log":
			needed = a.unthrottled(b, writes/float64(a.o.Rate.eventBytes()))
		}
		a.memory(b, needed)
	}
}

// throttled checks the throttle, and returns the buffer that the bursts need.
func (a *advisor) throttled(b backend, drain float64) int {
	rate := a.o.Rate.PerSecond
	f := advice{
		name: "throttle-drops", severity: finding.Note, at: b.prefix + ThrottleQPS,
		message: fmt.Sprintf("the %s takes %s events a second at most: %s batches of %s", b.word, number(drain), strconv.FormatFloat(float64(b.QPS), 'f', -1, 32), number(b.BatchSize)),
		reason: fmt.Sprintf("What comes faster waits in the buffer of %s events; what finds it full is dropped, counted only in apiserver_audit_error_total{plugin=\"buffered\"} (k8s.io/apiserver plugin/pkg/audit/buffered).",
			number(b.BufferSize)),
	}
	switch {
	case rate > drain:
		f.severity = finding.Warning
		f.message = fmt.Sprintf("%.0f %% of the events are dropped: %s a second come and the throttle lets %s through",
			math.Max(1, 100*(rate-drain)/rate), number(rate), number(drain))
	case rate == 0 && drain < littleDrain:
		f.severity = finding.Warning
		f.message += ", which a small cluster reaches"
	}
	if f.severity == finding.Warning {
		if b.word == "log" {
			f.set = []Arg{{Name: b.prefix + ThrottleEnable, Value: "false"}}
		} else {
			want := math.Max(rate*2, 4000)
			f.set = []Arg{{Name: b.prefix + ThrottleQPS, Value: strconv.FormatFloat(math.Ceil(want/float64(b.BatchSize)), 'f', -1, 64)}}
		}
	}
	a.add(f)
	if rate > drain {
		return 0
	}
	return a.bursts(b, drain, float64(b.Burst)*float64(b.BatchSize))
}

func (a *advisor) unthrottled(b backend, drain float64) int {
	if rate := a.o.Rate.PerSecond; rate > drain {
		a.add(advice{
			name: "write-limit", severity: finding.Warning, at: b.prefix + Mode,
			message: fmt.Sprintf("%.0f %% of the events are dropped: %s a second come and one core writes about %s", math.Max(1, 100*(rate-drain)/rate), number(rate), number(drain)),
			reason:  "One goroutine encodes and writes the log: 41.8 µs an event of 2.4 KB, measured. Record less: ktrail policy suggest names what costs most.",
			fix:     "a policy with fewer or smaller events",
		})
		return 0
	}
	return a.bursts(b, drain, 0)
}

// bursts checks the buffer against the busiest second and minute, and returns
// the buffer that they need.
func (a *advisor) bursts(b backend, drain, atOnce float64) int {
	r := a.o.Rate
	over, span := 0.0, ""
	for _, t := range []struct {
		events  int64
		seconds float64
		word    string
	}{{r.BusiestSecond, 1, "second"}, {r.BusiestMinute, 60, "minute"}} {
		if rest := float64(t.events) - drain*t.seconds - atOnce; rest > over {
			over, span = rest, fmt.Sprintf("the busiest %s has %s events", t.word, number(t.events))
		}
	}
	if over <= float64(b.BufferSize) {
		return int(math.Ceil(over))
	}
	size := int(math.Ceil(over*1.5/1000)) * 1000
	a.add(advice{
		name: "buffer-drops", severity: finding.Warning, at: b.prefix + BufferSize,
		message: fmt.Sprintf("events are dropped in bursts: %s, %s more than the %s takes and the buffer holds", span, number(over-float64(b.BufferSize)), b.word),
		reason:  "Events that find the buffer full are dropped, counted only in apiserver_audit_error_total{plugin=\"buffered\"} (k8s.io/apiserver plugin/pkg/audit/buffered).",
		set:     []Arg{{Name: b.prefix + BufferSize, Value: strconv.Itoa(size)}},
	})
	return size
}

// memory is what the buffer can take.
func (a *advisor) memory(b backend, needed int) {
	usual := float64(b.BufferSize) * float64(a.o.Rate.eventBytes()) * inMemory
	f := advice{
		name: "buffer-memory", severity: finding.Note, at: b.prefix + BufferSize,
		message: fmt.Sprintf("the %s's buffer of %s events, when full, takes about %s of memory", b.word, number(b.BufferSize), size(usual)),
		reason:  fmt.Sprintf("At %s an event, and 0.75 bytes in memory for each of JSON (measured).", size(a.o.Rate.eventBytes())),
	}
	if b.Truncate {
		f.reason += fmt.Sprintf(" Truncation bounds it: %s at the very worst.", size(float64(b.BufferSize)*float64(b.MaxEventSize)))
	} else {
		f.reason += " Without truncation nothing bounds an event: a list recorded at RequestResponse holds every object."
	}
	if usual > muchMemory {
		fewer := max(needed, int(muchMemory/(float64(a.o.Rate.eventBytes())*inMemory)), 1)
		if fewer < b.BufferSize {
			f.severity = finding.Warning
			f.set = []Arg{{Name: b.prefix + BufferSize, Value: strconv.Itoa(fewer)}}
		}
	}
	a.add(f)
}

// patience is how long the webhook tries a batch before it drops it: 5 tries of
// at most 30 s, and between them the backoff, half as long again each time
// (k8s.io/apiserver pkg/util/webhook).
func (a *advisor) patience() time.Duration {
	wait, sum := a.s.Webhook.Backoff, 5*30*time.Second
	for range 4 {
		sum += wait
		wait += wait / 2
	}
	return max(sum, 0).Round(time.Second)
}

// webhook is what becomes of events that the receiver does not take, and who
// else can read them.
func (a *advisor) webhook() {
	w := a.s.Webhook
	if !w.On() {
		return
	}
	f := advice{
		name: "webhook-outage", severity: finding.Note, at: WebhookConfig,
		message: fmt.Sprintf("a batch that the receiver does not take within %s is dropped", a.patience()),
		reason:  "5 tries of 30 s with backoff, then the whole batch goes (k8s.io/apiserver pkg/util/webhook).",
	}
	if rate := a.o.Rate.PerSecond; rate > 0 && w.Mode == Batch {
		f.reason += fmt.Sprintf(" Until then batches wait in memory besides the buffer: about %s at this rate.",
			size(rate*a.patience().Seconds()*float64(a.o.Rate.eventBytes())*inMemory))
	}
	if !a.s.Log.On() {
		f.severity = finding.Warning
		f.message += ", and there is no log beside it"
		f.reason += " A log on the node costs little and outlives the receiver's restart."
		for _, c := range a.recommended() {
			if c.Name != PolicyFile && !a.given(c.Name) {
				f.set = append(f.set, c.Arg)
			}
		}
	}
	a.add(f)
	switch {
	case len(a.o.WebhookServer) >= 7 && a.o.WebhookServer[:7] == "http://":
		a.add(advice{
			name: "webhook-plaintext", severity: finding.Warning, at: WebhookConfig,
			message: "events are sent in clear text to " + a.o.WebhookServer,
			reason:  "They name users, objects and addresses, and hold bodies where the policy records them; anyone on the way reads, changes or drops them.",
			fix:     "server: https://" + a.o.WebhookServer[7:],
		})
	case a.o.WebhookInsecure:
		a.add(advice{
			name: "webhook-insecure", severity: finding.Warning, at: WebhookConfig,
			message: "the webhook's certificate is not checked: insecure-skip-tls-verify is true",
			reason:  "Anyone on the way can take the receiver's place, read the events and answer for it.",
			fix:     "certificate-authority: /etc/kubernetes/audit/webhook-ca.crt",
		})
	}
}
