package flags

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a minor version of Kubernetes. The zero Version is unknown and
// is taken for Latest.
type Version struct{ Major, Minor int }

var (
	// Oldest is the oldest version whose flags are in the table. Older ones are
	// judged by it.
	Oldest = Version{1, 17}
	// Latest is the newest version whose flags are in the table. Newer ones are
	// judged by it.
	Latest = Version{1, 37}
)

// ParseVersion reads "1.29", "v1.29.3", "v1.29.3+k3s1", "1.29.3-rc.1".
func ParseVersion(s string) (Version, error) {
	major, rest, ok := strings.Cut(strings.TrimPrefix(s, "v"), ".")
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		// GKE and EKS write 1.29+ for the minor version.
		if !strings.ContainsRune(".+-", rune(rest[i])) {
			ok = false
		}
		rest = rest[:i]
	}
	v := Version{}
	var errMajor, errMinor error
	v.Major, errMajor = strconv.Atoi(major)
	v.Minor, errMinor = strconv.Atoi(rest)
	if !ok || errMajor != nil || errMinor != nil || v.Major != 1 {
		return Version{}, fmt.Errorf("parse Kubernetes version %q: want one like 1.29 or v1.29.3", s)
	}
	return v, nil
}

// String is the version as people write it: 1.29.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// IsZero is whether the version is unknown.
func (v Version) IsZero() bool { return v == Version{} }

// Before is whether v is older than w.
func (v Version) Before(w Version) bool {
	return v.Major < w.Major || v.Major == w.Major && v.Minor < w.Minor
}

// known is the version by whose rules v is judged.
func (v Version) known() Version {
	switch {
	case v.IsZero(), Latest.Before(v):
		return Latest
	case v.Before(Oldest):
		return Oldest
	}
	return v
}

// Versions in which something changed, each found by comparing the sources.
var (
	noDynamic   = Version{1, 19} // --audit-dynamic-configuration is gone
	hasCompress = Version{1, 20} // --audit-log-compress is there
	opensAtOnce = Version{1, 22} // the log file is opened at start: a path that cannot be written ends the API server
	onlyV1      = Version{1, 24} // audit.k8s.io/v1alpha1 and v1beta1 are gone
	makesDir    = Version{1, 25} // the log's directory is created
	keepsLess   = Version{1, 36} // maxage 366, maxbackup 100, maxsize 100 by default; maxsize 0 stops rotation
)
