// Bench measures what a policy decision costs here and in the API server, on the
// same policies and the same requests, and prints the ratios.
//
//	go run ./bench [-passes 300]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"text/tabwriter"
	"time"

	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/compat"
)

func main() {
	passes := flag.Int("passes", 300, "measure each side this often, by turns, and keep the fastest")
	log := flag.String("log", filepath.Join("..", "testdata", "audit-sample.log.gz"), "the audit log whose requests are decided")
	flag.Parse()
	if err := run(*log, *passes); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(log string, passes int) error {
	f, err := os.Open(log)
	if err != nil {
		return err
	}
	defer f.Close()
	requests, err := compat.ReadRequests(f)
	if err != nil {
		return err
	}
	text, err := compat.GCEPolicy()
	if err != nil {
		return err
	}
	gce, err := policy.Load(text)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "policy\trules\tupstream\tallocs\tktrail\tallocs\tratio\t")
	measure(w, "GCE", gce, spread(requests, 256), passes)
	for _, n := range []int{30, 300, 3000} {
		p, some := compat.LargePolicy(n)
		measure(w, "generated", p, append(spread(some, 128), spread(requests, 128)...), passes)
	}
	return w.Flush()
}

// spread are n of the requests, evenly: few enough to stay in the processor's cache,
// as a request does that a server has just parsed.
func spread(requests []*policy.Attributes, n int) []*policy.Attributes {
	var some []*policy.Attributes
	for i := range n {
		some = append(some, requests[i*len(requests)/n])
	}
	return some
}

// measure takes the fastest of many short passes over the requests, by turns, so
// that other work on the machine does not count.
func measure(w *tabwriter.Writer, name string, p *policy.Policy, requests []*policy.Attributes, passes int) {
	evaluator, ours := auditpolicy.NewPolicyRuleEvaluator(compat.ToUpstream(p)), policy.Compile(p)
	attributes := make([]authorizer.Attributes, len(requests))
	for i, a := range requests {
		attributes[i] = compat.Attributes(a)
	}
	theirPass := func() {
		for _, a := range attributes {
			evaluator.EvaluatePolicyRule(a)
		}
	}
	ourPass := func() {
		for _, a := range requests {
			ours.Decide(a)
		}
	}
	n := float64(len(requests))
	theirAllocs, ourAllocs := testing.AllocsPerRun(3, theirPass)/n, testing.AllocsPerRun(3, ourPass)/n
	theirBest, ourBest := time.Hour, time.Hour
	for range passes {
		theirBest, ourBest = min(theirBest, timed(theirPass)), min(ourBest, timed(ourPass))
	}
	their, our := float64(theirBest.Nanoseconds())/n, float64(ourBest.Nanoseconds())/n
	fmt.Fprintf(w, "%s\t%d\t%.0f ns\t%.2f\t%.1f ns\t%.2f\t%.1fx\t\n", name, len(p.Rules), their, theirAllocs, our, ourAllocs, their/our)
}

// timed is how long a pass takes once a first one has brought what it needs into the
// processor's caches, out of which the other side had pushed it.
func timed(pass func()) time.Duration {
	pass()
	start := time.Now()
	pass()
	return time.Since(start)
}
