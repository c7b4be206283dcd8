// Capture measures what an audit event costs in ktrail's back ends and in the API server's, which
// its own options open, on the same events, and prints the ratios.
//
//	go run ./bench/capture [-passes 100] [-events 40000] [-dead 10s]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstreamaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/klog/v2"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/compat"
)

func main() {
	passes := flag.Int("passes", 100, "measure each side this often, by turns, and keep the fastest")
	events := flag.Int("events", 40_000, "events for the rates")
	dead := flag.Duration("dead", 10*time.Second, "how long events go to a webhook that is dead")
	memory := flag.String("memory", "", "measure the memory of one side, upstream or ktrail, in this process")
	flag.Parse()
	klog.SetLogger(logr.Discard())
	ctx := context.Background()
	err := error(nil)
	if *memory != "" {
		err = deadWebhook(ctx, *memory, *dead)
	} else {
		err = run(ctx, *passes, *events, *dead)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, passes, events int, dead time.Duration) error {
	load, _ := os.ReadFile("/proc/loadavg") // Linux only
	fmt.Printf("%d CPUs, load %s\n\n", runtime.NumCPU(), strings.TrimSpace(string(load)))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	if err := costs(ctx, w, passes); err != nil {
		return err
	}
	fmt.Println()
	w = tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	if err := rates(ctx, w, events); err != nil {
		return err
	}
	fmt.Println()
	return memories(dead)
}

// record is an event of 2.4 KB with its body, as an API server makes it.
func record() *audit.Record {
	const container = `{"name":"web","image":"registry.example.com/web:1.2.3","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"}},"imagePullPolicy":"IfNotPresent","terminationMessagePath":"/dev/termination-log"}`
	body := `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-5d9c7b7f9d-x2x5q","namespace":"prod","labels":{"app":"web"}},"spec":{"containers":[` + strings.Repeat(container+",", 4) + container + `]}}`
	at := audit.TimeOf(time.Date(2026, 11, 22, 19, 44, 31, 14243000, time.UTC))
	return &audit.Record{
		Level: "Request", AuditID: "49af3d22-ea40-42ab-9879-0060ae862902", Stage: "ResponseComplete",
		RequestURI: "/api/v1/namespaces/prod/pods?fieldManager=kubectl-client-side-apply&fieldValidation=Strict", Verb: "create",
		User: audit.UserInfo{
			Username: "kubernetes-admin", Groups: []string{"kubeadm:cluster-admins", "system:authenticated"},
			Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=075f16e28c4f0e237f87ed51c59ed8b95b555c9d1f17ff0328f50914f2bf12be"}},
		},
		SourceIPs: []string{"10.99.0.1"}, UserAgent: "kubectl/v1.37.2 (linux/amd64) kubernetes/7c48b2b",
		ObjectRef:      &audit.ObjectRef{Resource: "pods", Namespace: "prod", Name: "web-5d9c7b7f9d-x2x5q", APIVersion: "v1"},
		ResponseStatus: &audit.Status{Code: 201}, RequestObject: []byte(body), Received: at, Time: at + 5417,
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": `RBAC: allowed by ClusterRoleBinding "kubeadm:cluster-admins" of ClusterRole "cluster-admin"`},
	}
}

// side is one of the two: it takes the event from what the filters made to where it goes.
type side struct {
	send  func() error
	many  func() error // chunk events at once, as they leave a batch
	close func() error
}

// chunk is how many events are timed together, and handed on together by many.
const chunk = 100

func upstream(dir string, argv ...string) (*side, error) {
	b, err := compat.OpenUpstream(dir, argv)
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	if err := b.Run(stop); err != nil {
		return nil, err
	}
	e := compat.ToEvent(record())
	batch := make([]*auditinternal.Event, chunk)
	for i := range batch {
		batch[i] = e
	}
	return &side{
		send:  func() error { return taken(b.ProcessEvents(e)) },
		many:  func() error { return taken(b.ProcessEvents(batch...)) },
		close: func() error { close(stop); b.Shutdown(); return nil },
	}, nil
}

func taken(ok bool) error {
	if !ok {
		return errors.New("the API server's back end did not take an event")
	}
	return nil
}

func ktrail(ctx context.Context, argv ...string) (*side, error) {
	b, err := compat.Open(ctx, argv)
	if err != nil {
		return nil, err
	}
	r := record()
	batch := make([]audit.Event, chunk) // room that is used again, as in capture.Handler and pipeline.Batch
	send := func(events []audit.Event) (err error) {
		for i := range events {
			if events[i], err = r.Event(); err != nil {
				return err
			}
		}
		return b.Send(ctx, events)
	}
	return &side{
		send: func() error { return send(batch[:1]) },
		many: func() error { return send(batch) },
		close: func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return b.Close(ctx)
		},
	}, nil
}

