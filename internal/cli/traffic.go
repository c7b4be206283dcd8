package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy/simulate"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

// traffic is the events that a policy is tried on: logs, a data directory or a server.
type traffic struct {
	target
	logs []string

	inputs []input
	stdin  *os.File // a copy, where standard input is read twice
}

func (t *traffic) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&t.logs, "log", nil, "read this audit `log`: a file, a directory, a pattern or -; plain, gzip or zstd")
	t.target.flags(cmd)
}

// validate finds the logs. more are arguments that may be logs too: what a shell makes
// of --log audit*.log.
func (t *traffic) validate(cmd *cobra.Command, more []string) error {
	if err := t.target.validate(cmd); err != nil {
		return err
	}
	if len(t.logs) == 0 {
		if len(more) > 0 {
			return usagef("%s: one policy expected; logs come with --log", quote(more[0]))
		}
		return nil
	}
	if t.data != "" || t.server != "" {
		return usagef("--log, --data and --server exclude each other")
	}
	var names []string
	for _, name := range append(t.logs, more...) {
		// A file that is there is meant as it is called.
		if _, err := os.Lstat(name); err != nil && strings.ContainsAny(name, "*?[") {
			found, err := filepath.Glob(name)
			if err != nil {
				return usagef("--log %s: %v", quote(name), err)
			}
			if len(found) == 0 {
				return usagef("--log %s: no file is called like that", quote(name))
			}
			names = append(names, found...)
			continue
		}
		names = append(names, name)
	}
	var err error
	t.inputs, err = findInputs("read", names)
	return err
}

// usesStdin is whether the logs include standard input.
func (t *traffic) usesStdin() bool {
	for _, in := range t.inputs {
		if in.path == "-" {
			return true
		}
	}
	return false
}

// from says where the events are from, for a heading.
func (t *traffic) from() string {
	switch {
	case len(t.inputs) == 1 && t.inputs[0].path == "-":
		return "standard input"
	case len(t.inputs) == 1:
		return visible.Line(t.inputs[0].path)
	case len(t.inputs) > 1:
		return fmt.Sprintf("%d files", len(t.inputs))
	}
	return "what is stored" // wherever it is asked, it is the same
}

// taker takes events: a simulation, or a check of suggestions.
type taker interface {
	Read(ctx context.Context, name string, r io.Reader) error
	Add(e *audit.Event)
}

// give hands all events to a taker. p counts bytes; again is whether there will be
// another time.
func (t *traffic) give(cmd *cobra.Command, c *cmdline, to taker, p *progress, again bool) error {
	if len(t.inputs) == 0 {
		return t.giveStored(cmd, c, to, p)
	}
	for _, in := range t.inputs {
		if err := t.giveFile(cmd.Context(), c, in, to, p, again); err != nil {
			return err
		}
	}
	return nil
}

func (t *traffic) giveFile(ctx context.Context, c *cmdline, in input, to taker, p *progress, again bool) error {
	name, r := visible.Line(in.path), c.In
	switch {
	case in.path != "-":
		f, err := os.Open(in.path)
		if err != nil {
			return badInput("read", in.path, err)
		}
		defer f.Close()
		r = f
	case t.stdin != nil:
		name = "standard input"
		if _, err := t.stdin.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read standard input again: %w", err)
		}
		r = t.stdin
	case again:
		name = "standard input"
		copied, err := os.CreateTemp("", "ktrail-log-*")
		if err != nil {
			return fmt.Errorf("keep standard input, which is read twice: %w", err)
		}
		t.stdin = copied
		r = io.TeeReader(c.In, copied)
	default:
		name = "standard input"
	}
	err := to.Read(ctx, name, &countingReader{r, &p.done})
	if errors.Is(err, simulate.ErrNoEvents) {
		return usagef("%v", err)
	}
	return err
}

// close removes what was kept of standard input.
func (t *traffic) close() error {
	if t.stdin == nil {
		return nil
	}
	return errors.Join(t.stdin.Close(), os.Remove(t.stdin.Name()))
}

// giveStored asks for all stages of everything, with the raw lines.
func (t *traffic) giveStored(cmd *cobra.Command, c *cmdline, to taker, p *progress) error {
	every := query.Flags{Stage: []string{"*"}}
	f, err := every.Filter("")
	if err != nil {
		return err
	}
	return c.ask(cmd, &t.target, func(qs query.Questions) error {
		q := query.SearchQuestion{Scope: query.Scope{Filter: f.String()}, Ascending: true}
		answer, err := qs.Search(cmd.Context(), q, func(e *audit.Event) error {
			p.done.Add(int64(len(e.Raw)) + 1)
			p.events.Add(1)
			to.Add(e)
			return nil
		})
		return errors.Join(err, c.warn(answer.Warnings))
	})
}

// total tells the progress how much there is to read, so many times; 0 is unknown.
func (t *traffic) total(p *progress, times int64) {
	var sum int64
	for _, in := range t.inputs {
		if in.size == 0 {
			return
		}
		sum += in.size
	}
	p.total.Store(sum * times)
}
