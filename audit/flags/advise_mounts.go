package flags

import (
	"fmt"
	"path"
	"strings"

	"github.com/ktrail/ktrail/audit/finding"
)

// mounts checks that the API server's pod sees the files that the flags name,
// and can rotate its log.
func (a *advisor) mounts() {
	if !a.o.Pod {
		return
	}
	if p := a.s.Log.Path; strings.HasPrefix(p, "/") {
		a.logMount(path.Clean(p))
	}
	if p := a.s.Policy; strings.HasPrefix(p, "/") {
		a.readMount(PolicyFile, "policy", "audit-policy", path.Clean(p))
	}
	if p := a.s.Webhook.ConfigFile; strings.HasPrefix(p, "/") {
		a.readMount(WebhookConfig, "webhook's kubeconfig", "audit-webhook", path.Clean(p))
	}
}

// over is the mount that a path in the pod lies in: the deepest.
func (a *advisor) over(p string) (Mount, bool) {
	best, found := Mount{}, false
	for _, m := range a.o.Mounts {
		at := path.Clean(m.MountPath)
		if (p == at || at == "/" || strings.HasPrefix(p, at+"/")) && (!found || len(at) >= len(path.Clean(best.MountPath))) {
			best, found = m, true
		}
	}
	return best, found
}

func (a *advisor) logMount(p string) {
	m, ok := a.over(p)
	dir := path.Dir(p)
	f := advice{severity: finding.Error, at: LogPath}
	switch {
	case !ok:
		f.name = "log-not-mounted"
		f.message = "the log stays in the container and is gone when it restarts: no mount covers " + dir
		f.reason = "The container's own files end with it, and nobody on the node sees them."
		if a.s.Version.Before(makesDir) {
			f.reason += " Before Kubernetes 1.25 the API server does not make the directory either."
			if !a.s.Version.Before(opensAtOnce) {
				f.reason += " It then does not start."
			}
		}
		f.fix = a.volume("audit-log", dir, false, "DirectoryOrCreate")
	case path.Clean(m.MountPath) == p:
		f.name = "log-file-mounted"
		f.message = "the log cannot be rotated: " + p + " is itself a mount"
		f.reason = "Rotation renames the file, which the kernel refuses for a mount (EBUSY). At the size limit every further event is lost. Mount the directory."
		f.fix = a.volume("audit-log", dir, false, "DirectoryOrCreate")
	case m.ReadOnly:
		f.name = "log-mount-read-only"
		f.message = "the log cannot be written: its mount " + m.MountPath + " is read-only"
		f.reason = dies + "It opens the log at start since Kubernetes " + opensAtOnce.String() + "; before, every event is lost."
		f.fix = "readOnly: false"
	default:
		return
	}
	a.addAt(f, m)
}

// readMount checks a file that the API server reads at start.
func (a *advisor) readMount(flag, what, name, p string) {
	m, ok := a.over(p)
	f := advice{at: flag}
	switch {
	case !ok:
		f.name, f.severity = "policy-not-mounted", finding.Error
		if flag == WebhookConfig {
			f.name = "webhook-not-mounted"
		}
		f.message = "the API server cannot read its " + what + ": no mount covers " + p
		f.reason = dies + "Its pod sees only what is mounted, and kubelet starts it again and again."
		f.fix = a.volume(name, p, true, "File")
	case path.Clean(m.MountPath) == p && strings.HasSuffix(m.Type, "OrCreate"):
		f.name, f.severity = "made-empty", finding.Warning
		f.message = fmt.Sprintf("where %s is missing, kubelet makes an empty one: the mount's type is %s", m.HostPath, m.Type)
		f.reason = "The API server then fails on an empty file or a directory, and the message is about its content. With type File kubelet says that the file is missing."
		f.fix = "type: File"
	case !m.ReadOnly:
		f.name, f.severity = "mount-writable", finding.Note
		f.message = "the mount of the " + what + ", " + m.MountPath + ", is writable for the API server"
		f.reason = "It only reads it. Whoever takes the API server over should not be able to turn auditing off for its next start."
		f.fix = "readOnly: true"
	default:
		return
	}
	a.addAt(f, m)
}

// addAt adds a finding at a mount's line, where it has one.
func (a *advisor) addAt(f advice, m Mount) {
	n := len(a.found)
	a.add(f)
	if m.Line > 0 && len(a.found) > n {
		last := &a.found[n]
		last.Line, last.Column = m.Line, 0
	}
}

// volume is a mount, ready to paste.
func (a *advisor) volume(name, p string, readOnly bool, kind string) string {
	if a.o.ExtraVolumes {
		return fmt.Sprintf("extraVolumes: # under apiServer\n- name: %s\n  hostPath: %s\n  mountPath: %s\n  readOnly: %t\n  pathType: %s", name, quote(p), quote(p), readOnly, kind)
	}
	return fmt.Sprintf("volumeMounts: # under spec.containers[0]\n- name: %s\n  mountPath: %s\n  readOnly: %t\nvolumes: # under spec\n- name: %s\n  hostPath:\n    path: %s\n    type: %s",
		name, quote(p), readOnly, name, quote(p), kind)
}

// quote writes a string for YAML, quoted only where it must be.
func quote(s string) string {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=", r)) {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}
