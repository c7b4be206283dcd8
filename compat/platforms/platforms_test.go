package platforms

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	kindv1 "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"

	yamlv3 "go.yaml.in/yaml/v3"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	kubeadmv1 "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4"

	"github.com/ktrail/ktrail/audit/flags"
)

// printed are the documents of what ktrail enable --print gives for a platform:
// the goldens that internal/node/config holds itself to.
func printed(t *testing.T, platform string) [][]byte {
	t.Helper()
	data, err := os.ReadFile("../../internal/node/config/testdata/print-" + platform + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(data, []byte("\n---\n"))
}

func strict(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}

// recommended is that each flag that ktrail recommends is there with its value.
func recommended(t *testing.T, got map[string]string) {
	t.Helper()
	all := flags.Recommended(flags.Version{})
	for _, c := range all {
		if got[c.Name] != c.Value {
			t.Errorf("--%s is %q, want %q", c.Name, got[c.Name], c.Value)
		}
	}
	if len(got) != len(all) {
		t.Errorf("%d flags, want %d: %v", len(got), len(all), got)
	}
}

func auditPolicy(t *testing.T, data []byte) {
	t.Helper()
	var p auditv1.Policy
	strict(t, data, &p)
	if p.Kind != "Policy" || len(p.Rules) != 2 || p.Rules[0].Level != auditv1.LevelRequest {
		t.Errorf("policy %+v", p)
	}
}

// TestPrintedForKubeadm decodes it as strictly as kubeadm validates its files.
func TestPrintedForKubeadm(t *testing.T) {
	docs := printed(t, "kubeadm")
	var c kubeadmv1.ClusterConfiguration
	strict(t, docs[0], &c)
	if c.APIVersion != kubeadmv1.SchemeGroupVersion.String() || c.Kind != "ClusterConfiguration" {
		t.Errorf("is %s, %s", c.APIVersion, c.Kind)
	}
	got := map[string]string{}
	for _, a := range c.APIServer.ExtraArgs {
		got[a.Name] = a.Value
	}
	recommended(t, got)
	seen := map[string]bool{}
	for _, v := range c.APIServer.ExtraVolumes {
		seen[v.MountPath] = v.HostPath == v.MountPath && v.ReadOnly == (v.Name == "audit-policy")
	}
	if !seen["/etc/kubernetes/audit"] || !seen["/var/log/kubernetes/audit"] {
		t.Errorf("volumes %+v", c.APIServer.ExtraVolumes)
	}
	auditPolicy(t, docs[1])
}

func TestPrintedForClusterAPI(t *testing.T) {
	docs := printed(t, "capi")
	var c controlplanev1.KubeadmControlPlane
	strict(t, docs[0], &c)
	if c.APIVersion != controlplanev1.GroupVersion.String() || c.Kind != "KubeadmControlPlane" {
		t.Errorf("is %s, %s", c.APIVersion, c.Kind)
	}
	spec := c.Spec.KubeadmConfigSpec
	got := map[string]string{}
	for _, a := range spec.ClusterConfiguration.APIServer.ExtraArgs {
		got[a.Name] = *a.Value
	}
	recommended(t, got)
	if len(spec.ClusterConfiguration.APIServer.ExtraVolumes) != 2 {
		t.Errorf("volumes %+v", spec.ClusterConfiguration.APIServer.ExtraVolumes)
	}
	want := bootstrapv1.File{Path: flags.DefaultPolicyFile, Owner: "root:root", Permissions: "0600"}
	if len(spec.Files) != 1 {
		t.Fatalf("files %+v", spec.Files)
	}
	f := spec.Files[0]
	auditPolicy(t, []byte(f.Content))
	if f.Content = ""; f.Path != want.Path || f.Owner != want.Owner || f.Permissions != want.Permissions {
		t.Errorf("file %+v, want %+v", f, want)
	}
}

// TestPrintedForKind decodes it as kind does: the first document, no unknown field.
func TestPrintedForKind(t *testing.T) {
	docs := printed(t, "kind")
	var c kindv1.Cluster
	d := yamlv3.NewDecoder(bytes.NewReader(docs[0]))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		t.Errorf("there is more: %v", err)
	}
	if len(c.Nodes) != 1 || c.Nodes[0].Role != kindv1.ControlPlaneRole || len(c.Nodes[0].ExtraMounts) != 2 || len(c.Nodes[0].KubeadmConfigPatches) != 1 {
		t.Fatalf("nodes %+v", c.Nodes)
	}
	var patch struct {
		Kind      string `json:"kind"`
		APIServer struct {
			ExtraArgs    map[string]string         `json:"extraArgs"`
			ExtraVolumes []kubeadmv1.HostPathMount `json:"extraVolumes"`
		} `json:"apiServer"`
	}
	strict(t, []byte(c.Nodes[0].KubeadmConfigPatches[0]), &patch)
	recommended(t, patch.APIServer.ExtraArgs)
	// What the pod mounts of the node is what the node mounts of this machine.
	for _, m := range c.Nodes[0].ExtraMounts {
		found := false
		for _, v := range patch.APIServer.ExtraVolumes {
			found = found || strings.HasPrefix(m.ContainerPath+"/", v.HostPath+"/")
		}
		if !found {
			t.Errorf("no volume of the pod shows %s", m.ContainerPath)
		}
	}
	auditPolicy(t, docs[1])
}
