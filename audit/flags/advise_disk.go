package flags

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ktrail/ktrail/audit/finding"
)

const (
	megabyte = 1 << 20 // of --audit-log-maxsize (lumberjack)
	// shrinks is how many times gzip shrinks a log, with room to spare: 15.6
	// measured on 25 MB of a kubeadm control plane's log.
	shrinks = 10
	month   = 30 * 24 * time.Hour
)

// wants are the CIS benchmark's values, which the DISA STIG shares.
var wants = []struct {
	flag, unit, what string
	least            int
}{
	{LogMaxAge, "days", "rotated files are removed", 30},
	{LogMaxBackup, "files", "rotated files are kept", 10},
	{LogMaxSize, "MB", "the log is rotated", 100},
}

// retention is how long the log is kept, and on how much disk.
func (a *advisor) retention() {
	if !a.s.Log.On() || a.s.Log.Path == "-" {
		return
	}
	a.benchmark()
	if a.rotation() {
		a.disk()
	}
}

func (a *advisor) benchmark() {
	values := map[string]int{LogMaxAge: a.s.Log.MaxAge, LogMaxBackup: a.s.Log.MaxFiles, LogMaxSize: a.s.Log.MaxSize}
	const scanned = "kube-bench and the STIG look for the flag, not for what the API server does."
	for _, w := range wants {
		n := values[w.flag]
		switch {
		case n > 0 && n < w.least:
			a.add(advice{
				name: "retention-cis", severity: finding.Warning, at: w.flag,
				message: fmt.Sprintf("--%s is %d %s, below the %d that CIS asks for", w.flag, n, w.unit, w.least),
				reason:  "CIS Kubernetes Benchmark, section 1.2, and the DISA STIG (CNTR-K8-003290, -003300, -003310): intrusions are found weeks later.",
				set:     []Arg{{Name: w.flag, Value: strconv.Itoa(w.least)}},
			})
		case n > 0 && !a.given(w.flag):
			a.add(advice{
				name: "retention-cis", severity: finding.Note, at: LogPath,
				message: fmt.Sprintf("--%s is not given: CIS and STIG scanners count it as missing, though the default is %d %s", w.flag, n, w.unit),
				reason:  scanned + " The default came with Kubernetes 1.36.",
				fix:     fmt.Sprintf("--%s=%d", w.flag, n),
			})
		case n == 0 && (w.flag == LogMaxAge || w.flag == LogMaxSize && !a.given(w.flag)): // the others are no-rotation and unbounded-disk
			f := advice{
				name: "retention-cis", severity: finding.Note, at: w.flag,
				message: fmt.Sprintf("--%s is 0: CIS and STIG scanners ask for %d, though 0 keeps files for ever", w.flag, w.least),
				reason:  scanned,
				fix:     fmt.Sprintf("--%s=%d", w.flag, w.least),
			}
			if w.flag == LogMaxSize {
				f.message = fmt.Sprintf("--%s is not given: CIS and STIG scanners count it as missing, though the log is rotated at 100 MB", w.flag)
			} else if !a.given(w.flag) {
				f.message = fmt.Sprintf("--%s is not given: CIS and STIG scanners count it as missing, though files are kept for ever without it", w.flag)
			}
			a.add(f)
		}
	}
}

