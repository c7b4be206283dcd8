package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	flagName   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	volumeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// validate reports what no configuration can hold.
func (c Change) validate() error {
	for _, a := range c.Set {
		if !flagName.MatchString(a.Name) {
			return &RefusedError{Msg: fmt.Sprintf("flag name %q: expected a name like audit-log-path, without dashes in front", a.Name)}
		}
		if !printable(a.Value) {
			return &RefusedError{Msg: fmt.Sprintf("--%s=%q: the value has characters that are not printable", a.Name, a.Value)}
		}
	}
	if !printable(c.Stamp) {
		return &RefusedError{Msg: fmt.Sprintf("stamp %q has characters that are not printable", c.Stamp)}
	}
	for _, m := range c.AddMounts {
		if m.Name != "" && !volumeName.MatchString(m.Name) {
			return &RefusedError{Msg: fmt.Sprintf("volume name %q: expected at most 63 lower-case letters, digits and dashes", m.Name)}
		}
		for _, p := range []string{m.MountPath, m.host()} {
			if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || !printable(p) || strings.Contains(p, ":") {
				return &RefusedError{Msg: fmt.Sprintf("mount of %q: expected an absolute path below /, without colons, and nothing like .. in it", p)}
			}
		}
		if !printable(m.Type) {
			return &RefusedError{Msg: fmt.Sprintf("mount of %s: type %q is none of hostPath", m.MountPath, m.Type)}
		}
	}
	return nil
}

func printable(v string) bool {
	return utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) })
}

// host is where a mount that is to be added comes from.
func (m Mount) host() string {
	if m.HostPath == "" {
		return m.MountPath
	}
	return m.HostPath
}

// covers reports whether mounts already show the API server what want would:
// the deepest mount on the way to its path decides. One at that very path that
// shows something else is an error, for a path can be mounted once.
func covers(mounts []Mount, want Mount) (bool, error) {
	var deepest *Mount
	var rest string
	for i, m := range mounts {
		at := path.Clean("/" + m.MountPath)
		below, ok := strings.CutPrefix(want.MountPath+"/", strings.TrimSuffix(at, "/")+"/")
		if ok && (deepest == nil || len(at) >= len(path.Clean("/"+deepest.MountPath))) {
			deepest, rest = &mounts[i], below
		}
	}
	if deepest == nil {
		return false, nil
	}
	shown := deepest.HostPath != "" && path.Join(deepest.HostPath, rest) == want.host()
	switch {
	case shown && (want.ReadOnly || !deepest.ReadOnly):
		return true, nil
	case rest != "":
		return false, nil // a mount inside a mount
	case shown:
		return false, &RefusedError{Line: deepest.Line, Msg: fmt.Sprintf("volume %q mounts %s read-only, and the API server is to write there: remove readOnly or choose another directory", deepest.Name, want.MountPath)}
	case deepest.HostPath == "":
		return false, &RefusedError{Line: deepest.Line, Msg: fmt.Sprintf("volume %q, which is no directory of the host, is mounted at %s: remove it or choose another path", deepest.Name, want.MountPath)}
	}
	return false, &RefusedError{Line: deepest.Line, Msg: fmt.Sprintf("volume %q mounts the host's %s at %s, not %s: remove it or choose another path", deepest.Name, deepest.HostPath, want.MountPath, want.host())}
}

// free is a name for a new volume that none of taken has: the wanted one, one
// made of the path as kubeadm does, or that with a number.
func (m Mount) free(taken []string) string {
	name := m.Name
	if name == "" {
		name = strings.Trim(strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			case r >= 'A' && r <= 'Z':
				return r + 'a' - 'A'
			}
			return '-'
		}, m.MountPath), "-")
	}
	cut := func(n int) string { return strings.Trim(name[:min(len(name), n)], "-") }
	name = cut(63)
	if name == "" {
		name = "audit"
	}
	try := name
	for i := 2; slices.Contains(taken, try); i++ {
		try = cut(63-4) + "-" + strconv.Itoa(i)
	}
	return try
}
