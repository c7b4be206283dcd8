package config

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

// Piece is what turns auditing on, to be printed for a platform.
type Piece struct {
	// Args are all --audit-* flags; Asked are those of them that somebody asked
	// for, which are refused where the platform has no place for them. The others
	// are left out there.
	Args, Asked []flags.Arg
	Policy      []byte
	// PolicyName says where the policy is from.
	PolicyName string
}

// Printable are the kinds that Print knows, in the order of help.
func Printable() []Kind {
	return []Kind{KubeadmConfig, KindCluster, ClusterAPI, Palette, Talos, KOps, Minikube, K3s, RKE2}
}

// Print renders a piece as a platform takes it, with comments that say where it
// goes and how it is applied. Its settings can be read back with Read.
func Print(kind Kind, p Piece) ([]byte, error) {
	w := &printer{Piece: p, kind: kind}
	w.Args = slices.Clone(p.Args)
	w.Policy = []byte(strings.TrimRight(strings.ReplaceAll(string(p.Policy), "\r\n", "\n"), "\n") + "\n")
	if err := w.fit(); err != nil {
		return nil, err
	}
	render := map[Kind]func(*printer) error{
		KubeadmConfig: (*printer).kubeadm, KindCluster: (*printer).kindCluster, ClusterAPI: (*printer).clusterAPI, Palette: (*printer).palette,
		Talos: (*printer).talos, KOps: (*printer).kops, Minikube: (*printer).minikube, K3s: (*printer).rancher, RKE2: (*printer).rancher,
	}[kind]
	if render == nil {
		return nil, fmt.Errorf("print configuration: kind %q cannot be printed", kind)
	}
	if err := render(w); err != nil {
		return nil, err
	}
	return []byte(w.out.String()), nil
}

type printer struct {
	Piece
	kind Kind
	out  strings.Builder
}

func (w *printer) line(format string, a ...any) { fmt.Fprintf(&w.out, format+"\n", a...) }

// note writes comments, a line each.
func (w *printer) note(text string, a ...any) {
	for line := range strings.Lines(fmt.Sprintf(text, a...)) {
		w.line("%s", strings.TrimRight("# "+strings.TrimSuffix(line, "\n"), " "))
	}
}

func (w *printer) value(name string) string {
	a, _ := flags.Last(w.Args, name)
	return a.Value
}

// fit leaves out what the platform has no place for.
func (w *printer) fit() error {
	c := Change{Set: w.Args}
	if err := c.validate(); err != nil {
		return err
	}
	stdout := w.value(flags.LogPath) == "-"
	for _, a := range slices.Clone(w.Args) {
		refusal := ""
		fixed, _ := flags.Last(Defaults(w.kind), a.Name)
		switch {
		case w.kind == Talos && (a.Name == flags.PolicyFile || a.Name == flags.LogPath):
			if a.Value != fixed.Value {
				refusal = "Talos keeps it at " + fixed.Value + " and mounts nothing else"
			}
		case w.kind == KOps && kopsField(a.Name) == "":
			refusal = "kOps' cluster spec has no field for it"
		case stdout && slices.Contains([]string{flags.LogMaxAge, flags.LogMaxBackup, flags.LogMaxSize, flags.LogCompress}, a.Name):
			if _, asked := flags.Last(w.Asked, a.Name); asked {
				continue
			}
			refusal = "the log is standard output"
		default:
			continue
		}
		if _, asked := flags.Last(w.Asked, a.Name); asked && refusal != "" {
			return &RefusedError{Msg: fmt.Sprintf("--%s cannot be set there: %s", a.Name, refusal)}
		}
		if refusal != "" || w.kind == Talos {
			w.Args = slices.DeleteFunc(w.Args, func(b flags.Arg) bool { return b.Name == a.Name })
		}
	}
	return nil
}

func kopsField(flag string) string {
	for _, f := range kopsFields() {
		if f.Flag == flag {
			return f.Field
		}
	}
	return ""
}

