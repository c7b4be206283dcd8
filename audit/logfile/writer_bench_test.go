//go:build unix

package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// benchEvent is an event of 2.4 KB with its body, as an API server makes it.
func benchEvent() *audit.Record {
	at := audit.TimeOf(time.Date(2026, 11, 22, 19, 44, 31, 14243000, time.UTC))
	body := []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-5d9c7b7f9d-x2x5q","namespace":"prod","labels":{"app":"web"}},"spec":{"containers":[`)
	for i := range 5 {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"name":"web","image":"registry.example.com/web:1.2.3","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"}},"imagePullPolicy":"IfNotPresent","terminationMessagePath":"/dev/termination-log"}`...)
	}
	body = append(body, `]}}`...)
	return &audit.Record{
		Level: "Request", AuditID: "49af3d22-ea40-42ab-9879-0060ae862902", Stage: "ResponseComplete",
		RequestURI: "/api/v1/namespaces/prod/pods?fieldManager=kubectl-client-side-apply&fieldValidation=Strict", Verb: "create",
		User: audit.UserInfo{
			Username: "kubernetes-admin", Groups: []string{"kubeadm:cluster-admins", "system:authenticated"},
			Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=075f16e28c4f0e237f87ed51c59ed8b95b555c9d1f17ff0328f50914f2bf12be"}},
		},
		SourceIPs: []string{"10.99.0.1"}, UserAgent: "kubectl/v1.37.2 (linux/amd64) kubernetes/7c48b2b",
		ObjectRef:      &audit.ObjectRef{Resource: "pods", Namespace: "prod", Name: "web-5d9c7b7f9d-x2x5q", APIVersion: "v1"},
		ResponseStatus: &audit.Status{Code: 201}, RequestObject: body, Received: at, Time: at + 5417,
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": `RBAC: allowed by ClusterRoleBinding "kubeadm:cluster-admins" of ClusterRole "cluster-admin"`},
	}
}

// BenchmarkWriter takes an event of 2.4 KB from the record to the file: it is encoded, its size
// compared with the largest allowed, and written, each event by a call of its own. best-ns is the
// time of the fastest hundred, which other work on the machine does not disturb; x-write is
// how many times as long that is as the write alone, in this run. With many senders the time is
// that of the processor, all of them together.
func BenchmarkWriter(b *testing.B) {
	r := benchEvent()
	e, err := r.Event()
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(e.Raw + "\n")
	var bare float64
	one := func(b *testing.B, f func() error) {
		b.SetBytes(int64(len(line)))
		b.ReportAllocs()
		const chunk = 100
		n, best, start := 0, time.Duration(1<<62), time.Now()
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
			if n++; n%chunk == 0 {
				now := time.Now()
				best, start = min(best, now.Sub(start)), now
			}
		}
		took := float64(best) / chunk
		if bare == 0 {
			bare = took
		}
		b.ReportMetric(took, "best-ns/op")
		b.ReportMetric(took/bare, "x-write")
	}
	many := func(b *testing.B, senders int, f func() error) {
		b.SetBytes(int64(len(line)))
		b.ReportAllocs()
		var bad atomic.Pointer[error]
		start := cpuTime(b)
		b.SetParallelism(senders / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := f(); err != nil {
					bad.Store(&err)
				}
			}
		})
		if err := bad.Load(); err != nil {
			b.Fatal(*err)
		}
		b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
	}
	b.Run("write alone", func(b *testing.B) {
		f, err := os.OpenFile(filepath.Join(b.TempDir(), "x.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		one(b, func() error {
			_, err := f.Write(line)
			return err
		})
	})
	b.Run("encode alone", func(b *testing.B) {
		one(b, func() error {
			_, err := r.Event()
			return err
		})
	})
	send := func(b *testing.B, w *Writer) func() error {
		ctx := b.Context()
		return func() error {
			e, err := r.Event()
			if err != nil {
				return err
			}
			if len(e.Raw) > 100<<10 {
				return fmt.Errorf("%d bytes", len(e.Raw))
			}
			return w.WriteEvents(ctx, []audit.Event{e})
		}
	}
	b.Run("event", func(b *testing.B) {
		one(b, send(b, open(b, WriterOptions{MaxSize: 100, MaxBackups: 1})))
	})
	b.Run("batch of 400", func(b *testing.B) {
		w := open(b, WriterOptions{MaxSize: 100, MaxBackups: 1})
		batch := make([]audit.Event, 0, 400)
		one(b, func() error {
			e, err := r.Event()
			if batch = append(batch, e); len(batch) == cap(batch) && err == nil {
				err = w.WriteEvents(b.Context(), batch)
				batch = batch[:0]
			}
			return err
		})
	})
	for _, sync := range []string{SyncNever, SyncSecond, SyncAlways} {
		for _, n := range []int{8, 64, 512} {
			b.Run(fmt.Sprintf("%d senders/%s", n, sync), func(b *testing.B) {
				many(b, n, send(b, open(b, WriterOptions{MaxSize: 100, MaxBackups: 1, Sync: sync})))
			})
		}
	}
}

func open(b *testing.B, opt WriterOptions) *Writer {
	b.Helper()
	opt.Path = filepath.Join(b.TempDir(), "audit.log")
	w, err := Open(opt)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
