package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEnableOnK3s(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimOf(t, true)
		old := s.snapshot()
		r := must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		if r.Outcome != Enabled || r.Distribution != "k3s" || r.Verification == nil || !r.Verification.OK || r.Verification.Level != "Metadata" {
			t.Errorf("report %+v, verification %+v", r, r.Verification)
		}
		now := s.snapshot()
		for _, want := range []string{"audit-policy-file=" + simK3sPolicy, "audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log"} {
			if !strings.Contains(now["running"], want) || !strings.Contains(now[simK3sConfig], want) {
				t.Errorf("runs with %s, want %s; %s", now["running"], want, now[simK3sConfig])
			}
		}
		if again := must(t)(enable(t.Context(), s.Connect("cp1"), recommended())); again.Outcome != Unchanged {
			t.Errorf("a second time: %s", again.Outcome)
		}
		must(t)(disable(t.Context(), s.Connect("cp1")))
		after := s.snapshot()
		if after[simK3sConfig] != "-rw-------\n" {
			t.Errorf("config.yaml is %q", after[simK3sConfig])
		}
		delete(after, simK3sConfig)
		delete(after, simK3sPolicy) // kept
		if d := changes(old, after); d != "" {
			t.Errorf("after disable:\n%s", d)
		}
	})
}

// What a drop-in replaces is changed in the drop-in.
func TestDropIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimOf(t, true)
		const main, part = "token: x\nkube-apiserver-arg: [v=2]\n", "# by Rancher\nkube-apiserver-arg:\n- anonymous-auth=false\n"
		s.Put(simK3sConfig, []byte(main), 0o600)
		s.Put(simK3sConfig+".d/50-rancher.yaml", []byte(part), 0o600)
		s.Put(simK3sConfig+".d/README", []byte("kube-apiserver-arg: [x]"), 0o600)
		n := New(Options{Host: s.Connect("cp1")})
		l, err := n.Look(t.Context())
		if err != nil || l.Distribution.Config != simK3sConfig+".d/50-rancher.yaml" || len(l.Problems) != 0 {
			t.Fatalf("%+v, %v", l, err)
		}
		p, err := n.Plan(t.Context(), l, recommended())
		if err != nil || len(p.Problems) != 0 {
			t.Fatalf("%+v, %v", p, err)
		}
		got := string(p.Files[len(p.Files)-1].New)
		if !strings.HasPrefix(got, "# by Rancher\nkube-apiserver-arg:\n- anonymous-auth=false\n- audit-log-") {
			t.Errorf("%s", got)
		}

		s.Put(simK3sConfig+".d/90-audit.yaml", []byte("kube-apiserver-arg+: [audit-log-maxage=7]\n"), 0o600)
		l, err = n.Look(t.Context())
		if err != nil || len(l.Problems) != 1 || !strings.Contains(l.Problems[0], "90-audit.yaml:1: audit-log-maxage") {
			t.Errorf("%q, %v", l.Problems, err)
		}
		// So are flags of the service's own, which come last.
		s.Delete(simK3sConfig + ".d/90-audit.yaml")
		s.Put("/etc/systemd/system/k3s.service", []byte("ExecStart=/usr/local/bin/k3s server '--kube-apiserver-arg=audit-log-path=/x'\n"), 0o600)
		l, err = n.Look(t.Context())
		if err != nil || len(l.Problems) != 1 || !strings.Contains(l.Problems[0], "k3s.service sets audit flags") {
			t.Errorf("%q, %v", l.Problems, err)
		}
	})
}

// A journal that has lost how k3s began is no obstacle, if nothing changed since.
func TestJournalLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimOf(t, true)
		must(t)(enable(t.Context(), s.Connect("cp1"), recommended()))
		time.Sleep(time.Hour)
		s.journal = ""
		if r := must(t)(enable(t.Context(), s.Connect("cp1"), recommended())); r.Outcome != Unchanged {
			t.Errorf("%+v", r)
		}
		s.Put(simK3sConfig, []byte("token: y\n"), 0o600)
		n := New(Options{Host: s.Connect("cp1")})
		l, err := n.Look(t.Context())
		if err != nil || len(l.Process.Args) != 0 {
			t.Errorf("flags are known though the configuration changed: %v, %v", l.Process.Args, err)
		}
	})
}

func TestRunningFlagsOfK3s(t *testing.T) {
	for _, c := range []struct{ log, want string }{
		{`time="2026-11-22T10:00:00Z" level=info msg="Running kube-apiserver --a=1 --audit-log-path=/a b --v=2"` + "\n", "[--a=1 --audit-log-path=/a b --v=2]"},
		{`level=info msg="Running kube-apiserver --a=\"x\" --b=c\\d"` + "\n", `[--a="x" --b=c\d]`},
		{"I1122 Running kube-apiserver --a=1\nRunning kube-apiserver --a=2\n", "[--a=2]"},
		{"Running kube-scheduler --a=1\n", "[]"},
	} {
		args, ok := k3sRunning(c.log)
		var got []string
		for _, a := range args {
			got = append(got, a.String())
		}
		if s := "[" + strings.Join(got, " ") + "]"; s != c.want || ok != (c.want != "[]") {
			t.Errorf("%s: %s, want %s", c.log, s, c.want)
		}
	}
}
