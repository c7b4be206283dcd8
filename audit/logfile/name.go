package logfile

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// Rotated is the name of a rotated file taken apart.
type Rotated struct {
	// Live is the name of the log that it was rotated from.
	Live string
	// Time is when it was rotated as its name has it, 0 if the name has none.
	Time audit.Time
	// Number is the N of logrotate's "audit.log.N": higher is older.
	Number int
	// Compressed is whether the name ends in .gz or .zst.
	Compressed bool
}

// stampLayout is the API server's, from gopkg.in/natefinch/lumberjack.v2, in UTC.
const stampLayout = "2006-01-02T15-04-05.000"

var (
	stampName  = regexp.MustCompile(`^(.+)-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})(\.[^.]+)?$`)
	numberName = regexp.MustCompile(`^(.+)\.(\d{1,6})$`)
	dateName   = regexp.MustCompile(`^(.+)-(\d{8})(?:-(\d{1,10}))?$`)
)

// ParseRotated takes a file name (no directory) apart: the API server's
// "audit-2026-11-22T19-53-12.289.log", and logrotate's "audit.log.1" and
// "audit.log-20261122", each also with .gz or .zst.
func ParseRotated(name string) (Rotated, bool) {
	var r Rotated
	for _, ext := range []string{".gz", ".zst"} {
		if plain, ok := strings.CutSuffix(name, ext); ok {
			name, r.Compressed = plain, true
			break
		}
	}
	if m := stampName.FindStringSubmatch(name); m != nil {
		if t, err := time.Parse(stampLayout, m[2]); err == nil {
			r.Live, r.Time = m[1]+m[3], audit.TimeOf(t)
			return r, true
		}
	}
	if m := dateName.FindStringSubmatch(name); m != nil {
		if t, err := time.Parse("20060102", m[2]); err == nil {
			n, _ := strconv.Atoi("0" + m[3])
			r.Live, r.Time = m[1], audit.TimeOf(t)+audit.Time(n) // n only orders files of one day
			return r, true
		}
	}
	if m := numberName.FindStringSubmatch(name); m != nil {
		n, err := strconv.Atoi(m[2])
		if err == nil {
			r.Live, r.Number = m[1], n
			return r, true
		}
	}
	return Rotated{}, false
}

// Live returns the path of the log that the file at path belongs to: path itself,
// unless its name is that of a rotated file.
func Live(path string) string {
	if r, ok := ParseRotated(filepath.Base(path)); ok {
		return filepath.Join(filepath.Dir(path), r.Live)
	}
	return path
}

// LogLike reports whether a file of this name is likely to hold audit events: it
// ends in .log, .json, .jsonl or .ndjson, compressed or not, or is a rotated one.
func LogLike(name string) bool {
	if r, ok := ParseRotated(name); ok {
		name = r.Live
		if r.Time != 0 || r.Number != 0 {
			return true
		}
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".log", ".json", ".jsonl", ".ndjson":
		return true
	}
	return false
}
