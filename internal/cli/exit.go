package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ktrail/ktrail/internal/app"
	"github.com/ktrail/ktrail/internal/nearest"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

// The exit statuses. Scripts depend on them.
const (
	exitOK          = 0
	exitNothing     = 1   // nothing found, where that was the question; or a check that found errors
	exitUsage       = 2   // the command line, or a filter in it, is wrong
	exitUnavailable = 3   // no server, no store, no space, a failed read or write
	exitDamaged     = 4   // answered, but stored data is damaged
	exitSignal      = 128 // plus the signal's number
)

// usageError is a command line that cannot be run as it stands.
type usageError struct {
	msg  string
	next string // what to do, "" if msg says it
}

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

// nothingError is an answer that has nothing in it.
type nothingError struct{ msg string }

func (e *nothingError) Error() string { return e.msg }

// findingsError is a check that found what must be mended. The findings have
// been printed already.
type findingsError struct{}

func (e *findingsError) Error() string { return "the check found errors" }

// unprovenError is a check that could not be made. Why has been printed already.
type unprovenError struct{}

func (e *unprovenError) Error() string { return "it cannot be told" }

// damagedError is an answer that may lack events because stored data is damaged.
// The warnings have been printed already.
type damagedError struct{}

func (e *damagedError) Error() string { return "stored data is damaged" }

// signalError is a request to end.
type signalError struct{ sig syscall.Signal }

func (e *signalError) Error() string { return e.sig.String() }

// exits maps errors to exit statuses, the first that fits. What fits none is
// exitUnavailable.
var exits = []struct {
	status int
	quiet  bool // nothing more to say
	fits   func(error) bool
}{
	{exitOK, true, func(err error) bool { return err == nil }},
	{exitSignal + int(syscall.SIGPIPE), true, func(err error) bool { return errors.Is(err, syscall.EPIPE) }},
	{exitNothing, false, is[*nothingError]},
	{exitNothing, true, is[*findingsError]},
	{exitUnavailable, true, is[*unprovenError]},
	{exitDamaged, true, is[*damagedError]},
	{exitDamaged, false, app.IsDamage},
	{exitUsage, false, is[*usageError]},
	{exitUsage, false, isBadQuestion},
}

// isBadQuestion is whether a question cannot be asked as it stands.
func isBadQuestion(err error) bool { return is[*query.UsageError](err) || is[*query.FilterError](err) }

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// report prints err as one line and returns its exit status.
func report(ctx context.Context, c *cmdline, name string, err error) int {
	var sig *signalError
	if err != nil && errors.As(context.Cause(ctx), &sig) && (errors.Is(err, context.Canceled) || errors.As(err, &sig)) {
		return exitSignal + int(sig.sig)
	}
	for _, e := range exits {
		if !e.fits(err) {
			continue
		}
		if !e.quiet {
			c.say(name, err)
		}
		return e.status
	}
	c.say(name, err)
	return exitUnavailable
}

// say prints one error. A filter's caret under its column keeps its lines.
func (c *cmdline) say(name string, err error) {
	c.hint("%s: %s", name, visible.Lines(err.Error()))
	if u := (*usageError)(nil); errors.As(err, &u) && u.next != "" {
		c.hint("%s", u.next)
	}
	if n := (interface{ Next() string })(nil); errors.As(err, &n) {
		c.hint("%s", visible.Lines(n.Next()))
	}
	if f := (*query.FilterError)(nil); errors.As(err, &f) {
		for line := range strings.Lines(f.Caret()) {
			c.hint("  %s", visible.Line(strings.TrimSuffix(line, "\n")))
		}
	}
}

// flagError makes pflag's errors usage errors and suggests the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return &usageError{msg: err.Error()}
	}
	if missing.GetSpecifiedShortnames() != "" {
		return &usageError{msg: err.Error(), next: cmd.CommandPath() + " --help lists the flags"}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return unknown("flag", "--"+missing.GetSpecifiedName(), names, cmd.CommandPath()+" --help lists the flags")
}

// unknown says that there is no such kind of thing and names the nearest, or
// else where to look.
func unknown(kind, got string, have []string, otherwise string) error {
	msg := fmt.Sprintf("unknown %s %q", kind, got)
	if near := nearest.Name(got, have); near != "" {
		return usagef("%s: did you mean %s?", msg, near)
	}
	return usagef("%s: %s", msg, otherwise)
}
