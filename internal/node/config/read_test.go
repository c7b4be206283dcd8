package config_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

func form(t *testing.T, name string) []byte {
	t.Helper()
	for _, f := range forms(t) {
		if f.Name == name {
			return f.Data
		}
	}
	t.Fatalf("no form %q", name)
	return nil
}

func TestReadCommandLine(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"kube-apiserver --audit-log-path=/x --v=2", "--audit-log-path=/x --v=2"},
		{"/usr/bin/kube-apiserver --audit-log-path /x -v=2 --audit-log-compress --audit-policy-file /p", "--audit-log-path=/x --v=2 --audit-log-compress=true --audit-policy-file=/p"},
		{"kube-apiserver\x00--audit-log-path=/a b\x00--audit-log-maxage\x0030\x00", "--audit-log-path=/a b --audit-log-maxage=30"},
		{"root  1234  9.9  kube-apiserver --audit-log-path=-", "--audit-log-path=-"},
		{"--audit-log-path=/x\n--audit-log-maxage=1\n", "--audit-log-path=/x --audit-log-maxage=1"},
		{"# a unit\n[Service]\nExecStart=/usr/local/bin/kube-apiserver \\\n  --audit-log-path='/a b' \\\r\n  --v=2\nRestart=always\n", "--audit-log-path=/a b --v=2"},
		{"sh -c \"exec kube-apiserver --audit-log-path=/x --v=2 2>&1 | tee /log\"", "--audit-log-path=/x --v=2"},
		{"kube-apiserver --a=\"b c\"d\\ e '--f=\"g\"'", `--a=b cd e --f="g"`},
		{"kube-apiserver --audit_log_path=/x", "--audit-log-path=/x"},
		{"kube-apiserver", ""},
	} {
		kind, err := config.Detect([]byte(c.in))
		if err != nil || kind != config.CommandLine {
			t.Errorf("%q is %q, %v", c.in, kind, err)
		}
		s, err := config.Read(config.CommandLine, []byte(c.in))
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := join(s.Args); got != c.want {
			t.Errorf("%q has %s, want %s", c.in, got, c.want)
		}
	}
}

// TestOtherCommandLine holds that the command line of another program is called that,
// and what only looks like one is not.
func TestOtherCommandLine(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/ktrail\x00advise\x00/proc/self/cmdline\x00": `is the command line of "ktrail", not of kube-apiserver`,
		"k3s server\x00\x00":          `is the command line of "k3s server", not of kube-apiserver`,
		"\x00":                        "is not valid YAML",
		"\x7fELF\x02\x01\x01\x00\x00": "is not valid YAML",
		"a\x00b":                      "is not valid YAML",
	} {
		if kind, err := config.Detect([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %q, %v; want %q", in, kind, err, want)
		}
	}
}

func join(a []flags.Arg) string {
	return strings.Trim(fmt.Sprint(a), "[]")
}

func TestDetect(t *testing.T) {
	for _, f := range forms(t) {
		kind, err := config.Detect(f.Data)
		want := config.StaticPod
		if strings.HasPrefix(f.Name, "kubeadm") {
			want = config.KubeadmConfig
		}
		switch f.Name {
		case "no pod", "broken YAML", "invisible line break", "comment behind a tab, which no YAML parser of Kubernetes takes":
			if err == nil {
				t.Errorf("%s is %q", f.Name, kind)
			}
		default:
			if kind != want || err != nil {
				t.Errorf("%s is %q, %v; want %q", f.Name, kind, err, want)
			}
		}
	}
}

// TestUnreadable holds that what is no configuration is refused in one clear line.
func TestUnreadable(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "is empty"},
		{"blanks", " \n\t\n", "is empty"},
		{"binary", "\x7fELF\x02\x01\xff\xfe", "is not UTF-8 text"},
		{"UTF-16", "\xff\xfea\x00", "is not UTF-8 text"},
		{"large", strings.Repeat("a: b\n", 500000), "is larger than 512 KiB"},
		{"old Mac line ends", "a: b\rc: d\r", "carriage return"},
		{"prose", "hello there\n", "is no configuration of an API server"},
		{"another object", "apiVersion: v1\nkind: Secret\n", "is no configuration of an API server"},
		{"kubeadm without the right document", "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n", "is no configuration of an API server"},
		{"unclosed", "a: [b\nc: d", "is not valid YAML"},
		{"deep", strings.Repeat("[", 20000), "is not valid YAML"},
	} {
		kind, err := config.Detect([]byte(c.in))
		var refused *config.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s is %q, %v; want %q", c.name, kind, err, c.want)
		}
	}
}

