package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/host"
)

const testTimeout = 2 * time.Minute

func recommended() Request {
	return Request{Default: []byte(recordAll), DefaultName: "the default"}
}

// enable is what the command does, with a connection of its own.
func enable(ctx context.Context, h host.Host, r Request) (*Report, error) {
	n := New(Options{Host: h, By: "test"})
	l, err := n.Look(ctx)
	if err != nil {
		return nil, err
	}
	p, err := n.Plan(ctx, l, r)
	if err != nil {
		return nil, err
	}
	return n.Do(ctx, p, testTimeout)
}

func disable(ctx context.Context, h host.Host) (*Report, error) {
	n := New(Options{Host: h, By: "test"})
	l, err := n.Look(ctx)
	if err != nil {
		return nil, err
	}
	p, err := n.PlanDisable(ctx, l)
	if err != nil {
		return nil, err
	}
	return n.Do(ctx, p, testTimeout)
}

func must(t *testing.T) func(r *Report, err error) *Report {
	return func(r *Report, err error) *Report {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

func TestEnable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		old := s.snapshot()
		r := must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		if r.Outcome != Enabled || r.Verification == nil || !r.Verification.OK || r.Verification.Level != "Metadata" {
			t.Errorf("report %+v, verification %+v", r, r.Verification)
		}
		// The old one ends after 2 s, the new one starts a second later and is ready after 3.
		if r.Away < 5 || r.Away > 7 {
			t.Errorf("away for %.1f s, want about 6", r.Away)
		}
		now := s.snapshot()
		for _, want := range []string{"audit-policy-file=" + simPolicy, "audit-log-path=" + simLog} {
			if !strings.Contains(now["running"], want) {
				t.Errorf("runs with %s, want %s", now["running"], want)
			}
			if name, _, _ := strings.Cut(want, "="); !strings.Contains(now["kubeadm-config"], name) {
				t.Errorf("kubeadm-config lacks %s:\n%s", name, now["kubeadm-config"])
			}
		}
		if now[simPolicy] != "-rw-------\n"+recordAll || !strings.HasPrefix(now["/etc/kubernetes/audit/"], "drwx------") {
			t.Errorf("policy %q in %q", now[simPolicy], now["/etc/kubernetes/audit/"])
		}

		again := must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		if again.Outcome != Unchanged || changes(now, s.snapshot()) != "" {
			t.Errorf("a second time: %s\n%s", again.Outcome, changes(now, s.snapshot()))
		}

		off := must(t)(disable(t.Context(), s.Connect("cp1")))
		if off.Outcome != Disabled {
			t.Errorf("disable: %+v", off)
		}
		after := s.snapshot()
		delete(after, simPolicy) // kept
		delete(after, "/etc/kubernetes/audit/")
		if strings.Contains(after["kubeadm-config"], "audit") {
			t.Errorf("kubeadm-config still has:\n%s", after["kubeadm-config"])
		}
		after["kubeadm-config"] = old["kubeadm-config"]
		if d := changes(old, after); d != "" {
			t.Errorf("after disable:\n%s", d)
		}
		if _, ok := s.Get(simLog); !ok {
			t.Error("the log is gone")
		}
		if d := must(t)(disable(t.Context(), s.Connect("cp1"))); d.Outcome != Unchanged {
			t.Errorf("disable again: %s", d.Outcome)
		}
	})
}

