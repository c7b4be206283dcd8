package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

var errInjected = errors.New("injected")

// scenario is a change from one state to another; ready brings about the first.
type scenario struct {
	name  string
	ready func(*testing.T, *sim)
	do    func(context.Context, *hosttest.Conn) (*Report, error)
	// fails says that it ends where it began, by itself.
	fails bool
	k3s   bool
}

func scenarios() []scenario {
	on := func(t *testing.T, s *sim) {
		must(t)(enable(t.Context(), s.Connect("before"), recommended()))
		time.Sleep(time.Minute)
	}
	with := func(r Request) func(context.Context, *hosttest.Conn) (*Report, error) {
		return func(ctx context.Context, c *hosttest.Conn) (*Report, error) { return enable(ctx, c, r) }
	}
	requests := recommended()
	requests.Policy = []byte(strings.Replace(recordAll, "Metadata", "Request", 1))
	both := requests
	both.Args = []flags.Arg{{Name: "audit-log-maxage", Value: "90"}}
	broken := recommended()
	broken.Args = []flags.Arg{{Name: flags.WebhookConfig, Value: "/etc/kubernetes/pki/ca.crt"}}
	all := []scenario{
		{name: "enable", ready: func(*testing.T, *sim) {}, do: with(recommended())},
		{name: "policy alone", ready: on, do: with(requests)},
		{name: "policy and flags", ready: on, do: with(both)},
		{name: "disable", ready: on, do: func(ctx context.Context, c *hosttest.Conn) (*Report, error) { return disable(ctx, c) }},
		{name: "roll back", ready: func(*testing.T, *sim) {}, do: with(broken), fails: true},
		{name: "roll back a policy", ready: func(t *testing.T, s *sim) { on(t, s); s.mute = true }, do: with(requests), fails: true},
	}
	for _, sc := range all {
		sc.name, sc.k3s = "k3s: "+sc.name, true
		all = append(all, sc)
	}
	return all
}

// failures are the ways in which an operation of a host goes wrong.
var failures = []struct {
	name  string
	fault hosttest.Fault
	mend  []string // how, where it does not mend itself
}{
	{"fails", hosttest.Fault{Err: errInjected}, []string{"rollback"}},
	{"fails but is done", hosttest.Fault{Err: errInjected, Done: true}, []string{"resume"}},
	{"connection lost before", hosttest.Fault{Lost: true}, []string{"resume"}},
	{"connection lost after", hosttest.Fault{Lost: true, Done: true}, []string{"rollback"}},
	{"killed before", hosttest.Fault{Crash: true}, []string{"resume", "rollback"}},
	{"killed after", hosttest.Fault{Crash: true, Done: true}, []string{"resume", "rollback"}},
	{"interrupted", hosttest.Fault{}, []string{"rollback"}}, // Ctrl-C
}

// interesting are the operations at which a scenario is made to fail: all but the
// repetitions of one while it waits.
func interesting(log []string) []int {
	seen := map[string]int{}
	var at []int
	for i, op := range log {
		if seen[op]++; seen[op] <= 2 {
			at = append(at, i+1)
		}
	}
	return at
}

// TestEveryFailureAtEveryStep is the promise of the package: whatever goes wrong
// wherever, the node ends as it was or as it was planned to be.
func TestEveryFailureAtEveryStep(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			var before, after map[string]string
			var ops []int
			synctest.Test(t, func(t *testing.T) {
				s := newSimOf(t, sc.k3s)
				sc.ready(t, s)
				before = s.snapshot()
				skip := len(s.Log())
				_, err := sc.do(t.Context(), s.Connect("cp1"))
				var rolled *RolledBackError
				if sc.fails != errors.As(err, &rolled) || !sc.fails && err != nil {
					t.Fatal(err)
				}
				after = s.snapshot()
				ops = interesting(s.Log()[skip:])
			})
			if len(ops) < 50 || (changes(before, after) == "") != sc.fails {
				t.Fatalf("%d operations, change:\n%s", len(ops), changes(before, after))
			}
			runs := 0
			for i, op := range ops {
				if testing.Short() && i%5 != 0 {
					continue
				}
				for _, f := range failures {
					for _, mend := range f.mend {
						synctest.Test(t, func(t *testing.T) { fault(t, sc, op, f.name, f.fault, mend, before, after) })
						runs++
						if t.Failed() {
							return
						}
					}
				}
			}
			t.Logf("%d operations, %d runs", len(ops), runs)
		})
	}
}

func fault(t *testing.T, sc scenario, op int, name string, f hosttest.Fault, mend string, before, after map[string]string) {
	s := newSimOf(t, sc.k3s)
	sc.ready(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := s.Connect("cp1")
	var what string
	c.Decide = func(n int, kind, about string) hosttest.Fault {
		if n != op {
			return hosttest.Fault{}
		}
		what = kind + " " + about
		if name == "interrupted" {
			cancel()
		}
		return f
	}
	var r *Report
	stopped, err := hosttest.Survive(func() (err error) {
		r, err = sc.do(ctx, c)
		return err
	})
	where := func() string { return fmt.Sprintf("%s at operation %d (%s), then %s", name, op, what, mend) }
	now := s.snapshot()
	var halfway *InterruptedError
	switch {
	case stopped, errors.As(err, &halfway):
		// Somebody comes back.
	case err == nil:
		if r.Outcome != Unchanged && changes(after, now) != "" {
			t.Errorf("%s: reported as done, but\n%s", where(), changes(after, now))
		}
		return
	default:
		if changes(before, now) != "" {
			t.Errorf("%s: %v, but\n%s", where(), err, changes(before, now))
		}
		return
	}
	n := New(Options{Host: s.Connect("again"), By: "again"})
	if mend == "resume" {
		r, err = n.Resume(t.Context(), testTimeout)
	} else {
		r, err = n.Rollback(t.Context(), testTimeout)
	}
	now = s.snapshot()
	isOld, isNew := changes(before, now) == "", changes(after, now) == ""
	var rolled *RolledBackError
	switch {
	case sc.fails && errors.As(err, &rolled) && isOld:
	case errors.Is(err, ErrNothingPending):
		if !isOld && !isNew {
			t.Errorf("%s: nothing is pending, but it is neither:\n%s", where(), changes(before, now))
		}
	case err != nil:
		t.Errorf("%s: %v", where(), err)
	case r.Outcome == RolledBack && !isOld:
		t.Errorf("%s: rolled back, but\n%s", where(), changes(before, now))
	case r.Outcome != RolledBack && (!isNew || mend == "rollback" || sc.fails):
		t.Errorf("%s: %s, but\n%s", where(), r.Outcome, changes(after, now))
	}
}
