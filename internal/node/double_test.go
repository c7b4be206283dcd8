package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

// TestTwoFailures makes a second operation fail after a first: in the rollback,
// mostly. A sample of the pairs is enough, since every single failure is tried
// elsewhere. After both somebody comes back, and the node must be old or new.
func TestTwoFailures(t *testing.T) {
	second := []struct {
		name  string
		fault hosttest.Fault
	}{
		{"fails", hosttest.Fault{Err: errInjected}},
		{"connection lost", hosttest.Fault{Lost: true, Done: true}},
		{"killed", hosttest.Fault{Crash: true}},
	}
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
				_, _ = sc.do(t.Context(), s.Connect("cp1"))
				after = s.snapshot()
				ops = interesting(s.Log()[skip:])
			})
			// Steps that share no factor, so that pairs differ from scenario to scenario.
			step, runs := 11, 0
			if testing.Short() {
				step = 37
			}
			for i := 3; i < len(ops); i += step {
				for _, gap := range []int{1, 4, 9, 23} {
					f := second[runs%len(second)]
					synctest.Test(t, func(t *testing.T) {
						twice(t, sc, ops[i], gap, f.name, f.fault, before, after)
					})
					if runs++; t.Failed() {
						return
					}
				}
			}
			if runs < 4 {
				t.Errorf("only %d runs", runs)
			}
		})
	}
}

func twice(t *testing.T, sc scenario, op, gap int, name string, second hosttest.Fault, before, after map[string]string) {
	s := newSimOf(t, sc.k3s)
	sc.ready(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := s.Connect("cp1")
	var what []string
	c.Decide = func(n int, kind, about string) hosttest.Fault {
		switch n {
		case op:
			what = append(what, kind+" "+about)
			return hosttest.Fault{Err: errInjected}
		case op + gap:
			what = append(what, kind+" "+about)
			return second
		}
		return hosttest.Fault{}
	}
	var r *Report
	stopped, err := hosttest.Survive(func() (err error) {
		r, err = sc.do(ctx, c)
		return err
	})
	where := fmt.Sprintf("operation %d fails, %d later one %s: %q", op, gap, name, what)
	var rolled *RolledBackError
	var halfway *InterruptedError
	now := s.snapshot()
	switch {
	case err == nil && !stopped && r.Outcome != Unchanged && changes(after, now) != "":
		t.Errorf("%s: reported as done, but\n%s", where, changes(after, now))
	case errors.As(err, &rolled) && !errors.As(err, &halfway) && changes(before, now) != "":
		t.Errorf("%s: reported as rolled back, but\n%s", where, changes(before, now))
	}
	r, err = New(Options{Host: s.Connect("again"), By: "again"}).Rollback(t.Context(), testTimeout)
	now = s.snapshot()
	isOld, isNew := changes(before, now) == "", changes(after, now) == ""
	switch {
	case errors.Is(err, ErrNothingPending) && (isOld || isNew):
	case err != nil:
		t.Errorf("%s: then %v, and\n%s", where, err, changes(before, now))
	case !isOld || r.Outcome != RolledBack:
		t.Errorf("%s: rolled back by another, but\n%s", where, changes(before, now))
	}
}
