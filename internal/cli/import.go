package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ktrail/ktrail/audit/logfile"
	"github.com/ktrail/ktrail/internal/app"
	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/visible"
	"github.com/ktrail/ktrail/internal/web"
)

type importOptions struct {
	target
	cluster string
	minFree string
	redact  string
	quiet   bool
}

func (c *cmdline) importCommand() *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use:   "import FILE|DIRECTORY|-...",
		Short: "Load audit logs that are there already",
		Long: `Load audit logs: files, directories and their files, or - for standard input; plain, gzip or
zstd; JSON lines, EventList objects or JSON arrays. Events that are stored already are not stored
again, so importing a file twice adds nothing. They go to the running server, or with --data into
a directory that no server uses.`,
		Example: c.examples(
			`import /backup/audit/ --cluster prod`,
			`import audit-2026-11-22T19-53-12.289.log.gz --data ./data`,
		),
		GroupID: "keep",
		RunE: func(cmd *cobra.Command, args []string) error {
			minFree, err := parseSize(o.minFree)
			if err := errors.Join(o.validate(cmd), checkCluster(o.cluster), err); err != nil {
				return err
			}
			if o.minFree != "" && o.data == "" {
				return usagef("--min-free goes with --data: a server has its own")
			}
			if o.redact != "" && o.data == "" {
				return usagef("--redact-rules goes with --data: a server has its own")
			}
			if len(args) == 0 {
				return &usageError{msg: "missing argument: the files to import, or - for standard input", next: "usage: " + cmd.UseLine()}
			}
			inputs, err := findInputs("import", args)
			if err != nil {
				return err
			}
			return c.importAll(cmd.Context(), o, minFree, inputs)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.cluster, "cluster", "", "the `name` of the cluster that the logs are from")
	f.StringVar(&o.minFree, "min-free", "", "with --data: stop while less `space` is free (default 1GiB, or 5% of a small volume)")
	f.StringVar(&o.redact, "redact-rules", "", "with --data: `file` of what is taken out of events, as serve has it")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress and no summary")
	f.StringVar(&o.server, "server", "", "send to the server at this `URL` (default $"+serverVariable+" or "+defaultServer+")")
	f.StringVar(&o.data, "data", "", "store in this data `directory`, which no server may be using")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

// input is one file to import; path "-" is standard input.
type input struct {
	path string
	size int64 // 0 is unknown
}

// files are regular files by size. Somebody who names one twice (a file and its
// directory, a pattern and a link) means it once.
type files map[int64][]fs.FileInfo

// again is whether a file was there before, under whatever name; it is there now.
func (s files) again(info fs.FileInfo) bool {
	if !info.Mode().IsRegular() {
		return false
	}
	if slices.ContainsFunc(s[info.Size()], func(was fs.FileInfo) bool { return os.SameFile(was, info) }) {
		return true
	}
	s[info.Size()] = append(s[info.Size()], info)
	return false
}

// findInputs lists the files that args mean, those of a directory by name, each once.
// verb is what is to be done to them, for errors.
func findInputs(verb string, args []string) ([]input, error) {
	var inputs []input
	seen := files{}
	stdin := false
	for _, arg := range args {
		if arg == "-" {
			if stdin {
				return nil, usagef("%s -: standard input can be named once only", verb)
			}
			stdin = true
			inputs = append(inputs, input{path: "-"})
			continue
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, badInput(verb, arg, err)
		}
		if !info.IsDir() {
			if !seen.again(info) {
				inputs = append(inputs, input{arg, regularSize(info)})
			}
			continue
		}
		found := false
		err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return badInput(verb, path, err)
			case path != arg && strings.HasPrefix(d.Name(), "."):
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			case !d.Type().IsRegular() || !logfile.LogLike(d.Name()):
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return badInput(verb, path, err)
			}
			found = true
			if !seen.again(info) {
				inputs = append(inputs, input{path, info.Size()})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, usagef("%s %s: the directory holds no log: name files one by one to %s them whatever they are called", verb, visible.Line(arg), verb)
		}
	}
	return inputs, nil
}

func regularSize(info fs.FileInfo) int64 {
	if info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

func badInput(verb, path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%s %s: no such file or directory", verb, visible.Line(path))
	}
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("%s %s: %w", verb, visible.Line(path), err)
}

