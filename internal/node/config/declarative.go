package config

import (
	"bytes"
	"encoding/base64"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

// find is the first document that is.
func (s *source) findDoc(is func(r *yaml.Node) bool) *yaml.Node {
	for _, d := range s.docs {
		if r := root(d); r != nil && is(r) {
			return r
		}
	}
	return nil
}

func (s *source) ofKind(group string, kinds ...string) *yaml.Node {
	return s.findDoc(func(r *yaml.Node) bool {
		if !strings.HasPrefix(str(get(r, "apiVersion")), group) {
			return false
		}
		for _, k := range kinds {
			if str(get(r, "kind")) == k {
				return true
			}
		}
		return false
	})
}

// at goes down a path of keys.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, k := range keys {
		n = get(n, k)
	}
	return n
}

// kubeadmAPI reads kubeadm's apiServer wherever it stands. Its extraArgs are a
// mapping or a list, by the version of what is around it.
func kubeadmAPI(api *yaml.Node) *cluster {
	c := &cluster{api: api, extra: get(api, "extraArgs")}
	c.list = c.extra != nil && c.extra.Kind == yaml.SequenceNode
	if !c.list && c.extra != nil && c.extra.Kind != yaml.MappingNode {
		c.extra = nil
	}
	return c
}

// inline fills in the policy that a list of files has at the path that the flag names.
func (out *Settings) inline(s *source, files *yaml.Node, pathKey string) {
	flag, ok := flags.Last(out.Args, flags.PolicyFile)
	if !ok {
		return
	}
	where := path.Clean(flag.Value)
	for _, m := range out.Mounts {
		if rest, ok := strings.CutPrefix(where+"/", path.Clean(m.MountPath)+"/"); ok && m.HostPath != "" {
			where = path.Join(m.HostPath, rest)
			break
		}
	}
	for _, f := range items(files) {
		n := get(f, "content")
		if p := str(get(f, pathKey)); p == "" || path.Clean(p) != where || n == nil {
			continue
		}
		out.Policy, out.PolicyLine = s.inner(n)
		if strings.Contains(str(get(f, "encoding")), "base64") || str(get(f, "isBase64")) == "true" {
			plain, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
			if err != nil || str(get(f, "encoding")) == "gzip+base64" {
				out.Policy, out.PolicyLine = nil, 0
				return
			}
			out.Policy = plain
		}
		return
	}
}

// inner is a document inside a document, and the line where it begins: a text, or
// YAML that is written out in place.
func (s *source) inner(n *yaml.Node) ([]byte, int) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Style&yaml.LiteralStyle != 0:
		return []byte(n.Value), n.Line + 1 // the text begins on the line after |
	case n.Kind == yaml.ScalarNode:
		return []byte(n.Value), n.Line
	case n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 && s.ownLine(n):
		// As it stands, so that its lines stay its lines.
		col := n.Column - 1
		var b bytes.Buffer
		for i := n.Line - 1; i <= s.blockEnd(n.Line-1, col-1, false, endsLiteral(n)); i++ {
			line := s.lineText(i)
			b.WriteString(line[min(indent(line), col):] + "\n")
		}
		return b.Bytes(), n.Line
	}
	data, err := yaml.Marshal(n)
	if err != nil {
		return nil, 0
	}
	return data, n.Line
}

// Cluster API: KubeadmControlPlane. v1beta1 has extraArgs as a mapping, v1beta2
// as a list (sigs.k8s.io/cluster-api/api/bootstrap/kubeadm).
func controlPlane(s *source) *yaml.Node {
	return s.ofKind("controlplane.cluster.x-k8s.io/", "KubeadmControlPlane", "KubeadmControlPlaneTemplate")
}

func isClusterAPI(s *source) bool { return controlPlane(s) != nil }

func readClusterAPI(s *source) (*Settings, error) {
	r := controlPlane(s)
	if r == nil {
		return nil, &RefusedError{Msg: "has no KubeadmControlPlane of Cluster API"}
	}
	spec := get(r, "spec")
	if str(get(r, "kind")) == "KubeadmControlPlaneTemplate" {
		spec = at(spec, "template", "spec")
	}
	conf := get(spec, "kubeadmConfigSpec")
	c := kubeadmAPI(at(conf, "clusterConfiguration", "apiServer"))
	out := &Settings{Kind: ClusterAPI, Version: str(get(spec, "version")), Mounts: c.mounts()}
	out.Args, _ = c.flags()
	out.inline(s, get(conf, "files"), "path")
	return out, nil
}

