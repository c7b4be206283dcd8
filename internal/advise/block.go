package advise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// block writes flags as a kind of configuration has them, ready to paste.
func block(kind config.Kind, data []byte, args []flags.Arg) string {
	var b strings.Builder
	each := func(head, line string, value func(flags.Arg) []any) {
		b.WriteString(head)
		for _, a := range args {
			fmt.Fprintf(&b, line, value(a)...)
		}
	}
	whole := func(a flags.Arg) []any { return []any{yamlText(a.String())} }
	bare := func(a flags.Arg) []any { return []any{yamlText(a.Name + "=" + a.Value)} }
	pair := func(a flags.Arg) []any { return []any{a.Name, yamlString(a.Value)} }
	switch kind {
	case config.StaticPod:
		each("# under spec.containers[0].command\n", "    - %s\n", whole)
	case config.KubeadmConfig, config.ClusterAPI:
		if old(data) {
			each("apiServer:\n  extraArgs:\n", "    %s: %s\n", pair)
		} else {
			each("apiServer:\n  extraArgs:\n", "  - name: %s\n    value: %s\n", pair)
		}
	case config.Palette, config.KindCluster:
		each("apiServer:\n  extraArgs:\n", "    %s: %s\n", pair)
	case config.Talos:
		each("cluster:\n  apiServer:\n    extraArgs:\n", "      %s: %s\n", pair)
	case config.K3s, config.RKE2:
		each("kube-apiserver-arg:\n", "- %s\n", bare)
	case config.Minikube:
		each("", "--extra-config=apiserver.%s\n", func(a flags.Arg) []any { return []any{shell(a.Name + "=" + a.Value)} })
	case config.KOps:
		each("spec:\n  kubeAPIServer:\n", "    %s\n", func(a flags.Arg) []any { return []any{kopsLine(a)} })
	default:
		each("", "  %s \\\n", func(a flags.Arg) []any { return []any{shell(a.String())} })
		return strings.TrimSuffix(b.String(), " \\\n") + "\n"
	}
	return b.String()
}

// old is whether a document of kubeadm or Cluster API has extraArgs as a map: the
// list came with kubeadm v1beta4 and Cluster API v1beta2.
func old(data []byte) bool {
	for _, v := range []string{"kubeadm.k8s.io/v1beta1", "kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta3", "controlplane.cluster.x-k8s.io/v1beta1", "controlplane.cluster.x-k8s.io/v1alpha"} {
		if bytes.Contains(data, []byte(v)) {
			return true
		}
	}
	return false
}

// safe is whether a text needs no quotes, in YAML and in a shell.
func safe(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:", r)) {
			return false
		}
	}
	return s != "" && !strings.HasSuffix(s, ":")
}

func yamlText(s string) string {
	if safe(s) {
		return s
	}
	return yamlString(s)
}

// yamlString is a string that YAML takes for nothing else: JSON's are YAML's.
func yamlString(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string always can be
		return `""`
	}
	return string(b)
}

// kopsLine is a flag as a field of kOps, or a comment where it has none.
func kopsLine(a flags.Arg) string {
	field := config.KOpsField(a.Name)
	if field == "" {
		return "# kOps has no field for " + strings.NewReplacer("\n", " ", "\r", " ").Replace(a.String())
	}
	if f, _ := flags.Lookup(a.Name); f.Type == flags.String || f.Type == flags.Duration || f.Type == flags.Float32 {
		return field + ": " + yamlString(a.Value)
	}
	return field + ": " + yamlText(a.Value)
}

// shell quotes a word for a shell.
func shell(s string) string {
	if safe(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
