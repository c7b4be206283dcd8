package node

import "github.com/ktrail/ktrail/internal/diff"

// Diff is the file's change as a unified diff with three lines of context.
func (f *File) Diff() string {
	from := f.Path
	if !f.Exists {
		from = "/dev/null"
	}
	return diff.Unified(from, f.Path, string(f.Old), string(f.New))
}

// Diff is the change of kubeadm-config as a unified diff.
func (c *Cluster) Diff() string {
	const name = "configmap/kubeadm-config"
	return diff.Unified(name, name, string(c.Old), string(c.New))
}