// Palette: the values of a Kubernetes pack.
func paletteDoc(s *source) *yaml.Node {
	return s.findDoc(func(r *yaml.Node) bool { return get(r, "kubeadmconfig") != nil })
}

func isPalette(s *source) bool { return paletteDoc(s) != nil }

func readPalette(s *source) (*Settings, error) {
	r := paletteDoc(s)
	if r == nil {
		return nil, &RefusedError{Msg: "has no kubeadmconfig: expected the values of Palette's Kubernetes pack"}
	}
	conf := get(r, "kubeadmconfig")
	c := kubeadmAPI(get(conf, "apiServer"))
	out := &Settings{Kind: Palette, Version: str(get(conf, "kubernetesVersion")), Mounts: c.mounts()}
	out.Args, _ = c.flags()
	out.inline(s, get(conf, "files"), "targetPath")
	return out, nil
}

// Talos puts these before what extraArgs say, and mounts no other directory for
// the log (internal/app/machined/pkg/controllers/k8s/control_plane_static_pod.go).
const (
	talosPolicy = "/system/config/kubernetes/kube-apiserver/auditpolicy.yaml"
	talosLog    = "/var/log/audit/kube/kube-apiserver.log"
)

func talosDoc(s *source) *yaml.Node {
	return s.findDoc(func(r *yaml.Node) bool {
		return get(r, "kind") == nil && (at(r, "cluster", "apiServer") != nil ||
			str(get(r, "version")) == "v1alpha1" && get(r, "machine") != nil)
	})
}

func isTalos(s *source) bool { return talosDoc(s) != nil }

func readTalos(s *source) (*Settings, error) {
	r := talosDoc(s)
	if r == nil {
		return nil, &RefusedError{Msg: "is no machine config of Talos: expected cluster with apiServer"}
	}
	api := at(r, "cluster", "apiServer")
	if api == nil && str(at(r, "machine", "type")) == "worker" {
		return nil, &RefusedError{Msg: "is the machine config of a worker, which runs no API server: give a control plane's"}
	}
	out := &Settings{Kind: Talos, Version: imageVersion(str(get(api, "image")))}
	for _, a := range [][2]string{
		{flags.PolicyFile, talosPolicy},
		{flags.LogPath, talosLog},
		{flags.LogMaxAge, "30"},
		{flags.LogMaxBackup, "10"},
		{flags.LogMaxSize, "100"},
	} {
		out.Args = append(out.Args, flags.Arg{Name: a[0], Value: a[1]})
	}
	extra, _ := kubeadmAPI(api).flags()
	out.Args = append(out.Args, extra...)
	if n := get(api, "auditPolicy"); n != nil && n.Kind == yaml.MappingNode {
		out.Policy, out.PolicyLine = s.inner(n)
	}
	return out, nil
}

// kopsFields are the audit flags that kOps' cluster spec knows, and no others
// (pkg/apis/kops/componentconfig.go).
func kopsFields() []struct{ Field, Flag string } {
	return []struct{ Field, Flag string }{
		{"auditLogFormat", flags.LogPrefix + "format"},
		{"auditLogMaxAge", flags.LogMaxAge},
		{"auditLogMaxBackups", flags.LogMaxBackup},
		{"auditLogMaxSize", flags.LogMaxSize},
		{"auditLogPath", flags.LogPath},
		{"auditPolicyFile", flags.PolicyFile},
		{"auditWebhookBatchBufferSize", flags.WebhookPrefix + "batch-buffer-size"},
		{"auditWebhookBatchMaxSize", flags.WebhookPrefix + "batch-max-size"},
		{"auditWebhookBatchMaxWait", flags.WebhookPrefix + "batch-max-wait"},
		{"auditWebhookBatchThrottleBurst", flags.WebhookPrefix + "batch-throttle-burst"},
		{"auditWebhookBatchThrottleEnable", flags.WebhookPrefix + "batch-throttle-enable"},
		{"auditWebhookBatchThrottleQps", flags.WebhookPrefix + "batch-throttle-qps"},
		{"auditWebhookConfigFile", flags.WebhookConfig},
		{"auditWebhookInitialBackoff", flags.WebhookPrefix + "initial-backoff"},
		{"auditWebhookMode", flags.WebhookPrefix + "mode"},
	}
}

// KOpsField is the field of kOps' cluster spec for an audit flag, "" if it has none.
func KOpsField(flag string) string { return kopsField(flag) }

func kopsDoc(s *source) *yaml.Node { return s.ofKind("kops.k8s.io/", "Cluster") }

func isKOps(s *source) bool { return kopsDoc(s) != nil }

