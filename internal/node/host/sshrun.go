package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// quote makes a word of a command line that a shell takes as it is.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// command is argv as the line that sshd hands to the user's shell: each word is
// quoted, so that the shell only starts the program.
func command(sudo bool, argv ...string) string {
	var words []string
	if sudo {
		words = []string{"sudo", "-n", "--"}
	}
	for _, w := range argv {
		words = append(words, quote(w))
	}
	return strings.Join(words, " ")
}

// Run implements [Host].
func (s *SSH) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	if len(argv) == 0 {
		return Result{}, errors.New("run: no program named")
	}
	for _, w := range argv {
		if strings.Contains(w, "\x00") {
			return Result{}, &fs.PathError{Op: "run", Path: argv[0], Err: fmt.Errorf("%w: a NUL in an argument", fs.ErrInvalid)}
		}
	}
	r, err := s.run(ctx, s.sudo, argv, stdin)
	if err != nil {
		return r, fmt.Errorf("run %s: %w", argv[0], err)
	}
	said := string(r.Stderr)
	if r.Status == 127 && strings.Contains(said, argv[0]) && (strings.Contains(said, "not found") || strings.Contains(said, "No such file")) {
		return r, noProgram(argv[0])
	}
	return r, nil
}

// number makes a program of the machine say its process number on a line of its
// own before it begins: sshd stops none when its client goes away, and signals
// none of root's, so that is done by kill.
const number = `echo $$; exec "$@"`

// run runs a program, through sudo or not.
func (s *SSH) run(ctx context.Context, sudo bool, argv []string, stdin []byte) (Result, error) {
	var session *ssh.Session
	if err := s.do(ctx, func() (err error) {
		session, err = s.client.NewSession()
		return err
	}); err != nil {
		return Result{}, err
	}
	defer session.Close()
	stdout, stderr := output{begun: make(chan struct{})}, output{}
	session.Stdin = bytes.NewReader(stdin)
	session.Stdout, session.Stderr = &stdout, &stderr
	done := make(chan error, 1)
	go func() { done <- session.Run(command(sudo, append([]string{"sh", "-c", number, "sh"}, argv...)...)) }()
	var err error
	select {
	case err = <-done:
	case <-s.gone:
		return Result{}, s.lost()
	case <-ctx.Done():
		s.kill(sudo, &stdout, done)
		return Result{}, ctx.Err()
	}
	_, rest, _ := bytes.Cut(stdout.Bytes(), []byte("\n"))
	r := Result{Stdout: rest, Stderr: stderr.Bytes()}
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case errors.As(err, &exit) && exit.Signal() != "":
		return r, fmt.Errorf("ended by signal %s", exit.Signal())
	case errors.As(err, &exit):
		r.Status = exit.ExitStatus()
	case errors.As(err, &missing):
		// The end of the connection looks like this too, and says so a moment later.
		patience := time.NewTimer(stopGrace)
		defer patience.Stop()
		select {
		case <-s.gone:
			return Result{}, s.lost()
		case <-patience.C:
			return r, err
		}
	case err != nil && s.ended(err):
		return Result{}, s.lost()
	case err != nil:
		return r, err
	}
	return r, nil
}

// kill ends a program that was cancelled, and waits a moment for its end.
func (s *SSH) kill(sudo bool, stdout *output, done <-chan error) {
	patience := time.NewTimer(stopGrace)
	defer patience.Stop()
	select {
	case <-stdout.begun:
	case <-done: //nolint:errcheck // how it ended does not matter any more
		return
	case <-s.gone:
		return
	case <-patience.C:
		return
	}
	pid, _, _ := strings.Cut(string(stdout.Bytes()), "\n")
	if session, err := s.client.NewSession(); err == nil {
		defer session.Close()
		if session.Start(command(sudo, "kill", "-KILL", pid)) != nil {
			return
		}
	}
	select {
	case <-done: //nolint:errcheck // how it ended does not matter any more
	case <-s.gone:
	case <-patience.C:
	}
}

// output is limited, and may be looked at while it is written.
type output struct {
	begun chan struct{} // closed when the first line is there, unless nil

	mu   sync.Mutex
	told bool
	buf  limited
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(p)
	if o.begun != nil && !o.told && bytes.Contains(p, []byte("\n")) {
		o.told = true
		close(o.begun)
	}
	return n, err
}

// Bytes is a copy of what there is.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}

// Dial implements [Host]. The machine's sshd makes the connection.
func (s *SSH) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := s.client.DialContext(ctx, network, address) // it ends with ctx, and closes what comes later
	if err != nil && ctx.Err() == nil && s.ended(err) {
		return nil, s.lost()
	}
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) && refused.Reason == ssh.Prohibited {
		return nil, fmt.Errorf("connect from %s to %s: its sshd forbids it; set AllowTcpForwarding to local in sshd_config", s.name, address)
	}
	if err != nil {
		return nil, fmt.Errorf("connect from %s to %s: %w", s.name, address, err)
	}
	return conn, nil
}