// mounts are those that a pod of kubeadm needs.
func (w *printer) mounts() []Mount {
	var out []Mount
	if p := w.value(flags.PolicyFile); p != "" {
		m := Mount{Name: "audit-policy", MountPath: p, ReadOnly: true, Type: "File"}
		// The directory, so that an editor that replaces the file is seen; but never
		// one that has more in it than the API server may see.
		if dir := path.Dir(p); strings.HasPrefix(path.Base(dir), "audit") {
			m.MountPath, m.Type = dir, "DirectoryOrCreate"
		}
		out = append(out, m)
	}
	if log := w.value(flags.LogPath); path.IsAbs(log) {
		out = append(out, Mount{Name: "audit-log", MountPath: path.Dir(log), Type: "DirectoryOrCreate"})
	}
	return out
}

// patched is base with the piece in it.
func (w *printer) patched(kind Kind, base string, mounts []Mount) (string, error) {
	out, err := Patch(kind, []byte(base), Change{Set: w.Args, AddMounts: mounts})
	return string(out), err
}

// document writes the policy as a document of its own.
func (w *printer) document(where string) {
	w.line("---")
	w.note("The audit policy (%s):\n%s", w.PolicyName, where)
	text := strings.TrimPrefix(string(w.Policy), "---\n")
	w.out.WriteString(text)
}

// block writes the policy as a text under a key.
func (w *printer) block(head string, margin int) {
	lines := indented(string(w.Policy), margin+2)
	var back map[string]string
	if yaml.Unmarshal([]byte("content: |\n"+lines), &back) == nil && back["content"] == string(w.Policy) {
		w.line("%scontent: |", head)
		w.out.WriteString(lines)
		return
	}
	w.line("%scontent: %s", head, quote(string(w.Policy)))
}

func indented(text string, margin int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(spaces(margin))
		}
		b.WriteString(line)
	}
	return b.String()
}

// inYAML is the policy as YAML that can stand inside other YAML: as it is where
// that says the same, else written anew.
func (w *printer) inYAML(margin int) (string, error) {
	var want, got any
	if err := yaml.Unmarshal(w.Policy, &want); err != nil {
		return "", &RefusedError{Msg: fmt.Sprintf("the policy is not valid YAML: %v", err)}
	}
	as := indented(string(w.Policy), margin)
	var outer struct{ K any }
	if yaml.Unmarshal([]byte("k:\n"+as), &outer) == nil {
		got = outer.K
	}
	if reflect.DeepEqual(want, got) {
		return as, nil
	}
	data, err := yaml.Marshal(want)
	if err != nil {
		return "", fmt.Errorf("encode policy: %w", err)
	}
	return indented(string(data), margin), nil
}

// scalar is a text as YAML has it.
func scalarOf(v string) string {
	s := &source{}
	return s.scalarText(text(v), false)
}

func (w *printer) kubeadm() error {
	w.note(`Audit logging for kubeadm (v1beta4, Kubernetes 1.31 and later).

1. On every control-plane node, as root, put the second document below, the
   policy, into
   %s.
2. A new cluster: add the first document to what kubeadm init --config reads.
   A cluster that runs: add it to the ClusterConfiguration that
   kubectl -n kube-system edit configmap kubeadm-config
   shows, and then, on one control-plane node after the other:
   kubectl -n kube-system get configmap kubeadm-config \
     -o jsonpath='{.data.ClusterConfiguration}' > /root/kubeadm.yaml
   kubeadm init phase control-plane apiserver --config /root/kubeadm.yaml

ktrail enable does all of it on the node, and undoes it where it fails.`, w.value(flags.PolicyFile))
	text, err := w.patched(KubeadmConfig, "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n", w.mounts())
	if err != nil {
		return err
	}
	w.out.WriteString(text)
	w.document("put it into " + w.value(flags.PolicyFile))
	return nil
}

