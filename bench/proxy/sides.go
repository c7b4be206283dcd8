package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startSides starts an API server and the proxies before it. end stops them; it is never nil.
func startSides(ctx context.Context, o options) (sides []side, end func() error, err error) {
	var ends []func() error
	end = func() (err error) {
		for i := len(ends) - 1; i >= 0; i-- {
			err = errors.Join(err, ends[i]())
		}
		return err
	}
	dir, err := os.MkdirTemp("", "bench-proxy-")
	if err != nil {
		return nil, end, err
	}
	ends = append(ends, func() error { return os.RemoveAll(dir) })
	if err := writeCertificate(dir); err != nil {
		return nil, end, fmt.Errorf("make certificate: %w", err)
	}
	roots, err := readRoots(dir)
	if err != nil {
		return nil, end, err
	}
	start := func(name string, command []string) (*exec.Cmd, string, error) {
		c, addr, err := launch(ctx, command)
		if err != nil {
			return nil, "", fmt.Errorf("start %s: %w", name, err)
		}
		ends = append(ends, func() error { return finish(name, c) })
		return c, addr, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, end, err
	}
	_, server, err := start("API server", []string{self, "role-server", dir, fmt.Sprint(o.size), fmt.Sprint(o.plain)})
	if err != nil {
		return nil, end, err
	}
	names := append([]string{"bare", "bare again"}, strings.Split(o.extra, ",")...)
	for _, name := range names {
		command := []string{self, "role-bare", dir, server, fmt.Sprint(o.plain)}
		if !strings.HasPrefix(name, "bare") {
			if command, err = ktrail(dir, server, self, name, o); err != nil {
				return nil, end, err
			}
		}
		c, addr, err := start(name, command)
		if err != nil {
			return nil, end, err
		}
		s := side{name: name, pid: c.Process.Pid}
		_, s.addr, _ = strings.Cut(addr, "://")
		if !o.plain {
			s.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		}
		sides = append(sides, s)
	}
	return sides, end, nil
}

// ktrail is the command of ktrail proxy in a mode, mode or mode@program.
func ktrail(dir, server, self, side string, o options) ([]string, error) {
	mode, program, _ := strings.Cut(side, "@")
	level, omit, wanted := "Metadata", "", mode
	switch mode {
	case "none":
		level, wanted = "None", "batch"
	case "one":
		omit, wanted = "    omitStages: [RequestReceived]\n", "batch"
	}
	logs, err := os.MkdirTemp(dir, mode+"-")
	if err != nil {
		return nil, err
	}
	policy := filepath.Join(dir, mode+".yaml")
	text := "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: " + level + "\n" + omit
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		return nil, err
	}
	command := []string{
		cmp.Or(program, self), "proxy", "--upstream", server, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--audit-policy-file", policy, "--audit-log-path", filepath.Join(logs, "audit.log"), "--audit-log-maxbackup", "1",
		"--audit-log-mode", wanted, "--audit-log-batch-max-size", "400", "--audit-log-batch-max-wait", "1s",
	}
	if !o.plain {
		command = append(command, "--upstream-ca-file", filepath.Join(dir, "cert.pem"),
			"--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-private-key-file", filepath.Join(dir, "key.pem"))
	}
	return command, nil
}

// launch starts a process and waits for the address that it prints.
func launch(ctx context.Context, command []string) (*exec.Cmd, string, error) {
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	read, write, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	c.Stdout, c.Stderr = write, write
	if err := c.Start(); err != nil {
		return nil, "", err
	}
	_ = write.Close() // the process has its own
	in := bufio.NewScanner(read)
	var said []string
	for in.Scan() {
		said = append(said, in.Text())
		if _, at, ok := strings.Cut(in.Text(), isAt); ok {
			at, _, _ = strings.Cut(at, " ")
			go func() { _, _ = io.Copy(io.Discard, read) }() // until the process ends
			return c, strings.TrimSuffix(at, "/"), nil
		}
	}
	_ = c.Process.Kill() // or it has ended
	return nil, "", fmt.Errorf("%w: %s", cmp.Or(c.Wait(), errors.New("it did not say where it is")), strings.Join(said, "\n"))
}

// isAt stands before the address that a process says it has.
const isAt = " is at "

// finish ends a process in order.
func finish(name string, c *exec.Cmd) error {
	_ = c.Process.Signal(os.Interrupt) // it may be gone
	if err := c.Wait(); err != nil && !strings.Contains(err.Error(), "signal: interrupt") {
		return fmt.Errorf("end %s: %w", name, err)
	}
	return nil
}
