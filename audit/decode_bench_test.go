//go:build unix

package audit_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// columns has the fields that are columns, for the decoders that this one is
// measured against: they too find the columns only and skip the bodies.
type columns struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Level      string `json:"level"`
	AuditID    string `json:"auditID"`
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`
	User       struct {
		Username string              `json:"username"`
		UID      string              `json:"uid"`
		Groups   []string            `json:"groups"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
	ImpersonatedUser *struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"impersonatedUser"`
	SourceIPs []string `json:"sourceIPs"`
	UserAgent string   `json:"userAgent"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		UID         string `json:"uid"`
		APIGroup    string `json:"apiGroup"`
		APIVersion  string `json:"apiVersion"`
	} `json:"objectRef"`
	ResponseStatus *struct {
		Code    int32  `json:"code"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"responseStatus"`
	Annotations              map[string]string `json:"annotations"`
	RequestReceivedTimestamp time.Time         `json:"requestReceivedTimestamp"`
	StageTimestamp           time.Time         `json:"stageTimestamp"`
}

// contender is another decoder: it decodes line into c.
type contender struct {
	name   string
	decode func(line []byte, c *columns) error
}

// contenders is appended to by files with a build constraint.
func contenders() []contender {
	return append([]contender{{"json", func(line []byte, c *columns) error { return json.Unmarshal(line, c) }}}, jsonv2()...)
}

// BenchmarkDecode decodes the sample (or the first log that KTRAIL_TEST_LOGS names)
// with a Batch and with encoding/json, and with encoding/json/v2 where
// GOEXPERIMENT=jsonv2 is set. MB/cpu-s is the rate for processor time, which other
// work on the machine disturbs least; x-batch is how many times as long as Batch it took.
func BenchmarkDecode(b *testing.B) {
	lines := sampleLines(b)
	if more := filepath.SplitList(os.Getenv("KTRAIL_TEST_LOGS")); len(more) > 0 {
		lines = logLines(b, more[0])
	}
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	var best float64 // processor time for all lines
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			start := cpu(b)
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			took := (cpu(b) - start).Seconds() / float64(b.N)
			if best == 0 {
				best = took
			}
			b.ReportMetric(float64(size)/1e6/took, "MB/cpu-s")
			b.ReportMetric(took/best, "x-batch")
		})
	}
	var batch audit.Batch
	run("batch", func() error {
		for i, line := range lines {
			if i%1024 == 0 {
				batch.Reset()
			}
			if err := batch.Add(line); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range contenders() {
		run(c.name, func() error {
			for _, line := range lines {
				var v columns
				if err := c.decode(line, &v); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// cpu is the processor time of this process so far.
func cpu(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