func (w *printer) kindCluster() error {
	const local = "audit-policy.yaml"
	w.note(`Audit logging for kind (Kubernetes in Docker). Only a new cluster takes it.

1. Put the second document below, the policy, into ./%s.
2. kind create cluster --config FILE, with the first document in FILE.
The log is in ./audit-log on this machine.`, local)
	w.line("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n  extraMounts:")
	w.line("  - hostPath: ./%s\n    containerPath: %s\n    readOnly: true", local, scalarOf(w.value(flags.PolicyFile)))
	if log := w.value(flags.LogPath); path.IsAbs(log) {
		w.line("  - hostPath: ./audit-log\n    containerPath: %s", scalarOf(path.Dir(log)))
	}
	// Without apiVersion kind merges it into any version of kubeadm's, and takes a
	// mapping for all (pkg/internal/patch/kubeadm_merge.go).
	text, err := w.patched(KubeadmConfig, "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n", w.mounts())
	if err != nil {
		return err
	}
	_, text, _ = strings.Cut(text, "\n")
	w.line("  kubeadmConfigPatches:\n  - |")
	w.out.WriteString(indented(text, 4))
	w.document("put it into ./" + local)
	return nil
}

// apiServer is kubeadm's apiServer in a version, at a margin.
func (w *printer) apiServer(version string, margin int) (string, error) {
	text, err := w.patched(KubeadmConfig, "apiVersion: kubeadm.k8s.io/"+version+"\nkind: ClusterConfiguration\n", w.mounts())
	if err != nil {
		return "", err
	}
	_, api, _ := strings.Cut(text, "kind: ClusterConfiguration\n")
	return indented(api, margin), nil
}

func (w *printer) clusterAPI() error {
	w.note(`Audit logging for Cluster API (v1beta2), with the kubeadm control plane.

Merge it into your KubeadmControlPlane (in a ClusterClass: under
spec.template.spec of its KubeadmControlPlaneTemplate), where your cluster is
declared, or with
  kubectl edit kubeadmcontrolplane NAME
Add to the lists that are there: a merge patch would replace them. The control
plane's machines are then replaced, one after the other.`)
	api, err := w.apiServer("v1beta4", 6)
	if err != nil {
		return err
	}
	w.line("apiVersion: controlplane.cluster.x-k8s.io/v1beta2\nkind: KubeadmControlPlane\nspec:\n  kubeadmConfigSpec:\n    clusterConfiguration:")
	w.out.WriteString(api)
	w.line("    files:\n    # The audit policy (%s).\n    - path: %s\n      owner: root:root\n      permissions: \"0600\"", w.PolicyName, scalarOf(w.value(flags.PolicyFile)))
	w.block("      ", 6)
	return nil
}

func (w *printer) palette() error {
	w.note(`Audit logging for Palette (Spectro Cloud): values of the Kubernetes pack.

Merge it into the values of the cluster profile's Kubernetes layer. The pack
has audit settings of its own under kubeadmconfig: replace its audit-* lines,
and its volumes audit-log and audit-policy, with these.
Clusters take the new version of the profile when they are updated to it, and
their control-plane nodes are then replaced, one after the other.`)
	api, err := w.apiServer("v1beta3", 2)
	if err != nil {
		return err
	}
	w.line("kubeadmconfig:")
	w.out.WriteString(api)
	w.line("  files:\n  # The audit policy (%s).\n  - targetPath: %s\n    targetOwner: \"root:root\"\n    targetPermissions: \"0600\"", w.PolicyName, scalarOf(w.value(flags.PolicyFile)))
	w.block("    ", 4)
	return nil
}

