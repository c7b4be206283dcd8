package flags

import (
	"fmt"
	"strconv"
	"time"
)

// The modes of a back end.
const (
	Batch          = "batch"
	Blocking       = "blocking"
	BlockingStrict = "blocking-strict"
)

// Settings are the values that count: of each flag the last one, or its default.
type Settings struct {
	Version Version // by which the defaults were taken
	Policy  string  // --audit-policy-file
	Log     Log
	Webhook Webhook
}

// Log is the log back end.
type Log struct {
	Path     string // "" is no log, "-" standard output
	MaxAge   int    // days, 0 for ever
	MaxFiles int    // rotated files, 0 for all
	MaxSize  int    // MB, 0 as --audit-log-maxsize has it in the version
	Format   string
	Compress bool
	Backend
}

// Webhook is the webhook back end.
type Webhook struct {
	ConfigFile string // "" is no webhook
	Backoff    time.Duration
	Backend
}

// Backend is what both back ends have.
type Backend struct {
	GroupVersion string
	Mode         string
	BufferSize   int // events
	BatchSize    int // events
	BatchWait    time.Duration
	Throttle     bool
	QPS          float32 // batches a second
	Burst        int     // batches
	Truncate     bool
	MaxEventSize int64 // bytes
	MaxBatchSize int64 // bytes
}

// On is whether the log is written at all.
func (l Log) On() bool { return l.Path != "" }

// RotateAt is the size in MB at which the log is rotated in version v, 0 if it never is.
func (l Log) RotateAt(v Version) int {
	if l.Path == "-" {
		return 0
	}
	if l.MaxSize == 0 && v.known().Before(keepsLess) {
		return 100 // lumberjack's own default
	}
	return l.MaxSize
}

// On is whether the webhook is called at all.
func (w Webhook) On() bool { return w.ConfigFile != "" }

// Refusal is a flag for which the API server does not start.
type Refusal struct {
	// Arg is the flag, with its default where it is not given.
	Arg Arg
	// Reason says what is wrong, as a sentence without the flag's name.
	Reason string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("--%s=%s: %s", r.Arg.Name, r.Arg.Value, r.Reason)
}

// Read takes the settings of a version out of args. What cannot be read, or
// is no flag of the version, comes back as a refusal; the setting is then the default.
// As with the API server, every occurrence of a flag must be readable.
func Read(args []Arg, v Version) (Settings, []*Refusal) {
	v = v.known()
	r := reader{version: v, args: args, table: byName()}
	for _, a := range Audit(args) {
		f, ok := r.table[a.Name]
		switch {
		case !ok:
			r.refuse(a, "there is no such flag")
		case !f.In(v):
			r.refuse(a, "Kubernetes "+v.String()+" does not have this flag")
		default:
			if err := readable(f.Type, a.Value); err != nil {
				r.refuse(a, "must be "+article(f.Type))
			}
		}
	}
	s := Settings{
		Version: v,
		Policy:  r.text(PolicyFile),
		Log: Log{
			Path: r.text(LogPath), MaxAge: r.int(LogMaxAge), MaxFiles: r.int(LogMaxBackup), MaxSize: r.int(LogMaxSize),
			Format: r.text(LogFormat), Compress: r.bool(LogCompress),
			Backend: r.backend(LogPrefix),
		},
		Webhook: Webhook{ConfigFile: r.text(WebhookConfig), Backoff: r.backoff(), Backend: r.backend(WebhookPrefix)},
	}
	return s, r.refusals
}

func article(t Type) string {
	switch t {
	case Int, Int64:
		return "a whole number"
	case Float32:
		return "a number"
	case Duration:
		return "a duration such as 5s or 100ms"
	}
	return "true or false"
}

// readable is whether pflag takes a value for a type.
func readable(t Type, value string) error {
	var err error
	switch t {
	case Int, Int64:
		_, err = strconv.ParseInt(value, 0, 64)
	case Float32:
		_, err = strconv.ParseFloat(value, 32)
	case Bool:
		_, err = strconv.ParseBool(value)
	case Duration:
		_, err = time.ParseDuration(value)
	}
	return err
}

type reader struct {
	version  Version
	args     []Arg
	table    map[string]Flag
	refusals []*Refusal
}

func (r *reader) refuse(a Arg, reason string) {
	r.refusals = append(r.refusals, &Refusal{Arg: a, Reason: reason})
}

// text is a flag's value if it is given and readable, otherwise its default.
func (r *reader) text(name string) string {
	f := r.table[name]
	if a, ok := Last(r.args, name); ok && f.In(r.version) && readable(f.Type, a.Value) == nil {
		return a.Value
	}
	return f.Default(r.version)
}

// The parsers cannot fail: text returns only what readable accepts.

func (r *reader) int(name string) int { return int(r.int64(name)) }

func (r *reader) int64(name string) int64 {
	n, _ := strconv.ParseInt(r.text(name), 0, 64)
	return n
}

func (r *reader) bool(name string) bool {
	b, _ := strconv.ParseBool(r.text(name))
	return b
}

func (r *reader) duration(name string) time.Duration {
	d, _ := time.ParseDuration(r.text(name))
	return d
}

func (r *reader) float32(name string) float32 {
	f, _ := strconv.ParseFloat(r.text(name), 32)
	return float32(f)
}

// backoff has two flags for one setting: the last of either counts.
func (r *reader) backoff() time.Duration {
	for i := len(r.args) - 1; i >= 0; i-- {
		if name := Normalize(r.args[i].Name); name == Backoff || name == oldBackoff {
			return r.duration(name)
		}
	}
	return r.duration(Backoff)
}

func (r *reader) backend(prefix string) Backend {
	return Backend{
		GroupVersion: r.text(prefix + GroupVersion),
		Mode:         r.text(prefix + Mode),
		BufferSize:   r.int(prefix + BufferSize),
		BatchSize:    r.int(prefix + BatchSize),
		BatchWait:    r.duration(prefix + BatchWait),
		Throttle:     r.bool(prefix + ThrottleEnable),
		QPS:          r.float32(prefix + ThrottleQPS),
		Burst:        r.int(prefix + ThrottleBurst),
		Truncate:     r.bool(prefix + Truncate),
		MaxEventSize: r.int64(prefix + MaxEventSize),
		MaxBatchSize: r.int64(prefix + MaxBatchSize),
	}
}
