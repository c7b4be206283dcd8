package advise_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/advise"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
)

const pod = `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.33.2
    command:
    - kube-apiserver
    - --etcd-servers=https://127.0.0.1:2379
    - --audit-log-path=/var/log/audit/audit.log
    - --audit-policy-file=/etc/kubernetes/audit/policy.yaml
    - --audit-log-maxage=30d
    - --audit-log-mode=batch
    - --audit-log-batch-max-size=5
    volumeMounts:
    - {name: log, mountPath: /var/log/audit}
    - {name: policy, mountPath: /etc/kubernetes/audit, readOnly: true}
  volumes:
  - {name: log, hostPath: {path: /var/log/audit, type: DirectoryOrCreate}}
  - {name: policy, hostPath: {path: /etc/kubernetes/audit, type: Directory}}
`

const kubeadm = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.34.1
apiServer:
  extraArgs:
  - name: audit-log-path
    value: /var/log/audit/audit.log
  - name: audit-policy-file
    value: /etc/kubernetes/pki/policy.yaml
`

func names(fs []finding.Finding) string {
	var out []string
	for _, f := range fs {
		if f.Severity != finding.Note {
			out = append(out, f.Name)
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " ")
}

func TestCheck(t *testing.T) {
	metadata := &advise.File{Name: "policy.yaml", Data: []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  omitStages: [RequestReceived]\n")}
	const good = "kube-apiserver --audit-log-path=/a/b.log --audit-policy-file=/p --audit-log-maxage=30 --audit-log-maxbackup=10 --audit-log-maxsize=100"
	for name, tt := range map[string]struct {
		in      advise.Input
		kind    config.Kind
		version string
		want    string
	}{
		"static pod": {advise.Input{Name: "m.yaml", Data: []byte(pod)}, config.StaticPod, "1.33", "busy-loop refused-value unbounded-disk"},
		"allowed":    {advise.Input{Name: "m.yaml", Data: []byte("# ktrail: allow busy-loop we like it warm\n" + pod)}, config.StaticPod, "1.33", "refused-value unbounded-disk"},
		"no reason":  {advise.Input{Name: "m.yaml", Data: []byte("# ktrail: allow busy-loop\n" + pod)}, config.StaticPod, "1.33", "busy-loop refused-value unbounded-disk"},
		"version":    {advise.Input{Name: "m.yaml", Data: []byte(pod), Version: flags.Version{Major: 1, Minor: 36}}, config.StaticPod, "1.36", "busy-loop refused-value"},
		"kubeadm":    {advise.Input{Name: "k.yaml", Data: []byte(kubeadm)}, config.KubeadmConfig, "1.34", "log-not-mounted unbounded-disk"},
		"words":      {advise.Input{Data: []byte(strings.ReplaceAll(good, " ", "\x00"))}, config.CommandLine, "0.0", ""},
		"text":       {advise.Input{Name: "-", Data: []byte(good + " \\\n  --audit-log-mode=fast\n")}, config.CommandLine, "0.0", "refused-value"},
		"strict": {
			advise.Input{Data: []byte(good + " --audit-log-mode=blocking-strict"), Policy: metadata}, config.CommandLine, "0.0", "strict-not-strict",
		},
		"bad policy": {
			advise.Input{Data: []byte(good), Policy: &advise.File{Name: "p.yaml", Data: []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: All\n")}},
			config.CommandLine, "0.0", "policy-refused",
		},
		"webhook": {
			advise.Input{
				Data:    []byte(good + " --audit-webhook-config-file=/w --audit-webhook-truncate-enabled"),
				Webhook: &advise.File{Name: "w", Data: []byte("clusters:\n- name: a\n  cluster: {server: 'http://siem'}\n- name: b\n  cluster: {server: 'https://siem'}\ncontexts:\n- name: c\n  context: {cluster: a}\ncurrent-context: c\n")},
			}, config.CommandLine, "0.0", "webhook-plaintext",
		},
		"empty kubeconfig": {
			advise.Input{Data: []byte(good + " --audit-webhook-config-file=/w --audit-webhook-truncate-enabled"), Webhook: &advise.File{Name: "w"}},
			config.CommandLine, "0.0", "webhook-refused",
		},
		"no YAML for a kubeconfig": {
			advise.Input{Data: []byte(good + " --audit-webhook-config-file=/w --audit-webhook-truncate-enabled"), Webhook: &advise.File{Name: "w", Data: []byte("\xff\x00")}},
			config.CommandLine, "0.0", "webhook-refused",
		},
		"insecure": {
			advise.Input{
				Data:    []byte(good + " --audit-webhook-config-file=/w --audit-webhook-truncate-enabled"),
				Webhook: &advise.File{Name: "w", Data: []byte("clusters:\n- name: a\n  cluster: {server: 'https://siem', insecure-skip-tls-verify: true}\n")},
			}, config.CommandLine, "0.0", "webhook-insecure",
		},
		"misplaced": {advise.Input{Name: "m.yaml", Data: []byte(strings.Replace(pod, "    volumeMounts:\n", "  volumeMounts:\n", 1))}, "", "", "error"},
	} {
		r, err := advise.Check(tt.in)
		if err != nil {
			if tt.want != "error" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := names(r.Findings); got != tt.want && tt.want != "error" || r.Kind != tt.kind && tt.kind != "" || tt.version != "" && r.Version.String() != tt.version {
			t.Errorf("%s: %s %s: %q, want %s %s: %q", name, r.Kind, r.Version, got, tt.kind, tt.version, tt.want)
		}
		if tt.want == "error" && names(r.Findings) == "" {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

func TestUnreadable(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "f: is empty",
		" \n":                           "f: is empty",
		"a: [b\n":                       "f:1: is not valid YAML",
		"kind: Deployment\n":            "f: is no configuration",
		"\xff\xfe":                      "f: is not UTF-8",
		"\x7fELF\x02\x01\x01\x00\x00":   "f: is not",
		strings.Repeat("a: b\n", 1<<20): "f: is larger than",
	} {
		_, err := advise.Check(advise.Input{Name: "f", Data: []byte(in)})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20q: %v, want one line that begins with %q", in, err, want)
		}
	}
}

// What is printed to be pasted says the same as what was found right.
func TestBlockReadsBack(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver}\nspec:\n  containers:\n  - name: kube-apiserver\n    command:\n    - kube-apiserver\n"
	for _, path := range []string{"/a/audit.log", "/a b/#c.log", `/a"b'c\d`, "/a:", "/é: {x}", "true", "&a", "/a\tb", "$(rm)", "`x`"} {
		for kind, form := range map[config.Kind][2]string{
			config.StaticPod:     {head + "    - %s\n", head},
			config.KubeadmConfig: {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n  - name: audit-log-path\n    value: %v\n", "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"},
			"kubeadm v1beta3":    {"apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n    audit-log-path: %v\n", "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n"},
			config.CommandLine:   {"kube-apiserver\x00%s", "kube-apiserver "},
		} {
			quoted := func(s string) string {
				return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(s) + `"`
			}
			text := strings.Replace(strings.Replace(form[0], "%s", quoted("--audit-log-path="+path), 1), "%v", quoted(path), 1)
			if kind == config.CommandLine {
				text = strings.Replace(form[0], "%s", "--audit-log-path="+path, 1)
			}
			r, err := advise.Check(advise.Input{Name: "in", Data: []byte(text)})
			if err != nil {
				t.Errorf("%s: %q: %v", kind, path, err)
				continue
			}
			block, _, _ := strings.Cut(r.Block, "\n\n") // without the mounts
			back, err := config.Read(r.Kind, []byte(form[1]+block+"\n"))
			if err != nil {
				t.Errorf("%s: %q: %v in\n%s", kind, path, err, form[1]+block)
				continue
			}
			got := flags.Audit(back.Args)
			for i := range got {
				got[i].Line, got[i].Column = 0, 0
			}
			want := slices.Clone(r.Flags)
			for i := range want {
				want[i].Line, want[i].Column = 0, 0
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q: the block says %v, want %v\n%s", kind, path, got, want, r.Block)
			}
		}
	}
}

