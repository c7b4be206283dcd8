package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// How long to wait for a machine that does not answer. OpenSSH's own client
// waits for minutes; an API server that is down should not.
const (
	connectTimeout = 15 * time.Second
	aliveInterval  = 5 * time.Second
	aliveTimeout   = 15 * time.Second
)

// SSH is a machine over SSH: files by SFTP, everything else by commands that
// every Linux has. Nothing is installed on it.
//
// An operation that was begun is not left to finish behind the caller's back: a
// cancelled context waits a few seconds for it, and then ends the connection.
type SSH struct {
	name   string
	client *ssh.Client
	files  *sftp.Client
	sudo   bool
	root   bool // files are written as root

	gone chan struct{} // closed when the connection is
	once sync.Once
	why  error // valid once gone is closed
}

var _ Host = (*SSH)(nil)

// Connect reaches a machine that o.SSH names.
func Connect(ctx context.Context, machine string, o *Options) (*SSH, error) {
	t, err := parseTarget(machine)
	if err != nil {
		return nil, err
	}
	client, err := dial(ctx, t, o)
	if err != nil {
		return nil, err
	}
	s := &SSH{name: t.String(), client: client, gone: make(chan struct{})}
	go func() {
		err := client.Wait()
		if err == nil {
			err = errors.New("closed")
		}
		s.drop(err)
	}()
	go s.keepAlive()
	err = s.become(ctx, o.Sudo)
	if err == nil {
		err = s.openFiles(ctx)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func dial(ctx context.Context, t target, o *Options) (*ssh.Client, error) {
	known, err := o.hostKeys()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t, err)
	}
	keys, err := o.keys()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t, err)
	}
	defer keys.close()
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %v", connectTimeout))
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", t.hostPort())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	config := &ssh.ClientConfig{
		User:              t.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)},
		HostKeyCallback:   known.verify,
		HostKeyAlgorithms: known.algorithms(t.hostPort()),
	}
	c, channels, requests, err := ssh.NewClientConn(conn, t.hostPort(), config)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", t, explain(ctx, err, keys, config))
	}
	return ssh.NewClient(c, channels, requests), nil
}

// explain says what to do about a handshake that did not work.
func explain(ctx context.Context, err error, k *keyring, config *ssh.ClientConfig) error {
	var hostKey *HostKeyError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &hostKey):
		return hostKey
	case strings.Contains(err.Error(), "unable to authenticate"), strings.Contains(err.Error(), "Too many authentication failures"):
		notes := append([]string{fmt.Sprintf("none of %d keys was accepted", len(k.signers))}, k.notes...)
		return fmt.Errorf("%s; name a key with --ssh-key (~/.ssh/config is not read)", strings.Join(notes, "; "))
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fmt.Errorf("it has no key of a type that is known of it (%s): someone may be in between, or it was made anew; check its key, and remove the old line from known_hosts", strings.Join(config.HostKeyAlgorithms, ", "))
	}
	return err
}

// become finds out whether commands need sudo, and whether they may have it.
func (s *SSH) become(ctx context.Context, how Sudo) error {
	r, err := s.run(ctx, false, []string{"id", "-u"}, nil)
	if err != nil {
		return fmt.Errorf("connect to %s: find out who we are there: %w", s.name, err)
	}
	s.root = strings.TrimSpace(string(r.Stdout)) == "0"
	if s.root && how != SudoAlways || how == SudoNever {
		return nil
	}
	r, err = s.run(ctx, true, []string{"id", "-u"}, nil)
	if err != nil {
		return fmt.Errorf("connect to %s: become root: %w", s.name, err)
	}
	if r.Status != 0 || strings.TrimSpace(string(r.Stdout)) != "0" {
		said := strings.TrimSpace(string(r.Stderr))
		return fmt.Errorf("connect to %s: become root: sudo -n: %s; connect as root, or let this user run sudo without a password", s.name, said)
	}
	s.sudo, s.root = true, true
	return nil
}

// keepAlive notices a connection that died silently.
func (s *SSH) keepAlive() {
	tick := time.NewTicker(aliveInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.gone:
			return
		case <-tick.C:
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := s.client.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		patience := time.NewTimer(aliveTimeout)
		select {
		case <-answer: //nolint:errcheck // an error ends the connection, and Wait says so
		case <-s.gone:
		case <-patience.C:
			s.drop(fmt.Errorf("no answer for %v", aliveTimeout))
		}
		patience.Stop()
	}
}

// drop ends the connection; the first reason counts.
func (s *SSH) drop(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.gone)
		s.client.Close()
	})
}

// Name implements [Host].
func (s *SSH) Name() string { return s.name }

// Close implements [Host].
func (s *SSH) Close() error {
	if s.files != nil {
		s.files.Close()
	}
	s.drop(errors.New("closed"))
	return nil
}

func (s *SSH) lost() error {
	<-s.gone
	return &LostError{Host: s.name, Err: s.why}
}

// do calls fn, which changes something on the machine, and turns the end of the
// connection into a LostError. fn itself looks at ctx between its steps.
func (s *SSH) do(ctx context.Context, fn func() error) error {
	_, err := await(ctx, s, stopGrace, func() (struct{}, error) { return struct{}{}, fn() })
	return err
}

// await calls fn, which talks to the machine. When ctx ends it waits so long for
// it, and then ends the connection; without grace it leaves fn to itself, which
// is for what changes nothing.
func await[T any](ctx context.Context, s *SSH, grace time.Duration, fn func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := fn()
		done <- result{v, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-s.gone:
		return none, s.lost()
	case <-ctx.Done():
		if grace == 0 {
			return none, ctx.Err()
		}
		patience := time.NewTimer(grace)
		defer patience.Stop()
		select {
		case r = <-done:
		case <-s.gone:
			return none, s.lost()
		case <-patience.C:
			s.drop(fmt.Errorf("no answer for %v after %w", grace, context.Cause(ctx)))
			return none, s.lost()
		}
	}
	if r.err != nil && s.ended(r.err) {
		return none, s.lost()
	}
	return r.value, r.err
}

// ended tells whether err is the end of the connection, or of the server for
// files, which is as good as that.
func (s *SSH) ended(err error) bool {
	for _, end := range []error{io.EOF, sftp.ErrSSHFxConnectionLost, net.ErrClosed, os.ErrClosed} {
		if errors.Is(err, end) {
			s.drop(err)
		}
	}
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}
