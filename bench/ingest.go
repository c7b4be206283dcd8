package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/ktrail/ktrail/internal/store"
)

// benchIngest compares whole processes: from a log on disk to durable and
// answerable here, to a Parquet file there.
func benchIngest(ctx context.Context, o options, t *table, log, data string) error {
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	ours, err := account(exec.CommandContext(ctx, o.ktrail, "import", "--data", data, log))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n := float64(o.events)
	for _, other := range []struct{ step, name, budget string }{
		{"copy", "DuckDB `read_json` → zstd Parquet", "at least 5x"},
		{"copy-all", "the same with what ktrail keeps: our columns and the raw line", "–"},
	} {
		theirs, err := account(exec.CommandContext(ctx, self, "-step", other.step, log, filepath.Join(filepath.Dir(log), other.step+".parquet")))
		if err != nil {
			return err
		}
		t.row("ingest, events per CPU-second", other.name,
			fmt.Sprintf("**%.1fx**: %.0f (%.1f s CPU, %.1f s) against %.0f (%.1f s CPU, %.1f s)",
				theirs.cpu.Seconds()/ours.cpu.Seconds(),
				n/ours.cpu.Seconds(), ours.cpu.Seconds(), ours.wall.Seconds(),
				n/theirs.cpu.Seconds(), theirs.cpu.Seconds(), theirs.wall.Seconds()),
			other.budget)
	}
	t.row("peak memory of `import`", "–", mb(ours.peakRSS), "512 MB at most")
	return nil
}

// benchDisk compacts to the end and weighs the segments.
func benchDisk(ctx context.Context, t *table, log, data string) error {
	s, err := store.Open(ctx, store.Options{Dir: data, Logger: quiet()})
	if err != nil {
		return err
	}
	before := s.State()
	err = s.Compact(ctx)
	after := s.State()
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	packed, by, err := zstd3(ctx, log)
	if err != nil {
		return err
	}
	t.row("bytes on disk, all columns and the raw line", by+" of the raw log",
		fmt.Sprintf("**%.2fx** after compaction: %s in %d segments (%s in %d before) against %s",
			float64(after.Bytes)/float64(packed), mb(after.Bytes), after.Segments, mb(before.Bytes), before.Segments, mb(packed)),
		"at most 1.15x")
	return nil
}

// zstd3 weighs the log as zstd -3 packs it: by the reference program where it
// is installed, else by the Go library's level of the same name.
func zstd3(ctx context.Context, log string) (int64, string, error) {
	var n counter
	if path, err := exec.LookPath("zstd"); err == nil {
		c := exec.CommandContext(ctx, path, "-3", "-c", "-q", log)
		c.Stdout, c.Stderr = &n, os.Stderr
		err := c.Run()
		return int64(n), "`zstd -3`", err
	}
	f, err := os.Open(log)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	w, err := zstd.NewWriter(&n, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(3)))
	if err != nil {
		return 0, "", err
	}
	if _, err := io.Copy(w, f); err != nil {
		return 0, "", err
	}
	err = w.Close()
	return int64(n), "`zstd -3` (the Go library's; no zstd program here)", err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func mb(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// runStep is the other side of a comparison, in a process of its own.
func runStep(ctx context.Context, step string, args []string) error {
	switch {
	case step == "copy" && len(args) == 2:
		return copyWithEngine(ctx, args[0], args[1])
	case step == "copy-all" && len(args) == 2:
		return copyAllWithEngine(ctx, args[0], args[1])
	default:
		return fmt.Errorf("-step %s %s: unknown", step, strings.Join(args, " "))
	}
}