func (c *cmdline) importAll(ctx context.Context, o *importOptions, minFree int64, inputs []input) error {
	start := time.Now()
	load := c.importToServer
	if o.data != "" {
		load = func(ctx context.Context, o *importOptions, inputs []input, p *progress) (web.ImportSummary, error) {
			return c.importToData(ctx, o, minFree, inputs, p)
		}
	}
	p := c.startProgress(!o.quiet)
	for _, in := range inputs {
		if in.size == 0 {
			p.total.Store(0) // the end of a stream is not known
			break
		}
		p.total.Add(in.size)
	}
	sum, err := load(ctx, o, inputs, p)
	p.finish()
	if !o.quiet && (err == nil || sum.Events+sum.Duplicates+sum.Quarantined > 0) {
		c.summarize(sum, time.Since(start))
	}
	return err
}

func (c *cmdline) importToData(ctx context.Context, o *importOptions, minFree int64, inputs []input, p *progress) (sum web.ImportSummary, err error) {
	rules, err := readRedactRules(o.redact)
	if err != nil {
		return sum, err
	}
	in, err := app.OpenIntake(ctx, app.StoreOptions{Dir: o.data, MinFree: minFree, RedactRules: rules}, c.logger(slog.LevelWarn))
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	files := make([]string, len(inputs))
	for i := range inputs {
		files[i] = inputs[i].path
	}
	return in.Import(ctx, app.ImportOptions{
		Files: files, Stdin: c.In, Cluster: o.cluster,
		Progress: func(at collect.Progress) {
			p.done.Store(at.Bytes)
			p.events.Store(at.Events)
		},
	})
}

// importStreams is how many files are sent at a time.
const importStreams = 2

// importToServer sends the inputs. What a server has taken of them stays there
// if another fails.
func (c *cmdline) importToServer(ctx context.Context, o *importOptions, inputs []input, p *progress) (web.ImportSummary, error) {
	client, err := web.NewClient(o.url())
	if err != nil {
		return web.ImportSummary{}, err
	}
	defer client.Close()
	// Ask before reading gigabytes, or waiting for standard input.
	if _, err := client.Status(ctx); err != nil {
		return web.ImportSummary{}, err
	}
	var (
		mu   sync.Mutex
		sum  web.ImportSummary
		errs []error
		g    errgroup.Group
	)
	g.SetLimit(importStreams)
	for _, in := range inputs {
		g.Go(func() error {
			one, err := c.send(ctx, client, o.cluster, in, p)
			mu.Lock()
			defer mu.Unlock()
			sum.Files += one.Files
			sum.Bytes += one.Bytes
			sum.Events += one.Events
			sum.Duplicates += one.Duplicates
			sum.Quarantined += one.Quarantined
			sum.OldVersion += one.OldVersion
			p.events.Store(sum.Events + sum.Duplicates)
			errs = append(errs, err)
			return nil
		})
	}
	err = g.Wait()
	return sum, errors.Join(append(errs, err)...)
}

func (c *cmdline) send(ctx context.Context, client *web.Client, cluster string, in input, p *progress) (web.ImportSummary, error) {
	name, r := "stdin", c.In
	if in.path != "-" {
		f, err := os.Open(in.path)
		if err != nil {
			return web.ImportSummary{}, badInput("import", in.path, err)
		}
		defer func() { _ = f.Close() }()
		name, r = in.path, f
	}
	return client.Import(ctx, collect.SourceName(name), cluster, &countingReader{r, &p.done})
}

// countingReader adds what is read to n.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *cmdline) summarize(sum web.ImportSummary, spent time.Duration) {
	text := fmt.Sprintf("imported %s (%s) from %s in %s", plural(sum.Events, "event"), size(sum.Bytes), plural(int64(sum.Files), "file"), seconds(spent))
	if sum.Duplicates > 0 {
		text += fmt.Sprintf("; %s stored already", plural(sum.Duplicates, "event"))
		if sum.Events == 0 {
			text += ", nothing added"
		}
	}
	if sum.OldVersion > 0 {
		text += fmt.Sprintf("; %s of an old version (audit.k8s.io/v1beta1 or v1alpha1), with fewer fields", plural(sum.OldVersion, "event"))
	}
	if sum.Quarantined > 0 {
		text += fmt.Sprintf("; %s could not be decoded and went to quarantine", plural(sum.Quarantined, "line"))
	}
	c.hint("%s", text)
}

// seconds is a duration with a tenth of a second while that says something.
func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return short(d)
}

// readRedactRules reads the file of --redact-rules.
func readRedactRules(file string) (*app.RedactRules, error) {
	rules, err := app.ReadRedactRules(file)
	if err != nil {
		return nil, usagef("--redact-rules: %v", err)
	}
	return rules, nil
}