func readKOps(s *source) (*Settings, error) {
	r := kopsDoc(s)
	if r == nil {
		return nil, &RefusedError{Msg: "has no Cluster of kOps: expected apiVersion kops.k8s.io/... and kind Cluster"}
	}
	out := &Settings{Kind: KOps, Version: str(at(r, "spec", "kubernetesVersion"))}
	api := at(r, "spec", "kubeAPIServer")
	if api != nil && api.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(api.Content); i += 2 {
			for _, f := range kopsFields() {
				if k := api.Content[i]; k.Value == f.Field {
					out.Args = append(out.Args, flags.Arg{Name: f.Flag, Value: str(api.Content[i+1]), Line: k.Line, Column: k.Column})
				}
			}
		}
	}
	out.inline(s, at(r, "spec", "fileAssets"), "path")
	return out, nil
}

// kind's Cluster has kubeadm's ClusterConfiguration in patches, as texts.
func kindDoc(s *source) *yaml.Node { return s.ofKind("kind.x-k8s.io/", "Cluster") }

func isKindCluster(s *source) bool { return kindDoc(s) != nil }

func readKindCluster(s *source) (*Settings, error) {
	r := kindDoc(s)
	if r == nil {
		return nil, &RefusedError{Msg: "has no Cluster of kind: expected apiVersion kind.x-k8s.io/v1alpha4 and kind Cluster"}
	}
	out := &Settings{Kind: KindCluster}
	patches := items(get(r, "kubeadmConfigPatches"))
	for _, n := range items(get(r, "nodes")) {
		if str(get(n, "role")) != "worker" {
			_, out.Version, _ = strings.Cut(strings.SplitN(path.Base(str(get(n, "image"))), "@", 2)[0], ":")
			patches = append(patches, items(get(n, "kubeadmConfigPatches"))...)
		}
	}
	for _, n := range patches {
		n = follow(n)
		text, line := s.inner(n)
		inner, err := parse(text)
		if err != nil {
			return nil, refuse(n, "a patch of kubeadm's configuration %v", err)
		}
		shift := 0
		if n.Style&yaml.LiteralStyle != 0 {
			shift = line - 1
		}
		doc := inner.findDoc(func(r *yaml.Node) bool { return str(get(r, "kind")) == "ClusterConfiguration" })
		c := kubeadmAPI(get(doc, "apiServer"))
		args, _ := c.flags()
		for _, a := range args {
			a.Line, a.Column = moved(a.Line, shift, n.Line), 0
			out.Args = append(out.Args, a)
		}
		for _, m := range c.mounts() {
			m.Line = moved(m.Line, shift, n.Line)
			out.Mounts = append(out.Mounts, m)
		}
	}
	return out, nil
}

// minikube takes the API server's flags on its command line.
var extraConfig = regexp.MustCompile(`^--extra-config(=|$)`)

func isMinikube(data []byte) bool {
	return len(data) <= MaxSize && bytes.Contains(data, []byte("--extra-config")) && bytes.Contains(data, []byte("apiserver."))
}

func readMinikube(data []byte) (*Settings, error) {
	if len(data) > MaxSize {
		return nil, &RefusedError{Msg: "is too long for a command line"}
	}
	if !isMinikube(data) {
		return nil, &RefusedError{Msg: "is no command of minikube: expected minikube start --extra-config=apiserver.FLAG=VALUE ..."}
	}
	out := &Settings{Kind: Minikube}
	// What stands before the command, such as a policy, need not be shell.
	begin := bytes.Index(data, []byte("--extra-config"))
	begin = bytes.LastIndexByte(data[:begin], '\n') + 1
	for begin > 1 && bytes.HasSuffix(bytes.TrimRight(data[:begin], "\r\n"), []byte("\\")) {
		begin = bytes.LastIndexByte(data[:begin-1], '\n') + 1
	}
	above := bytes.Count(data[:begin], []byte("\n"))
	words := untilEnd(shellWords(string(data[begin:])), 0)
	for i := 0; i < len(words); i++ {
		w := words[i]
		if !extraConfig.MatchString(w.text) {
			if v, ok := strings.CutPrefix(w.text, "--kubernetes-version="); ok {
				out.Version = v
			}
			continue
		}
		_, value, has := strings.Cut(w.text, "=")
		if !has && i+1 < len(words) {
			i++
			value = words[i].text
		}
		if flag, ok := strings.CutPrefix(value, "apiserver."); ok {
			name, v, has := strings.Cut(flag, "=")
			if !has {
				v = "true"
			}
			out.Args = append(out.Args, flags.Arg{Name: flags.Normalize(name), Value: v, Line: above + w.line, Column: w.column})
		}
	}
	return out, nil
}
