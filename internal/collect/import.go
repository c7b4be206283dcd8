package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ktrail/ktrail/audit/logfile"
)

// ImportOptions say what to import.
type ImportOptions struct {
	Appender Appender
	// Logger gets what is skipped; nil for none.
	Logger *slog.Logger
	// Inputs are files, directories, of which all files below are taken whose
	// names logfile.LogLike accepts, and "-" for Stdin.
	Inputs []string
	Stdin  io.Reader
	// Cluster is set in each event, and Source; "" is "import:" and the file's name.
	Cluster, Source string
	// Workers is how many files are read at once; 0 is 2.
	Workers int
	// MaxBytes bounds what all workers hold; 0 is 128 MiB. MaxLine is the longest
	// event; 0 is 64 MiB. More than half of MaxBytes cannot be.
	MaxBytes int64
	MaxLine  int
	// Progress is called after each commit, never by two at once. May be nil.
	Progress func(Progress)
}

// Progress is how far an import is. Bytes are those of the inputs, compressed if
// they are; of a stream the size is not known.
type Progress struct {
	Files, FilesDone  int
	Bytes, BytesTotal int64
	Events            int64 // stored or found to be stored
}

// Summary counts what an import did.
type Summary struct {
	Files       int
	Bytes       int64 // uncompressed
	Events      int64 // added
	Duplicates  int64 // were stored already
	Quarantined int64
	// OldVersion counts events of audit.k8s.io/v1beta1 or v1alpha1, duplicates too:
	// what v1 has and they have not is empty.
	OldVersion int64
	// Errors are those of single files; what came before in them is imported.
	Errors []FileError
	// Skipped are files of directories whose names are not those of logs.
	Skipped []string
}

// FileError is why a file was not imported to its end.
type FileError struct {
	File   string
	Offset int64 // up to which it was, uncompressed
	Err    error
}

func (e FileError) Error() string {
	return fmt.Sprintf("import %s up to offset %d: %v", e.File, e.Offset, e.Err)
}

func (e FileError) Unwrap() error { return e.Err }

type importer struct {
	opt      ImportOptions
	budget   *budget
	maxBatch int64
	maxCount int

	mu       sync.Mutex
	sum      Summary
	progress Progress
	read     atomic.Int64
}

func newImporter(o ImportOptions) (*importer, error) {
	if o.Appender == nil {
		return nil, errors.New("import: no Appender")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = 2
	}
	im := &importer{}
	limits(&o.MaxBytes, &im.maxBatch, &im.maxCount, &o.MaxLine)
	// Each worker builds a batch while another of its is appended.
	im.maxBatch = min(im.maxBatch, o.MaxBytes/int64(2*o.Workers+1))
	im.opt, im.budget = o, newBudget(o.MaxBytes)
	return im, nil
}

// Import loads files. It is idempotent, since the store keeps equal lines once.
// The error is that of an input that is not there, before anything is imported, of
// the Appender, or of ctx; what was counted is durable. Errors of single files
// are in the summary.
func Import(ctx context.Context, o ImportOptions) (Summary, error) {
	im, err := newImporter(o)
	if err != nil {
		return Summary{}, err
	}
	files, err := im.files()
	if err != nil {
		return im.sum, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(im.opt.Workers)
	for _, path := range files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return im.file(ctx, path)
		})
	}
	err = g.Wait()
	return im.sum, err
}

// ImportStream loads one stream, whose name is told in quarantine and errors.
func ImportStream(ctx context.Context, o ImportOptions, name string, r io.Reader) (Summary, error) {
	im, err := newImporter(o)
	if err != nil {
		return Summary{}, err
	}
	im.progress.Files = 1
	err = im.stream(ctx, name, r)
	return im.sum, err
}

// files lists what the inputs are.
func (im *importer) files() ([]string, error) {
	var files []string
	for _, in := range im.opt.Inputs {
		if in == "-" {
			if im.opt.Stdin == nil {
				return nil, errors.New("import -: no standard input")
			}
			files = append(files, in)
			continue
		}
		info, err := os.Stat(in)
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", in, err)
		}
		if !info.IsDir() {
			files = append(files, in)
			im.progress.BytesTotal += regularSize(info)
			continue
		}
		err = filepath.WalkDir(in, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if !d.Type().IsRegular() || !logfile.LogLike(d.Name()) {
				im.sum.Skipped = append(im.sum.Skipped, path)
				im.opt.Logger.Info("skipping file that is not named like a log", slog.String("file", path))
				return nil
			}
			if info, err := d.Info(); err == nil {
				im.progress.BytesTotal += regularSize(info)
			}
			files = append(files, path)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", in, err)
		}
	}
	im.progress.Files = len(files)
	return files, nil
}

// regularSize is 0 for a pipe or a device.
func regularSize(info fs.FileInfo) int64 {
	if info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

func (im *importer) file(ctx context.Context, path string) error {
	if path == "-" {
		r := interruptible(ctx, im.opt.Stdin)
		defer r.Close()
		return im.stream(ctx, "stdin", r)
	}
	f, err := os.Open(path)
	if err != nil {
		im.fail(path, 0, err)
		return nil
	}
	defer f.Close()
	return im.stream(ctx, path, f)
}

// interruptible reads r, which nobody may ever write to again, until ctx is done. A read
// that is under way then goes on in the background until it has something.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	return out
}

func (im *importer) fail(name string, offset int64, err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.sum.Errors = append(im.sum.Errors, FileError{name, offset, err})
}