func TestReadSettings(t *testing.T) {
	s, err := config.Read(config.StaticPod, form(t, "audit flags and mounts are there"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "--advertise-address=10.0.0.1 --audit-log-maxage=7 --audit-log-path=/var/log/kubernetes/audit/audit.log --audit-log-mode=batch --audit-policy-file=/etc/kubernetes/audit/policy.yaml --authorization-mode=Node,RBAC"; join(s.Args) != want {
		t.Errorf("flags %s", join(s.Args))
	}
	if a := s.Args[1]; a.Line != 10 || a.Column != 7 {
		t.Errorf("%s stands at %d:%d", a, a.Line, a.Column)
	}
	want := []config.Mount{
		{Name: "audit-policy", HostPath: "/etc/kubernetes/audit", MountPath: "/etc/kubernetes/audit", ReadOnly: true, Line: 18},
		{Name: "audit-log", HostPath: "/var/log/kubernetes/audit", MountPath: "/var/log/kubernetes/audit", Type: "DirectoryOrCreate", Line: 21},
		{Name: "k8s-certs", HostPath: "/etc/kubernetes/pki", MountPath: "/etc/kubernetes/pki", ReadOnly: true, Type: "DirectoryOrCreate", Line: 23},
	}
	if !reflect.DeepEqual(s.Mounts, want) || s.Version != "v1.37.2" {
		t.Errorf("version %s, mounts %+v", s.Version, s.Mounts)
	}

	// What a shell hides is read all the same, so that it can be advised upon.
	if s, err = config.Read(config.StaticPod, form(t, "shell")); err != nil || join(s.Args) != "--audit-log-path=/x --v=2" {
		t.Errorf("behind a shell: %v, %v", s, err)
	}
	// So is what an alias stands for.
	if s, err = config.Read(config.StaticPod, form(t, "audit flag is an alias")); err != nil || !strings.Contains(join(s.Args), "--audit-log-path=/old") {
		t.Errorf("behind an alias: %v, %v", s, err)
	}
	// In the ConfigMap, lines are those of the ConfigMap.
	after, err := config.Patch(config.KubeadmConfig, form(t, "kubeadm-config"), enable())
	if err != nil {
		t.Fatal(err)
	}
	if s, err = config.Read(config.KubeadmConfig, after); err != nil || s.Version != "v1.37.2" || len(s.Args) != 4 || s.Args[0].Line != 6 || s.Mounts[0].Line != 15 {
		t.Errorf("in the ConfigMap: %+v, %v", s, err)
	}
}

func TestVersionOfImage(t *testing.T) {
	for image, want := range map[string]string{
		"registry.k8s.io/kube-apiserver:v1.37.2":                 "v1.37.2",
		"localhost:5000/kube-apiserver:v1.30.0@sha256:0123":      "v1.30.0",
		"example.org/rancher/hardened-kubernetes:v1.31.4-rke2r1": "v1.31.4-rke2r1",
		"localhost:5000/kube-apiserver":                          "",
		"kube-apiserver:latest":                                  "",
		"kube-apiserver@sha256:0123":                             "",
	} {
		data := strings.Replace(string(form(t, "plain")), "registry.k8s.io/kube-apiserver:v1.37.2", image, 1)
		if s, err := config.Read(config.StaticPod, []byte(data)); err != nil || s.Version != want {
			t.Errorf("%s: %q, %v; want %q", image, s.Version, err, want)
		}
	}
}

// TestChangesAreChecked holds that no change can put more into a file than a
// flag or a mount.
func TestChangesAreChecked(t *testing.T) {
	set := func(name, value string) config.Change {
		return config.Change{Set: []flags.Arg{{Name: name, Value: value}}}
	}
	mount := func(m config.Mount) config.Change { return config.Change{AddMounts: []config.Mount{m}} }
	for _, c := range []config.Change{
		set("audit-log-path", "/x\n    - --anonymous-auth=true"), set("audit-log-path", "\x00"), set("audit-log-path", "\u2028"), set("audit-log-path", "\xff"),
		set("--audit-log-path", "/x"), set("a b", "/x"), set("", "/x"), set("a=b", ""),
		mount(config.Mount{MountPath: "relative"}), mount(config.Mount{MountPath: "/a/../b"}), mount(config.Mount{MountPath: "/"}), mount(config.Mount{MountPath: "/a:b"}),
		mount(config.Mount{MountPath: "/a", HostPath: "b"}), mount(config.Mount{MountPath: "/a", Name: "Not a label"}), mount(config.Mount{MountPath: "/a", Type: "File\n"}),
	} {
		var refused *config.RefusedError
		if out, err := config.Patch(config.StaticPod, form(t, "plain"), c); !errors.As(err, &refused) {
			t.Errorf("%+v was taken: %s, %v", c, out, err)
		}
	}
	var refused *config.RefusedError
	if _, err := config.Patch(config.CommandLine, []byte("kube-apiserver"), enable()); !errors.As(err, &refused) {
		t.Errorf("a command line was patched: %v", err)
	}
}

// TestQuoting sets values that YAML would read as something else.
func TestQuoting(t *testing.T) {
	values := []string{
		"", " ", "a b", "a: b", "a #b", "#", "'", `"`, `\`, `"'\`, "- a", "-", "[a]", "{a: b}", "a,b", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a`", "?", ":",
		"yes", "No", "on", "true", "null", "~", "30", "0777", "0x1f", "1e3", ".inf", "1_000", "2026-11-22", "<<", "=", "a:", "ü", "日本", "🙂",
	}
	for _, name := range []string{
		"plain", "double quotes", "single quotes", "flow command", "flow command, quoted", "JSON", "JSON on one line", "flags of two words", "audit flags of two words",
		"kubeadm v1beta4, as stored", "kubeadm v1beta3, as stored", "kubeadm v1beta3, with audit", "kubeadm, empty extraArgs", "kubeadm, JSON", "kubeadm-config", "kubeadm-config, JSON",
	} {
		data := form(t, name)
		for _, v := range values {
			after, err := check(t, kindOf(data), string(data), config.Change{Set: []flags.Arg{{Name: "audit-log-path", Value: v}}}, kubernetes)
			if err != nil || !strings.HasPrefix(name, "kubeadm") {
				if err != nil {
					t.Errorf("%s, %q: %v", name, v, err)
				}
				continue
			}
			// To kubeadm every value is a string.
			docs, err := kubernetes(after)
			if err != nil {
				t.Fatal(err)
			}
			if m, ok := docs[0].(map[string]any)["apiServer"].(map[string]any); ok {
				if args, ok := m["extraArgs"].(map[string]any); ok && args["audit-log-path"] != v {
					t.Errorf("%s, %q: kubeadm reads %#v", name, v, args["audit-log-path"])
				}
			}
		}
	}
}
