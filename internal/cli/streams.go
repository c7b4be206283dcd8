package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are the ends a command reads and writes, and what is known of them.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// OutTerminal and ErrTerminal say whether a person looks at Out and Err.
	OutTerminal, ErrTerminal bool
	// Color is whether Out may carry colours.
	Color bool
	// Width gives the terminal's columns now; nil or 0 means unknown.
	Width func() int
}

// osStreams are the process's own.
func osStreams() Streams {
	out, err := int(os.Stdout.Fd()), int(os.Stderr.Fd())
	s := Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		OutTerminal: term.IsTerminal(out), ErrTerminal: term.IsTerminal(err),
	}
	// https://no-color.org: any value but the empty one turns colours off.
	s.Color = s.OutTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	s.Width = func() int {
		for _, fd := range []int{out, err} {
			if w, _, e := term.GetSize(fd); e == nil && w > 0 {
				return w
			}
		}
		return 0
	}
	return s
}

// width is the terminal's columns: 80 if it does not say.
func (s *Streams) width() int {
	if s.Width != nil {
		if w := s.Width(); w > 0 {
			return w
		}
	}
	return 80
}
