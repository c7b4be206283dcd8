package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

// TestLeavesNoDirectories holds that those above the log's go, too.
func TestLeavesNoDirectories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		s.mute = true
		var rolled *RolledBackError
		if _, err := enable(t.Context(), s.Connect("cp1"), recommended()); !errors.As(err, &rolled) {
			t.Fatal(err)
		}
		if left := s.Tree("/var/log/kubernetes"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestStaticPods holds that kubelet's own rules decide what is a static pod: it
// follows links, and takes neither directories nor pipes, one of which would
// keep a reader waiting for ever.
func TestStaticPods(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, manifestsDir, name) }
	pod := []byte(manifestOff)
	for _, err := range []error{
		os.MkdirAll(at("dir"), 0o700), os.Symlink("dir", at("link-to-dir")), syscall.Mkfifo(at("pipe"), 0o600),
		os.Symlink("nowhere", at("broken")), os.WriteFile(at(".hidden"), pod, 0o600),
		os.WriteFile(at("b.yaml.bak"), pod, 0o600), os.WriteFile(filepath.Join(root, "elsewhere"), pod, 0o600), os.Symlink(filepath.Join(root, "elsewhere"), at("a.yaml")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := value(New(Options{Host: host.Local{Root: root}}).apiServerPods(t.Context(), manifestsDir))
	if want := []string{"a.yaml", "b.yaml.bak"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestKubeconfigUsers holds that a kubeconfig that cannot work is told from an
// API server that does not, and that the next one is tried.
func TestKubeconfigUsers(t *testing.T) {
	cert := func(ends time.Time) (certificate, key []byte) {
		k := value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"}, NotAfter: ends}
		der := value(x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k))
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: value(x509.MarshalECPrivateKey(k))})
	}
	user := func(c, k []byte) map[string]any {
		return map[string]any{"client-certificate-data": c, "client-key-data": k}
	}
	m := hosttest.NewMachine()
	put := func(name string, user map[string]any) {
		m.Put(name, value(json.Marshal(map[string]any{
			"current-context": "c", "contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "k", "user": "u"}}},
			"clusters": []any{map[string]any{"name": "k", "cluster": map[string]any{"server": "https://lb:6443"}}},
			"users":    []any{map[string]any{"name": "u", "user": user}},
		})), 0o600)
	}
	const super, admin = "/etc/kubernetes/super-admin.conf", "/etc/kubernetes/admin.conf"
	m.Put("/etc/kubernetes/t", []byte("secret\n"), 0o600)
	d := &Distribution{Kubeconfigs: []string{super, admin}}
	for name, c := range map[string]struct {
		user map[string]any
		want string
	}{
		"expired":    {user(cert(time.Now().Add(-time.Hour))), "expired on " + time.Now().UTC().Add(-time.Hour).Format(time.DateOnly) + ": kubeadm certs renew super-admin.conf"},
		"a program":  {map[string]any{"exec": map[string]any{"command": "aws"}}, "(exec)"},
		"no token":   {map[string]any{"tokenFile": "none"}, "/etc/kubernetes/none"},
		"token file": {map[string]any{"tokenFile": "t"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			put(super, c.user)
			m.Delete(admin)
			n := New(Options{Host: m.Connect("cp1")})
			got, err := n.connect(t.Context(), d, nil)
			if c.want == "" {
				if err != nil || got.token != "secret" {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			put(admin, user(cert(time.Now().Add(time.Hour))))
			if got, err := n.connect(t.Context(), d, nil); err != nil || got.user != "admin" {
				t.Errorf("the next one: %+v, %v", got, err)
			}
		})
	}
}

func value[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// interrupted begins to enable, and is killed in step at the operation on what.
func interrupted(t *testing.T, s *sim, kind, what string, done bool) {
	t.Helper()
	c, hit := s.Connect("cp1"), false
	c.Decide = func(_ int, op, about string) hosttest.Fault {
		if hit || op != kind || !strings.Contains(about, what) {
			return hosttest.Fault{}
		}
		hit = true
		return hosttest.Fault{Crash: true, Done: done}
	}
	stopped, err := hosttest.Survive(func() error {
		_, err := enable(t.Context(), c, recommended())
		return err
	})
	if !stopped || !value(New(Options{Host: s.Connect("look")}).State(t.Context())).Pending() {
		t.Fatalf("not interrupted at %s %s: %v", kind, what, err)
	}
}

// TestAwayBeforeResume holds that nobody is told that the API server was not away
// when it was, while nobody looked.
func TestAwayBeforeResume(t *testing.T) {
	for name, c := range map[string]struct {
		done, unknown bool
		least, most   float64
	}{
		"before the manifest": {false, false, 5, 7},
		"after the manifest":  {true, true, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				interrupted(t, s, "write", simManifest, c.done)
				time.Sleep(time.Minute)
				r := must(t)(New(Options{Host: s.Connect("again")}).Resume(t.Context(), testTimeout))
				if r.Outcome != Enabled || r.AwayUnknown != c.unknown || r.Away < c.least || r.Away > c.most {
					t.Errorf("%s, away for %.1f s, unknown: %t", r.Outcome, r.Away, r.AwayUnknown)
				}
			})
		})
	}
}

// TestManifestTakenAway holds that what was begun can be undone when somebody moved
// the manifest away meanwhile: the state has its path, and the backup its text.
func TestManifestTakenAway(t *testing.T) {
	for _, mend := range []string{"rollback", "resume"} {
		for _, done := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				old := s.snapshot()
				interrupted(t, s, "write", simManifest, done)
				s.Delete(simManifest)
				time.Sleep(time.Minute)
				n := New(Options{Host: s.Connect("again")})
				do := n.Rollback
				if mend == "resume" {
					do = n.Resume
				}
				r, err := do(t.Context(), testTimeout)
				var rolled *RolledBackError
				if errors.As(err, &rolled) && mend == "resume" {
					err = nil
				}
				if err != nil || r.Outcome != RolledBack {
					t.Fatalf("%s, written %t: %+v, %v", mend, done, r, err)
				}
				if d := changes(old, s.snapshot()); d != "" {
					t.Errorf("%s, written %t:\n%s", mend, done, d)
				}
			})
		}
	}
}