// rotation is whether the log is rotated and old files are removed in the end.
func (a *advisor) rotation() bool {
	v := a.s.Version
	at := a.s.Log.RotateAt(v)
	if a.s.Log.MaxSize == 0 && a.given(LogMaxSize) || at <= 0 {
		f := advice{
			name: "no-rotation", severity: finding.Warning, at: LogMaxSize,
			message: "the log is never rotated and grows until the disk is full",
			reason:  "--" + LogMaxSize + "=0 stops rotation since Kubernetes 1.36; before, it meant 100 MB " + optionsSource + ". Without rotation age and count remove nothing.",
			set:     []Arg{{Name: LogMaxSize, Value: "100"}},
		}
		if at > 0 {
			f.message = "the upgrade to Kubernetes 1.36 will stop the rotation of this log"
		}
		a.add(f)
		if at <= 0 {
			return false
		}
	}
	if a.s.Log.MaxFiles > 0 {
		return true
	}
	set := []Arg{{Name: LogMaxBackup, Value: "10"}}
	if n := a.filesFor(month); n > 10 {
		if more := a.more(n); more != nil {
			set = more
		}
	}
	f := advice{
		name: "unbounded-disk", severity: finding.Warning, at: LogMaxBackup,
		message: "nothing limits the disk that rotated logs take",
		reason:  "--" + LogMaxBackup + " is 0, so every rotated file is kept",
	}
	if a.s.Log.MaxAge > 0 {
		f.reason += fmt.Sprintf(" for %d days, however many there are", a.s.Log.MaxAge)
		if b := a.bytesPerSecond(); b > 0 {
			f.reason += ": " + size(b*float64(a.s.Log.MaxAge)*86400) + " at this rate"
		}
	} else {
		f.reason += " for ever"
		if !a.given(LogMaxAge) {
			set = append(set, Arg{Name: LogMaxAge, Value: "30"})
		}
	}
	if !a.given(LogMaxBackup) {
		f.reason += ". That is the default before Kubernetes 1.36"
	}
	f.reason += ". Whoever may call the API can fill the disk of the control plane."
	if !a.given(LogMaxSize) {
		set = append(set, Arg{Name: LogMaxSize, Value: "100"})
	}
	f.set = set
	a.add(f)
	return false
}

// bytesPerSecond is what the log grows by, 0 if it is not known.
func (a *advisor) bytesPerSecond() float64 {
	return a.o.Rate.PerSecond * float64(a.o.Rate.eventBytes())
}

// filesFor is how many rotated files a time takes, 0 if it is not known.
func (a *advisor) filesFor(t time.Duration) int {
	at := a.s.Log.RotateAt(a.s.Version)
	if at == 0 {
		at = 100
	}
	return int(min(math.Ceil(a.bytesPerSecond()*t.Seconds()/float64(at*megabyte)), 1e9))
}

// need is the disk that the log takes at most: the file that is written, one
// that is being compressed, and the others.
func (a *advisor) need(files int, compressed bool) float64 {
	one := float64(a.s.Log.RotateAt(a.s.Version)) * megabyte
	if !compressed {
		return one * float64(files+1)
	}
	return one * (2 + float64(files)/shrinks)
}

const (
	// room is the part of the free disk that a log may take.
	room = 0.8
	// plenty is the most that is advised where the free disk is not known.
	plenty = 100e9
)

func (a *advisor) fits(bytes float64) bool {
	return a.o.FreeBytes == 0 || bytes <= room*float64(a.o.FreeBytes)
}

// mayGrow is whether so much can be advised.
func (a *advisor) mayGrow(bytes float64) bool {
	return a.fits(bytes) && (a.o.FreeBytes > 0 || bytes <= plenty)
}

func (a *advisor) disk() {
	v, files := a.s.Version, a.s.Log.MaxFiles
	may := !v.Before(hasCompress)
	plain, small := a.need(files, false), a.need(files, true)
	need := plain
	if a.s.Log.Compress {
		need = small
	}
	if !a.fits(need) {
		a.full(files, need, small, may)
		return
	}
	f := advice{
		name: "disk-use", severity: finding.Note, at: LogMaxBackup,
		message: fmt.Sprintf("the log takes at most %s of disk: %d files of %s MB", size(plain), files+1, number(a.s.Log.RotateAt(v))),
		reason:  "Compressed it is about " + size(small) + "; gzip shrinks such logs to a tenth or less (15 times measured).",
	}
	switch {
	case a.s.Log.Compress:
		f.message = fmt.Sprintf("the log takes about %s of disk: %d files of %s MB, the rotated ones compressed", size(small), files+1, number(a.s.Log.RotateAt(v)))
		f.reason = "Uncompressed it would be " + size(plain) + "; gzip shrinks such logs to a tenth or less (15 times measured)."
	case may:
		f.fix = "--" + LogCompress + "=true"
	}
	a.add(f)
	a.short()
}

