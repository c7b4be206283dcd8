package pipeline

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// ReportURI is the requestURI of the audit event that a loss leaves. No request has
// it: a path begins with a slash.
const ReportURI = "ktrail:loss"

// The annotations of a report.
const (
	ReportSink   = "ktrail/sink"   // who gave the events up
	ReportReason = "ktrail/reason" // a [Reason]
	ReportEvents = "ktrail/events" // how many since the report before
	ReportTotal  = "ktrail/total"  // how many since the start, so that a report that is lost is made up for
	ReportSince  = "ktrail/since"  // when the first of Events was given up
	ReportRules  = "ktrail/rules"  // Events by the policy's rule: 3=17 unknown=2
)

// IsReport is whether ev is the audit event that a [Ledger] left for a loss. A request
// has an address that it came from, whatever its client calls itself.
func IsReport(ev *audit.Event) bool {
	return ev.URI == ReportURI && ev.User == reportUser && len(ev.SourceIPs) == 0
}

const reportUser = "ktrail"

// report is what was lost by one sink for one reason since the last report.
type report struct {
	sink        string
	reason      Reason
	lost, total int64
	since       time.Time
	rules       string
	cause       string
}

// take returns what was not told yet, a report for each sink and reason, and takes
// it as told. After a report that was itself lost there are those with lost = 0.
func (l *Ledger) take() []report {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = false
	keys := slices.SortedFunc(maps.Keys(l.counts), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.sink, b.sink), cmp.Compare(a.reason, b.reason), cmp.Compare(a.rule, b.rule))
	})
	var out []report
	for _, k := range keys {
		t := l.counts[k]
		n := len(out) - 1
		if n < 0 || out[n].sink != k.sink || out[n].reason != k.reason {
			out = append(out, report{sink: k.sink, reason: k.reason})
			n++
		}
		r := &out[n]
		r.total += t.total
		lost := t.total - t.told
		if lost == 0 {
			continue
		}
		if r.lost == 0 || t.since.Before(r.since) {
			r.since = t.since
		}
		r.lost += lost
		r.cause = t.cause
		r.rules = strings.TrimLeft(r.rules+" "+ruleName(k.rule)+"="+strconv.FormatInt(lost, 10), " ")
		t.told = t.total
	}
	return out
}

func ruleName(n int32) string {
	if n == 0 {
		return "unknown"
	}
	return strconv.Itoa(int(n))
}

// event is the report as an audit event of now.
func (r report) event(now time.Time) (audit.Event, error) {
	what := "lost"
	if r.reason == ReasonCut {
		what = "cut"
	}
	notes := map[string]string{
		ReportSink: r.sink, ReportReason: string(r.reason),
		ReportEvents: strconv.FormatInt(r.lost, 10), ReportTotal: strconv.FormatInt(r.total, 10),
	}
	if r.lost > 0 {
		notes[ReportSince], notes[ReportRules] = audit.TimeOf(r.since).String(), r.rules
	}
	text := strconv.FormatInt(r.lost, 10) + " audit events were " + what + " by " + cmp.Or(r.sink, "the pipeline") + ": " + string(r.reason) +
		"; " + strconv.FormatInt(r.total, 10) + " since the start"
	rec := audit.Record{
		Level: audit.LevelMetadata, AuditID: newID(), Stage: audit.StageResponseComplete,
		RequestURI: ReportURI, Verb: "lose", User: audit.UserInfo{Username: reportUser}, UserAgent: reportUser,
		ResponseStatus: &audit.Status{Status: "Failure", Message: text},
		Received:       audit.TimeOf(now), Time: audit.TimeOf(now),
		Annotations: notes,
	}
	return rec.Event()
}

// newID is a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