// costs are of one event: the fastest of many short passes, by turns, so that other work on the machine does not count.
func costs(ctx context.Context, w *tabwriter.Writer, passes int) error {
	encoder := upstreamaudit.Codecs.LegacyCodec(auditv1.SchemeGroupVersion)
	r := record()
	e := compat.ToEvent(r)
	line, err := r.AppendJSON(nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "an event of %d bytes\tupstream\tallocs\tktrail\tallocs\tratio\t\n", len(line)+1)
	encode := func(e *auditinternal.Event) error {
		_, err := apiruntime.Encode(encoder, e)
		return err
	}
	if err := measure(w, "encode", passes, each(func() error { return encode(e) }), each(func() error { _, err := r.Event(); return err })); err != nil {
		return err
	}
	if err := bare(w, passes, append(line, '\n')); err != nil {
		return err
	}
	for _, row := range []struct{ name, argv string }{
		{"encode, write to a file", ""},
		{"encode, check the size, write to a file", "--audit-log-truncate-enabled"},
		{"encode, cut, write to a file", "--audit-log-truncate-enabled --audit-log-truncate-max-event-size=2000"},
	} {
		dir, err := os.MkdirTemp("", "ktrail-bench")
		if err != nil {
			return err
		}
		theirs, err := upstream(dir, append(strings.Fields(row.argv), "--audit-log-maxbackup=1", "--audit-log-path="+dir+"/theirs.log")...)
		if err != nil {
			return err
		}
		ours, err := ktrail(ctx, append(strings.Fields(row.argv), "--audit-log-maxbackup=1", "--audit-log-path="+dir+"/ours.log")...)
		if err != nil {
			return err
		}
		err = measure(w, row.name, passes, each(theirs.send), each(ours.send))
		if row.argv == "--audit-log-truncate-enabled" {
			err = errors.Join(err, measure(w, "the same, a hundred in one batch", passes, theirs.many, ours.many))
		}
		if err := errors.Join(err, theirs.close(), ours.close(), os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// bare is the write to a file that both make of each event.
func bare(w *tabwriter.Writer, passes int, line []byte) error {
	f, err := os.CreateTemp("", "ktrail-bench")
	if err != nil {
		return err
	}
	write := each(func() error { _, err := f.Write(line); return err })
	best := time.Hour
	for range passes {
		took, err := timed(write)
		if err != nil {
			return err
		}
		best = min(best, took)
	}
	us := float64(best.Nanoseconds()) / chunk / 1e3
	fmt.Fprintf(w, "write to a file, alone\t%.1f µs\t0\t%.2f µs\t0\t\t\n", us, us)
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// each is f for each event of a chunk.
func each(f func() error) func() error {
	return func() error {
		for range chunk {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	}
}

// measure takes the fastest of the passes, each of chunk events, and counts allocations.
func measure(w *tabwriter.Writer, name string, passes int, theirs, ours func() error) error {
	var failed error
	allocs := func(f func() error) float64 {
		return testing.AllocsPerRun(3, func() { failed = errors.Join(failed, f()) }) / chunk
	}
	theirAllocs, ourAllocs := allocs(theirs), allocs(ours)
	theirBest, ourBest := time.Hour, time.Hour
	for range passes {
		a, err := timed(theirs)
		failed = errors.Join(failed, err)
		b, err := timed(ours)
		failed = errors.Join(failed, err)
		theirBest, ourBest = min(theirBest, a), min(ourBest, b)
	}
	their, our := float64(theirBest.Nanoseconds())/chunk/1e3, float64(ourBest.Nanoseconds())/chunk/1e3
	fmt.Fprintf(w, "%s\t%.1f µs\t%.1f\t%.2f µs\t%.1f\t%.1fx\t\n", name, their, theirAllocs, our, ourAllocs, their/our)
	return failed
}

func timed(pass func() error) (time.Duration, error) {
	start := time.Now()
	err := pass()
	return time.Since(start), err
}