func (a *advisor) full(files int, need, small float64, may bool) {
	f := advice{
		name: "disk-full", severity: finding.Warning, at: LogMaxBackup,
		message: fmt.Sprintf("the log may take %s, and the disk has %s free", size(need), size(a.o.FreeBytes)),
		reason:  "On a full disk events are lost, in every mode but blocking-strict without a word to the client, and etcd may stop if it shares the disk. ktrail counts on 80 % of what is free.",
	}
	one := float64(a.s.Log.RotateAt(a.s.Version)) * megabyte
	fewer := int(room*float64(a.o.FreeBytes)/one) - 1
	if a.s.Log.Compress {
		fewer = int((room*float64(a.o.FreeBytes)/one - 2) * shrinks)
	}
	switch {
	case may && !a.s.Log.Compress && a.fits(small):
		f.set = []Arg{{Name: LogCompress, Value: "true"}}
	case fewer >= 10:
		f.set = []Arg{{Name: LogMaxBackup, Value: strconv.Itoa(min(fewer, files))}}
	default:
		f.fix = "give the log a larger disk, or collect it with ktrail serve"
	}
	a.add(f)
}

// short finds a log that is full before its time.
func (a *advisor) short() {
	perSecond := a.bytesPerSecond()
	if perSecond == 0 {
		return
	}
	want := month
	if a.s.Log.MaxAge > 0 {
		want = min(want, time.Duration(min(a.s.Log.MaxAge, 30))*24*time.Hour)
	}
	holds := time.Duration(min(a.need(a.s.Log.MaxFiles, false)/perSecond, month.Seconds()*100)) * time.Second
	if holds >= want {
		return
	}
	f := advice{
		name: "retention-short", severity: finding.Warning, at: LogMaxBackup,
		message: fmt.Sprintf("the log holds %s, not %s", period(holds), period(want)),
		reason: fmt.Sprintf("%s events a second of %s are %s a day, and the oldest of %d files of %s MB goes first, whatever its age.",
			number(math.Ceil(a.o.Rate.PerSecond)), size(a.o.Rate.eventBytes()), size(perSecond*86400), a.s.Log.MaxFiles+1, number(a.s.Log.RotateAt(a.s.Version))),
	}
	files := a.filesFor(want)
	if f.set = a.more(files); f.set == nil {
		f.fix = fmt.Sprintf("collect it with ktrail serve before it goes: %s are %s on disk", period(want), size(a.need(files, !a.s.Version.Before(hasCompress))))
	}
	a.add(f)
}

// more are the flags to keep so many rotated files, compressed if only so they
// fit; nil if they do not.
func (a *advisor) more(files int) []Arg {
	keep := Arg{Name: LogMaxBackup, Value: strconv.Itoa(files)}
	switch {
	case a.mayGrow(a.need(files, a.s.Log.Compress)):
		return []Arg{keep}
	case !a.s.Version.Before(hasCompress) && a.mayGrow(a.need(files, true)):
		return []Arg{keep, {Name: LogCompress, Value: "true"}}
	}
	return nil
}

// period writes a time in the unit that says enough.
func period(d time.Duration) string {
	for _, u := range []struct {
		at   time.Duration
		word string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*u.at || d >= u.at && d%u.at == 0 {
			n := int64(d / u.at)
			if n == 1 {
				return "1 " + u.word
			}
			return number(n) + " " + u.word + "s"
		}
	}
	return fmt.Sprintf("%d seconds", int64(d/time.Second))
}