// counted counts what is read of an input.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// job is one input on its way to the store.
type job struct {
	builder
	im   *importer
	slot chan error // the result of the append under way; nil in it at rest
}

// stream imports one input. It returns errors that end the import.
func (im *importer) stream(ctx context.Context, name string, r io.Reader) error {
	content, _, err := logfile.Decompress(counted{r, &im.read})
	if err != nil {
		im.fail(name, 0, err)
		im.finished(0)
		return ctx.Err()
	}
	defer content.Close()
	source := im.opt.Source
	if source == "" {
		source = "import:" + SourceName(strings.TrimSpace(filepath.Base(name)))
	}
	j := &job{
		builder: builder{source: source, cluster: im.opt.Cluster, budget: im.budget, maxEvents: im.maxCount, maxBytes: im.maxBatch},
		im:      im, slot: make(chan error, 1),
	}
	j.slot <- nil
	j.builder.flush = j.hand
	j.begin()
	offset, err := j.split(ctx, name, content)
	if err == nil {
		err = j.hand(ctx, true)
	}
	last := <-j.slot // nothing may be under way when the caller goes on
	j.rest()
	var fe FileError
	switch {
	case errors.As(err, &fe):
		im.fail(fe.File, fe.Offset, fe.Err)
		err = last
	case err == nil:
		err = last
	}
	if err != nil {
		return err
	}
	im.finished(offset)
	return nil
}

// finished counts an input that is imported.
func (im *importer) finished(bytes int64) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.sum.Files++
	im.sum.Bytes += bytes
	im.progress.FilesDone++
	im.tell()
}

// tell reports progress; im.mu is held.
func (im *importer) tell() {
	if im.opt.Progress != nil {
		p := im.progress
		p.Bytes = im.read.Load()
		p.Events = im.sum.Events + im.sum.Duplicates
		im.opt.Progress(p)
	}
}

// noLog is how many lines are taken for a torn beginning before an input without
// any event is taken for something else than an audit log.
const noLog = 1000

var (
	errNoLog  = fmt.Errorf("none of its first %d lines is an audit event: is it an audit log?", noLog)
	errNoLine = errors.New("no line of it is an audit event; they are in quarantine")
)

// split reads all events. A FileError is one of the input.
func (j *job) split(ctx context.Context, name string, content io.Reader) (offset int64, err error) {
	var failed error // of reserve, inside Decode
	events, bad := 0, 0
	s := logfile.NewSplitter(content, logfile.SplitOptions{
		Name: name, MaxLine: j.im.opt.MaxLine,
		Grow: func(n int) error { return j.grow(ctx, n) }, Shrink: func() { j.shrink(ctx) },
		Decode: func(b []byte) error {
			if failed = j.reserve(ctx, len(b)); failed != nil {
				return failed
			}
			err := j.add(b)
			if err == nil {
				events++
			}
			return err
		},
	})
	defer s.Close()
	for {
		rec, err := s.Next()
		if failed != nil {
			return s.Offset(), failed
		}
		if err == nil && rec.Kind == logfile.Bad {
			if err := j.reserve(ctx, len(rec.Line)); err != nil {
				return s.Offset(), err
			}
			j.quarantine(rec.File, rec.Offset, rec.Line, rec.Reason)
			if bad++; bad == noLog && events == 0 {
				err = errNoLog
			}
		}
		if errors.Is(err, io.EOF) && bad > 0 && events == 0 {
			err = errNoLine
		}
		if err == nil && j.full() {
			err = j.hand(ctx, false)
		}
		switch {
		case err == nil:
			if err := ctx.Err(); err != nil {
				return s.Offset(), err
			}
		case errors.Is(err, io.EOF):
			return s.Offset(), nil
		case ctx.Err() != nil:
			return s.Offset(), ctx.Err()
		case errors.As(err, new(appendError)):
			return s.Offset(), err
		default:
			if err := j.hand(ctx, true); err != nil { // what came before counts
				return s.Offset(), err
			}
			return s.Offset(), FileError{name, s.Offset(), err}
		}
	}
}

// appendError is an error of the Appender.
type appendError struct{ err error }

func (e appendError) Error() string { return "store events: " + e.err.Error() }
func (e appendError) Unwrap() error { return e.err }

// hand is the builder's flush: it appends in the background, one batch at a time.
func (j *job) hand(ctx context.Context, wait bool) error {
	if b := j.take(); b != nil {
		if err := <-j.slot; err != nil {
			j.slot <- err
			j.done(b)
			return err
		}
		go func() {
			err := j.commit(ctx, b)
			j.done(b)
			j.slot <- err
		}()
	}
	if !wait {
		return nil
	}
	err := <-j.slot
	j.slot <- err
	return err
}

func (j *job) commit(ctx context.Context, b *batch) error {
	r, err := j.im.opt.Appender.Append(ctx, Commit{Source: j.source, Events: b.events.Events, Quarantined: b.bad})
	if err != nil {
		return appendError{err}
	}
	var old int64
	for i := range b.events.Events {
		if b.events.Events[i].Version != "v1" {
			old++
		}
	}
	im := j.im
	im.mu.Lock()
	defer im.mu.Unlock()
	im.sum.Events += int64(r.Added)
	im.sum.Duplicates += int64(r.Duplicates)
	im.sum.Quarantined += int64(len(b.bad))
	im.sum.OldVersion += old
	im.tell()
	return nil
}