// A policy alone changes no flag: the API server must be restarted all the same.
func TestPolicyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		time.Sleep(time.Minute)
		pid := s.server.pid
		r := recommended()
		r.Policy, r.PolicyName = []byte(strings.Replace(recordAll, "Metadata", "Request", 1)), "mine"
		got := must(t)(enable(t.Context(), s.Connect("cp1"), r))
		if got.Verification.Level != "Request" || s.server.pid == pid {
			t.Errorf("level %s, process %d and before %d", got.Verification.Level, s.server.pid, pid)
		}
		// And by hand, behind our back.
		time.Sleep(time.Minute)
		s.Put(simPolicy, []byte(recordAll), 0o600)
		st, err := New(Options{Host: s.Connect("cp1")}).Status(t.Context())
		if err != nil || !slices.ContainsFunc(st.Warnings, func(w string) bool { return strings.Contains(w, "changed after") }) {
			t.Errorf("status %+v, %v", st, err)
		}
		got = must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		if got.Verification.Level != "Metadata" || !slices.Equal(got.Files, []string{simManifest}) {
			t.Errorf("restart: %+v", got)
		}
		// Written again as it is: there is nothing in the manifest to change, and the
		// API server must be ended.
		time.Sleep(time.Minute)
		s.Put(simPolicy, []byte(recordAll), 0o600)
		pid = s.server.pid
		got = must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		if got.Verification.Level != "Metadata" || len(got.Files) != 0 || s.server.pid == pid {
			t.Errorf("restart: %+v", got)
		}
		must(t)(disable(t.Context(), s.Connect("cp1")))
		if text, _ := s.Get(simManifest); string(text) != manifestOff {
			t.Errorf("disabled, but the manifest is\n%s", text)
		}
	})
}

func TestRollsBackByItself(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*sim)
		args   []flags.Arg
		policy string
		want   string // in the reason
		tail   string
	}{
		"it does not start": {
			args: []flags.Arg{{Name: flags.WebhookConfig, Value: "/etc/kubernetes/pki/ca.crt"}},
			want: "was started 2 times and ended each time", tail: "loading webhook config",
		},
		"nothing is recorded": {before: func(s *sim) { s.mute = true }, want: "was not in " + simLog + " within"},
		"it spins": {
			before: func(s *sim) { s.spin = true },
			args:   []flags.Arg{{Name: "audit-log-mode", Value: "batch"}, {Name: "audit-log-batch-max-size", Value: "5"}, {Name: "audit-log-batch-max-wait", Value: "0s"}},
			want:   "makes it spin",
		},
		"kubelet is deaf": {before: func(s *sim) { s.deaf = true }, want: "was not ready after 2m0s: waiting for the old API server"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				old := s.snapshot()
				if c.before != nil {
					c.before(s)
				}
				n := New(Options{Host: s.Connect("cp1")})
				l, err := n.Look(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				req := recommended()
				req.Args = c.args
				p, err := n.Plan(t.Context(), l, req)
				if err != nil {
					t.Fatal(err)
				}
				p.Problems = nil // what is known to go wrong is tried all the same
				r, err := n.Do(t.Context(), p, testTimeout)
				var rolled *RolledBackError
				if !errors.As(err, &rolled) {
					t.Fatalf("%v, want it rolled back", err)
				}
				if !strings.Contains(r.Reason, c.want) || !strings.Contains(strings.Join(r.Tail, "\n"), c.tail) {
					t.Errorf("reason %q with %q, want %q with %q", r.Reason, r.Tail, c.want, c.tail)
				}
				if d := changes(old, s.snapshot()); d != "" {
					t.Errorf("not as before:\n%s", d)
				}
				if text, _ := s.Get(simManifest); string(text) != manifestOff {
					t.Errorf("manifest:\n%s", text)
				}
			})
		})
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*sim)
		args   []flags.Arg
		want   string
	}{
		"stray backup":    {before: func(s *sim) { s.Put(manifestsDir+"/kube-apiserver.yaml.bak", []byte(manifestOff), 0o600) }, want: "mv " + manifestsDir + "/kube-apiserver.yaml.bak"},
		"disk":            {before: func(s *sim) { s.SetFree(500<<20, 1<<30) }, want: "--audit-log-maxbackup=3"},
		"bad value":       {args: []flags.Arg{{Name: "audit-log-mode", Value: "bulk"}}, want: "must be batch, blocking"},
		"busy loop":       {args: []flags.Arg{{Name: "audit-log-mode", Value: "batch"}, {Name: "audit-log-batch-max-size", Value: "5"}}, want: "audit-log-batch-max-wait"},
		"not mounted":     {args: []flags.Arg{{Name: flags.WebhookConfig, Value: "/etc/hook.conf"}}, want: "nothing is mounted at /etc/hook.conf"},
		"everybody's dir": {args: []flags.Arg{{Name: flags.LogPath, Value: "/var/log/audit.log"}}, want: "no directory to mount"},
		"relative":        {args: []flags.Arg{{Name: flags.PolicyFile, Value: "policy.yaml"}}, want: "absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				if c.before != nil {
					c.before(s)
				}
				old := s.snapshot()
				r := recommended()
				r.Args = c.args
				_, err := enable(t.Context(), s.Connect("cp1"), r)
				var problems *ProblemsError
				if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if d := changes(old, s.snapshot()); d != "" {
					t.Errorf("changed:\n%s", d)
				}
			})
		})
	}
}

func TestKeepsWhatItWasNotAskedToChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		r := recommended()
		r.Args = []flags.Arg{{Name: "audit-log-maxage", Value: "7"}}
		must(t)(enable(t.Context(), s.Connect("cp1"), r))
		r.Args = []flags.Arg{{Name: "audit-log-maxsize", Value: "200"}}
		must(t)(enable(t.Context(), s.Connect("cp1"), r))
		for _, want := range []string{"audit-log-maxage=7", "audit-log-maxsize=200", "audit-log-maxbackup=10"} {
			if got := s.snapshot()["running"]; !strings.Contains(got, want) {
				t.Errorf("runs with %s, want %s", got, want)
			}
		}
	})
}

func TestTwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		first := New(Options{Host: s.Connect("a"), By: "first"})
		l, err := first.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go func() { // renews while it is at work
			for range 20 {
				time.Sleep(lockRenew)
				if err := l.renew(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}()
		var locked *LockedError
		if _, err := enable(t.Context(), s.Connect("b"), recommended()); !errors.As(err, &locked) || !strings.Contains(err.Error(), "first") {
			t.Errorf("%v, want it locked by first", err)
		}
		time.Sleep(2 * time.Minute)
		// The first has died: its lock is taken over, and it learns of that.
		must(t)(enable(t.Context(), s.Connect("b"), recommended()))
		if err := l.held(t.Context()); !errors.As(err, &locked) {
			t.Errorf("a lock that was taken over: %v", err)
		}
	})
}

func TestVerifyAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		n := New(Options{Host: s.Connect("cp1")})
		v, err := n.Verify(t.Context())
		if err != nil || v.OK || !strings.Contains(v.Sentence, "auditing is off") {
			t.Errorf("verify of one that is off: %+v, %v", v, err)
		}
		must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		if v, err = n.Verify(t.Context()); err != nil || !v.OK {
			t.Errorf("verify: %+v, %v", v, err)
		}
		time.Sleep(90 * time.Second)
		st, err := n.Status(t.Context())
		if err != nil || !st.Enabled || st.PolicyHash != hash([]byte(recordAll)) || st.Mode != "blocking" || st.LogBytes == 0 || st.Age < 80 {
			t.Errorf("status %+v, %v", st, err)
		}
		s.mute = true
		if v, err = n.Verify(t.Context()); err != nil || v.OK {
			t.Errorf("verify of one that records nothing: %+v, %v", v, err)
		}
		s.mute = false
		s.Put(simPolicy, []byte(strings.Replace(recordAll, "Metadata", "Request", 1)), 0o600)
		if v, err = n.Verify(t.Context()); err != nil || v.OK || !strings.Contains(v.Sentence, "of level Metadata, but the policy says Request") {
			t.Errorf("verify with a changed policy: %+v, %v", v, err)
		}
	})
}

func TestNoControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		s.Delete(manifestsDir)
		var none *NoControlPlaneError
		if _, err := enable(t.Context(), s.Connect("w1"), recommended()); !errors.As(err, &none) {
			t.Errorf("%v, want no control plane", err)
		}
	})
}
