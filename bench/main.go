// Command bench (package main) measures ktrail's budgets as ratios in one run
// and prints them as a table; `make bench` runs it. Absolute figures stand
// beside each ratio as its parts; nothing is asserted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/ktrail/ktrail/internal/sample"
)

type options struct {
	events int
	dir    string
	ktrail string
	only   string
}

func (o options) validate() error {
	if o.events < 1000 {
		return errors.New("-n: at least 1000 events are needed for a ratio to mean something")
	}
	if _, err := os.Stat(o.ktrail); err != nil {
		return fmt.Errorf("-ktrail: %w; run make build first", err)
	}
	return nil
}

func (o options) wants(part string) bool {
	return o.only == "" || strings.Contains(","+o.only+",", ","+part+",")
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	var step string
	flag.IntVar(&o.events, "n", 1_000_000, "events in the log")
	flag.StringVar(&o.dir, "dir", "", "directory to work in, kept afterwards (default: a temporary one, removed); with -only queries, those are asked of the store that is in it")
	flag.StringVar(&o.ktrail, "ktrail", "bin/ktrail", "the built program")
	flag.StringVar(&o.only, "only", "", "parts to run, comma separated: ingest,disk,queries,freshness,memory")
	flag.StringVar(&step, "step", "", "internal: run one step in a process of its own, so that it is accounted alone")
	flag.Parse()
	var err error
	if step != "" {
		err = runStep(ctx, step, flag.Args())
	} else if err = o.validate(); err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "ktrail-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	log := filepath.Join(o.dir, fmt.Sprintf("audit-%d.log", o.events))
	data := filepath.Join(o.dir, "store")
	size := "a store that was there"
	if _, err := os.Stat(data); err != nil || o.only != "queries" {
		if _, err := os.Stat(log); err != nil {
			if err := generate(log, o.events); err != nil {
				return fmt.Errorf("generate %s: %w", log, err)
			}
		}
		info, err := os.Stat(log)
		if err != nil {
			return err
		}
		size = fmt.Sprintf("%d events, %.2f GB of JSON", o.events, float64(info.Size())/1e9)
	}
	fmt.Fprintf(out, "%s, %d cores, %s, %s\n\n", size, runtime.NumCPU(), runtime.Version(), cpuModel())
	t := &table{out: out}
	t.head()

	if o.wants("ingest") {
		if err := benchIngest(ctx, o, t, log, data); err != nil {
			return fmt.Errorf("ingest: %w", err)
		}
	}
	if o.wants("disk") {
		if err := benchDisk(ctx, t, log, data); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
	}
	if o.wants("queries") {
		if err := benchClicks(ctx, o, t, data); err != nil {
			return fmt.Errorf("clicks: %w", err)
		}
		if err := benchQueries(ctx, t, data); err != nil {
			return fmt.Errorf("queries: %w", err)
		}
	}
	if o.wants("freshness") {
		if err := benchFreshness(ctx, o, t); err != nil {
			return fmt.Errorf("freshness: %w", err)
		}
	}
	if o.wants("memory") {
		if err := benchMemory(ctx, o, t, log); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	return nil
}

func generate(path string, events int) error {
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	if err := sample.Generate(f, sample.Options{Log: sampleLog, Events: events, Seed: 1, Days: 30}); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// sampleLog is what the generator varies; make runs this program in the top folder.
const sampleLog = "testdata/audit-sample.log.gz"

// table prints a row as soon as it is known: a run over ten million events
// takes long, and what is measured should not wait for what is not.
type table struct{ out io.Writer }

func (t *table) head() {
	fmt.Fprintln(t.out, "| what | against | measured | budget |")
	fmt.Fprintln(t.out, "|---|---|---|---|")
}

func (t *table) row(what, against, measured, budget string) {
	fmt.Fprintf(t.out, "| %s | %s | %s | %s |\n", what, against, measured, budget)
}

// usage is what the kernel accounted to one finished process.
type usage struct {
	wall, cpu time.Duration
	peakRSS   int64 // bytes
}

func account(c *exec.Cmd) (usage, error) {
	c.Stderr = os.Stderr
	began := time.Now()
	if err := c.Run(); err != nil {
		return usage{}, fmt.Errorf("%s: %w", strings.Join(c.Args, " "), err)
	}
	ru, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return usage{}, errors.New("this system does not account processes")
	}
	return usage{
		wall:    time.Since(began),
		cpu:     c.ProcessState.UserTime() + c.ProcessState.SystemTime(),
		peakRSS: ru.Maxrss * 1024,
	}, nil
}

// quiet is for parts that want a logger where only figures are wanted.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}