func (w *printer) talos() error {
	w.note(`Audit logging for Talos: a patch of the control plane's machine config.

  talosctl patch machineconfig --nodes IP,... --patch @FILE
The API server restarts. Talos records without this, too: the metadata of all.
The log: talosctl --nodes IP read %s`, talosLog)
	policy, err := w.inYAML(6)
	if err != nil {
		return err
	}
	w.line("cluster:\n  apiServer:\n    # The audit policy (%s).\n    auditPolicy:", w.PolicyName)
	w.out.WriteString(policy)
	if len(w.Args) > 0 {
		w.line("    extraArgs:")
	}
	for _, a := range w.Args {
		w.line("      %s: %s", a.Name, scalarOf(a.Value))
	}
	return nil
}

func (w *printer) kops() error {
	w.note(`Audit logging for kOps.

Merge it into the cluster's spec, with the rest of your cluster:
  kops edit cluster NAME
  kops update cluster NAME --yes
  kops rolling-update cluster NAME --instance-group-roles control-plane --yes
kOps has no field for the compression of the log, nor for its mode.`)
	w.line("apiVersion: kops.k8s.io/v1alpha2\nkind: Cluster\nspec:\n  kubeAPIServer:")
	for _, f := range kopsFields() {
		if a, ok := flags.Last(w.Args, f.Flag); ok {
			value := a.Value
			if known, _ := flags.Lookup(f.Flag); known.Type == flags.String {
				value = scalarOf(value)
			}
			w.line("    %s: %s", f.Field, value)
		}
	}
	w.line("  fileAssets:\n  # The audit policy (%s).\n  - name: audit-policy\n    path: %s", w.PolicyName, scalarOf(w.value(flags.PolicyFile)))
	w.block("    ", 4)
	return nil
}

func (w *printer) minikube() error {
	const dir = "~/.minikube/files"
	end := "POLICY"
	for strings.Contains("\n"+string(w.Policy), "\n"+end+"\n") {
		end += "_"
	}
	file := w.value(flags.PolicyFile)
	w.note(`Audit logging for minikube: a script for sh. Only a new cluster takes it, or
one that is stopped (minikube stop).`)
	if w.value(flags.LogPath) == "-" {
		w.note(`The log is in the pod's own:
  kubectl -n kube-system logs kube-apiserver-minikube | grep audit.k8s.io/v1
minikube mounts no directory for one.`)
	}
	w.line("mkdir -p %s%s", dir, shellWord(path.Dir(file)))
	w.note("The audit policy (%s).", w.PolicyName)
	w.line("cat > %s%s <<'%s'", dir, shellWord(file), end)
	w.out.Write(w.Policy)
	w.line("%s", end)
	w.out.WriteString("minikube start")
	for _, a := range w.Args {
		w.out.WriteString(" \\\n  " + shellWord("--extra-config=apiserver."+a.Name+"="+a.Value))
	}
	w.line("")
	return nil
}

// shellWord quotes a word for sh, if it must.
func shellWord(v string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:,", r)
	}
	if v != "" && !strings.ContainsFunc(v, func(r rune) bool { return !plain(r) }) {
		return v
	}
	return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
}

func (w *printer) rancher() error {
	name, unit, dir := "k3s", "k3s", "/etc/rancher/k3s"
	if w.kind == RKE2 {
		name, unit, dir = "RKE2", "rke2-server", "/etc/rancher/rke2"
	}
	w.note(`Audit logging for %s. On every server, as root:

1. Put the second document below, the policy, into
   %s.`, name, w.value(flags.PolicyFile))
	if log := w.value(flags.LogPath); path.IsAbs(log) && w.kind == K3s {
		w.note("   mkdir -p -m 0700 %s", path.Dir(log))
	}
	w.note(`2. Merge the first document into %s/config.yaml; a file of
   %s/config.yaml.d replaces the list unless its key ends
   in +.
3. systemctl restart %s

ktrail enable does all of it on the server, and undoes it where it fails.`, dir, dir, unit)
	text, err := w.patched(w.kind, "", nil)
	if err != nil {
		return err
	}
	w.out.WriteString(text)
	w.document("put it into " + w.value(flags.PolicyFile))
	return nil
}
