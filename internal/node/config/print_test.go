package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/node/config"
)

const printedPolicy = `# Who did what, and it's "quoted": #
apiVersion: audit.k8s.io/v1
kind: Policy

omitStages: [RequestReceived]
rules:
- level: Request   # bodies
  verbs: ["create"]
- level: Metadata
`

func piece(kind config.Kind, asked ...flags.Arg) config.Piece {
	p := config.Piece{Policy: []byte(printedPolicy), PolicyName: "mine.yaml", Asked: asked}
	for _, c := range flags.Recommended(flags.Version{}) {
		if own, ok := flags.Last(config.Defaults(kind), c.Name); ok {
			c.Value = own.Value
		}
		p.Args = append(p.Args, c.Arg)
	}
	p.Args = flags.Apply(p.Args, asked, nil)
	return p
}

// TestPrint holds what is printed for each platform, and that it is read back as
// what was asked for.
func TestPrint(t *testing.T) {
	inline := map[config.Kind]bool{config.ClusterAPI: true, config.Palette: true, config.Talos: true, config.KOps: true}
	for _, kind := range config.Printable() {
		t.Run(string(kind), func(t *testing.T) {
			p := piece(kind)
			out, err := config.Print(kind, p)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, "testdata/print-"+string(kind)+".golden", string(out))
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "#") && len(line) > 81 {
					t.Errorf("%d columns: %s", len(line)-1, line)
				}
			}
			if got, err := config.Detect(out); err != nil || got != kind {
				t.Errorf("is detected as %q, %v", got, err)
			}
			s, err := config.Read(kind, out)
			if err != nil || len(s.Problems) > 0 {
				t.Fatalf("%+v, %v", s, err)
			}
			for _, a := range p.Args {
				got, ok := flags.Last(s.Args, a.Name)
				left := kind == config.KOps && (a.Name == flags.LogCompress || a.Name == "audit-log-mode") ||
					kind == config.Minikube && (strings.HasPrefix(a.Name, "audit-log-max") || a.Name == flags.LogCompress)
				if ok == left || ok && got.Value != a.Value {
					t.Errorf("--%s is read back as %q, want %q", a.Name, got.Value, a.Value)
				}
			}
			if !inline[kind] {
				if s.Policy != nil || !strings.Contains(string(out), printedPolicy) {
					t.Errorf("policy %q", s.Policy)
				}
				return
			}
			want, err1 := policy.Load([]byte(printedPolicy))
			got, err2 := policy.Load(s.Policy)
			if err := errors.Join(err1, err2); err != nil || fmt.Sprint(got.Rules) == "" || len(got.Rules) != len(want.Rules) || got.Rules[0].Level != want.Rules[0].Level {
				t.Errorf("policy %q: %v", s.Policy, err)
			}
			// Where it begins, so that findings point into the file.
			line := strings.Split(string(out), "\n")[s.PolicyLine-1+1]
			if !strings.Contains(line, "apiVersion: audit.k8s.io/v1") {
				// Talos' begins at its first key.
				if line = strings.Split(string(out), "\n")[s.PolicyLine-1]; kind != config.Talos || !strings.Contains(line, "apiVersion: audit.k8s.io/v1") {
					t.Errorf("line %d is %q", s.PolicyLine, line)
				}
			}
		})
	}
}

// TestPrintedPolicies prints policies that are not plain YAML.
func TestPrintedPolicies(t *testing.T) {
	for name, text := range map[string]string{
		"JSON":       `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}`,
		"header":     "---\n" + printedPolicy,
		"CRLF":       strings.ReplaceAll(printedPolicy, "\n", "\r\n"),
		"indented":   "  apiVersion: audit.k8s.io/v1\n  kind: Policy\n  rules:\n  - level: Metadata\n",
		"no newline": strings.TrimSuffix(printedPolicy, "\n"),
	} {
		for _, kind := range config.Printable() {
			p := piece(kind)
			p.Policy = []byte(text)
			out, err := config.Print(kind, p)
			if err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
				continue
			}
			s, err := config.Read(kind, out)
			if err != nil {
				t.Errorf("%s, %s: %v\n%s", name, kind, err, out)
				continue
			}
			if s.Policy != nil {
				if _, err := policy.Load(s.Policy); err != nil {
					t.Errorf("%s, %s: %v\n%s", name, kind, err, out)
				}
			}
			if kind == config.Minikube {
				continue
			}
			var doc yaml.Node
			d := yaml.NewDecoder(strings.NewReader(string(out)))
			for err = d.Decode(&doc); err == nil; err = d.Decode(&doc) {
			}
			if err.Error() != "EOF" {
				t.Errorf("%s, %s: %v\n%s", name, kind, err, out)
			}
		}
	}
}

func TestPrintRefuses(t *testing.T) {
	for _, c := range []struct {
		kind config.Kind
		arg  flags.Arg
		want string
	}{
		{config.Talos, flags.Arg{Name: "audit-log-path", Value: "/var/log/a.log"}, "Talos keeps it at /var/log/audit/kube"},
		{config.KOps, flags.Arg{Name: "audit-log-compress", Value: "true"}, "no field"},
		{config.KubeadmConfig, flags.Arg{Name: "audit-log-path", Value: "/x\n- y"}, "not printable"},
	} {
		var refused *config.RefusedError
		if _, err := config.Print(c.kind, piece(c.kind, c.arg)); !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.kind, c.arg, err)
		}
	}
}

func TestManaged(t *testing.T) {
	for _, c := range []struct {
		server, version, cluster string
		want                     config.Provider
	}{
		{"https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com", "", "", config.EKS},
		{"https://10.0.0.1", "v1.33.4-eks-a1b2c3d", "", config.EKS},
		{"https://34.1.2.3", "v1.33.4-gke.1350000", "", config.GKE},
		{"https://34.1.2.3", "", "gke_project_zone_name", config.GKE},
		{"https://x.azmk8s.io:443", "", "", config.AKS},
		{"https://x-azmk8s.io.example.com:6443", "v1.37.2", "eks", ""},
		{"https://10.0.0.1:6443", "v1.37.2", "kubernetes", ""},
		{"", "", "", ""},
	} {
		if got, ok := config.Managed(c.server, c.version, c.cluster); got != c.want || ok != (c.want != "") {
			t.Errorf("%+v is %q", c, got)
		}
	}
	for _, p := range config.Providers() {
		for line := range strings.Lines(p.Offer()) {
			if len(line) > 81 {
				t.Errorf("%s: %d columns: %s", p, len(line), line)
			}
		}
		for _, want := range []string{"No flag and no policy can be set", "limits", "Into ktrail"} {
			if !strings.Contains(p.Offer(), want) {
				t.Errorf("%s does not say %q", p, want)
			}
		}
	}
}
