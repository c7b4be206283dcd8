package node

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

// TestUnproven holds that what nobody can prove is said beforehand, and is not
// undone because of that.
func TestUnproven(t *testing.T) {
	const hook = "/etc/kubernetes/pki/hook.conf"
	for name, c := range map[string]struct {
		policy string
		args   []flags.Arg
		want   string
	}{
		"webhook only":  {recordAll, []flags.Arg{{Name: flags.WebhookConfig, Value: hook}}, "a webhook only"},
		"rare requests": {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  users: [alice]\n", nil, "none of the harmless requests"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				s.Put(hook, []byte(simHook), 0o600)
				r := Request{Policy: []byte(c.policy), PolicyName: "mine", Args: c.args}
				n := New(Options{Host: s.Connect("cp1")})
				l := value(n.Look(t.Context()))
				p := value(n.Plan(t.Context(), l, r))
				if !strings.Contains(strings.Join(p.Warnings, "\n"), c.want) {
					t.Errorf("warnings %q lack %q", p.Warnings, c.want)
				}
				got := value(n.Do(t.Context(), p, testTimeout))
				v := got.Verification
				if got.Outcome != Enabled || v.OK || !v.Unproven || !strings.Contains(v.Sentence, c.want) {
					t.Errorf("%s, %+v", got.Outcome, v)
				}
				if v = value(n.Verify(t.Context())); v.OK || !v.Unproven {
					t.Errorf("verify: %+v", v)
				}
			})
		})
	}
}

// TestFullDisk holds that a disk that is full from some write on keeps nobody
// from going back: /var may be full, and /etc not.
func TestFullDisk(t *testing.T) {
	for _, from := range []string{"backups", "state.json", "kube-apiserver.yaml", "owner.json"} {
		t.Run(from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				old := s.snapshot()
				s.mute = true // so that it fails at the end, too
				c := s.Connect("cp1")
				locked, full := false, false
				c.Decide = func(_ int, op, about string) hosttest.Fault {
					if op != "write" {
						return hosttest.Fault{}
					}
					full = full || strings.Contains(about, from) && (locked || from != "owner.json")
					locked = locked || strings.HasSuffix(about, "owner.json")
					if full && strings.HasPrefix(about, "/var/") {
						return hosttest.Fault{Err: syscall.ENOSPC}
					}
					return hosttest.Fault{}
				}
				_, err := enable(t.Context(), c, recommended())
				if err == nil || !full {
					t.Fatalf("%v, and full: %t", err, full)
				}
				if d := changes(old, s.snapshot()); d != "" {
					t.Errorf("%v, but\n%s", err, d)
				}
				var halfway *InterruptedError
				st := value(New(Options{Host: s.Connect("look")}).State(t.Context()))
				if errors.As(err, &halfway) && !st.Pending() {
					t.Errorf("%v, but nothing is pending", err)
				}
				if st.Pending() {
					if _, err := New(Options{Host: s.Connect("again")}).Rollback(t.Context(), testTimeout); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestWayOut holds that the way out of an interruption can be pasted.
func TestWayOut(t *testing.T) {
	for name, want := range map[string]string{
		host.Local{}.Name():  "ktrail enable --resume finishes",
		"root@10.0.0.1:2222": "ktrail enable --ssh root@10.0.0.1:2222 --rollback puts",
	} {
		for _, err := range []interface{ Next() string }{
			&PendingError{Host: name, State: &State{Operation: Enable}}, &InterruptedError{Host: name, Operation: Enable},
		} {
			if !strings.Contains(err.Next(), want) {
				t.Errorf("%q lacks %q", err.Next(), want)
			}
		}
	}
}

func value[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