// What Talos sets by itself is neither a repetition nor printed to be pasted.
func TestImplied(t *testing.T) {
	r, err := advise.Check(advise.Input{Name: "t.yaml", Data: []byte("version: v1alpha1\nmachine: {type: controlplane}\ncluster:\n  apiServer:\n    image: registry.k8s.io/kube-apiserver:v1.31.0\n    extraArgs:\n      audit-log-maxage: \"5\"\n    auditPolicy:\n      apiVersion: audit.k8s.io/v1\n      kind: Policy\n      rules: [{level: None}]\n")})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(r.Findings); r.Kind != config.Talos || got != "policy-records-nothing retention-cis" {
		t.Errorf("%s: %s", r.Kind, got)
	}
	if want := "cluster:\n  apiServer:\n    extraArgs:\n      audit-log-maxage: \"30\"\n"; r.Block != want {
		t.Errorf("block %q, want %q", r.Block, want)
	}
}

// A flag that is set can need a mount: it is printed with it.
func TestMissingMounts(t *testing.T) {
	in := strings.NewReplacer(
		"    - --audit-policy-file=/etc/kubernetes/audit/policy.yaml\n", "",
		"    - {name: policy, mountPath: /etc/kubernetes/audit, readOnly: true}\n", "",
		"  - {name: policy, hostPath: {path: /etc/kubernetes/audit, type: Directory}}\n", "").Replace(pod)
	r, err := advise.Check(advise.Input{Name: "m.yaml", Data: []byte(in)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Block, "mountPath: "+flags.DefaultPolicyFile) || strings.Contains(r.Block, "mountPath: /var/log") {
		t.Errorf("the policy's mount is not there, or that of the log, which needs none:\n%s", r.Block)
	}
	r, err = advise.Check(advise.Input{Name: "k.yaml", Data: []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer: {}\n")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := config.Read(config.KubeadmConfig, []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"+r.Block))
	if err != nil || len(s.Mounts) != 2 || strings.Count(r.Block, "extraVolumes:") != 1 {
		t.Errorf("%v: want one list of two mounts:\n%s", err, r.Block)
	}
}

func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNode(t *testing.T) {
	cmdline := "kube-apiserver\x00--audit-policy-file=/etc/kubernetes/audit/policy.yaml\x00--audit-log-path=/var/log/audit/audit.log\x00--audit-log-maxage=30\x00--audit-log-maxbackup=10\x00--audit-log-maxsize=100\x00--audit-log-mode=blocking-strict\x00"
	policy := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
	ctx := t.Context()
	t.Run("process", func(t *testing.T) {
		root := t.TempDir()
		write(t, root, map[string]string{
			"/proc/7/comm": "etcd\n", "/proc/7/cmdline": "etcd\x00--x\x00", "/proc/self/comm": "x\n",
			"/proc/42/comm": "kube-apiserver\n", "/proc/42/cmdline": cmdline,
			"/proc/42/root/etc/kubernetes/audit/policy.yaml": policy,
			"/etc/kubernetes/manifests/kube-apiserver.yaml":  pod,
		})
		h := host.Local{Root: root}
		in, notes, err := advise.Node(ctx, h)
		if err != nil || len(notes) > 0 {
			t.Fatal(err, notes)
		}
		r, err := advise.Check(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(r.Findings); in.Name != "/proc/42/cmdline" || r.Version.String() != "1.33" || got != "strict-not-strict" {
			t.Errorf("%s %s: %s", in.Name, r.Version, got)
		}
		if _, _, err := advise.Process(ctx, h, 7); err == nil || err.Error() != "process 7 is no kube-apiserver, it is etcd" {
			t.Errorf("process 7: %v", err)
		}
		if _, _, err := advise.Process(ctx, h, 8); err == nil || err.Error() != "there is no process 8" {
			t.Errorf("process 8: %v", err)
		}
	})
	t.Run("manifest", func(t *testing.T) {
		root := t.TempDir()
		write(t, root, map[string]string{
			"/proc/7/comm": "etcd\n",
			"/etc/kubernetes/manifests/kube-apiserver.yaml": strings.Replace(pod, "path: /etc/kubernetes/audit,", "path: /srv/audit,", 1),
			"/srv/audit/policy.yaml":                        policy,
			"/var/log/audit/audit.log":                      strings.Repeat("x", 5000),
		})
		in, notes, err := advise.Node(ctx, host.Local{Root: root})
		if err != nil || len(notes) != 1 || in.Policy == nil || string(in.Policy.Data) != policy || in.Free <= 5000 {
			t.Errorf("%+v, %v, %v", in, notes, err)
		}
	})
	t.Run("no policy", func(t *testing.T) {
		root := t.TempDir()
		write(t, root, map[string]string{"/etc/kubernetes/manifests/kube-apiserver.yaml": pod})
		in, notes, err := advise.Node(ctx, host.Local{Root: root})
		if err != nil || len(notes) != 2 || !strings.Contains(notes[1], "the policy is not looked at") || in.Policy != nil {
			t.Errorf("%v %v", notes, err)
		}
	})
	t.Run("none", func(t *testing.T) {
		if _, _, err := advise.Node(ctx, host.Local{Root: t.TempDir()}); !errors.Is(err, advise.ErrNoAPIServer) {
			t.Error(err)
		}
	})
	t.Run("lost", func(t *testing.T) {
		lost := &host.LostError{Host: "m", Err: errors.New("reset")}
		if _, _, err := advise.Node(ctx, gone{err: lost}); !errors.As(err, new(*host.LostError)) {
			t.Error(err)
		}
	})
}

// gone is a machine whose connection breaks while its processes are read.
type gone struct {
	host.Local
	err error
}

func (gone) ReadDir(context.Context, string) ([]host.Info, error) {
	return []host.Info{{Name: "1", Mode: fs.ModeDir}}, nil
}

func (g gone) ReadFile(context.Context, string) ([]byte, error) { return nil, g.err }

func FuzzCheck(f *testing.F) {
	for _, s := range []string{pod, kubeadm, "kube-apiserver --audit-log-path=/a", "a: b", "\x00"} {
		f.Add(s, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n", "clusters: [{cluster: {server: x}}]")
	}
	f.Fuzz(func(t *testing.T, in, policy, webhook string) {
		r, err := advise.Check(advise.Input{Name: "in", Data: []byte(in), Policy: &advise.File{Name: "p", Data: []byte(policy)}, Webhook: &advise.File{Name: "w", Data: []byte(webhook)}})
		if err != nil {
			return
		}
		if (len(r.Set)+len(r.Unset) > 0) != (r.Block != "") {
			t.Fatalf("set %v, unset %v, block %q", r.Set, r.Unset, r.Block)
		}
	})
}

// A platform's own places are advised, those that its API server sees; and kOps
// gets its fields.
func TestPlaces(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"kops": {
			"apiVersion: kops.k8s.io/v1alpha2\nkind: Cluster\nspec:\n  kubernetesVersion: 1.31.2\n  kubeAPIServer:\n    auditWebhookMode: blocking\n",
			"spec:\n  kubeAPIServer:\n    auditWebhookMode: \"blocking\"\n    auditPolicyFile: \"/srv/kubernetes/kube-apiserver/audit-policy.yaml\"\n    auditLogPath: \"/var/log/kube-apiserver-audit.log\"\n    auditLogMaxAge: 30\n    auditLogMaxBackups: 10\n    auditLogMaxSize: 100\n    # kOps has no field for --audit-log-compress=true\n",
		},
		"k3s": {"kube-apiserver-arg:\n- feature-gates=A=true\n", "kube-apiserver-arg:\n- audit-policy-file=/var/lib/rancher/k3s/server/audit.yaml\n- audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log\n"},
	} {
		r, err := advise.Check(advise.Input{Name: name, Data: []byte(tt.in)})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(r.Block, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, r.Block, tt.want)
		}
	}
}

// The mounts that are missing stand in one list each: of two lists under one key
// YAML refuses the second.
func TestMountsInOneList(t *testing.T) {
	r, err := advise.Check(advise.Input{Name: "m", Data: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver}\nspec:\n  containers:\n  - name: kube-apiserver\n    command: [kube-apiserver, --audit-log-path=/a/b]\n")})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"volumeMounts: #", "volumes: #"} {
		if n := strings.Count(r.Block, want); n != 1 {
			t.Errorf("%q stands %d times:\n%s", want, n, r.Block)
		}
	}
	if n := strings.Count(r.Block, "- name: audit-"); n != 4 {
		t.Errorf("%d mounts and volumes:\n%s", n, r.Block)
	}
}
