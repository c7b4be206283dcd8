package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// side is one of the proxies, and the connections to it.
type side struct {
	name, addr string
	pid        int
	tls        *tls.Config // nil for plain HTTP
	conns      []net.Conn
	rounds     []slice
}

func (s *side) dial(ctx context.Context, connections int) error {
	for range connections {
		var d interface {
			DialContext(context.Context, string, string) (net.Conn, error)
		} = &net.Dialer{}
		if s.tls != nil {
			d = &tls.Dialer{Config: s.tls}
		}
		c, err := d.DialContext(ctx, "tcp", s.addr)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", s.name, err)
		}
		s.conns = append(s.conns, c)
	}
	return nil
}

func (s *side) hangUp() {
	for _, c := range s.conns {
		_ = c.Close() // all answers are read
	}
	s.conns = nil
}

// ask has every connection ask, one request after the other, and returns what each took.
func (s *side) ask(ctx context.Context, length time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(length)
	took := make([][]time.Duration, len(s.conns))
	failed := make([]error, len(s.conns))
	var wg sync.WaitGroup
	for i, c := range s.conns {
		wg.Go(func() {
			buffer := make([]byte, 20<<10)
			for ctx.Err() == nil {
				begin := time.Now()
				if begin.After(end) && len(took[i]) > 0 {
					return
				}
				if failed[i] = exchange(c, buffer); failed[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...), errors.Join(append(failed, ctx.Err())...)
}

// request is a list by a controller with a token of a service account, which are some 900 bytes.
var request = []byte("GET /api/v1/namespaces/prod/pods?limit=500 HTTP/1.1\r\n" +
	"Host: kubernetes.default.svc\r\nAccept: application/json, */*\r\nAccept-Encoding: gzip\r\n" +
	"User-Agent: kube-controller-manager/v1.37.2 (linux/amd64) kubernetes/1a2b3c4/system:serviceaccount\r\n" +
	"Authorization: Bearer " + strings.Repeat("t", 900) + "\r\n\r\n")

// exchange asks, and reads the answer. A short one has its length, a longer one comes in chunks: an API server does
// not know the length of a list when it begins to write it. What more there is to HTTP would cost the
// client time that the proxies are to have.
func exchange(c net.Conn, buffer []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for n, first := 0, true; ; first = false {
		m, err := c.Read(buffer[n:])
		if err != nil {
			return err
		}
		n += m
		if first && !bytes.HasPrefix(buffer[:n], []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("unexpected answer: %s", buffer[:n])
		}
		if bytes.HasSuffix(buffer[:n], []byte("\r\n0\r\n\r\n")) || bytes.HasSuffix(buffer[:n], []byte("]}")) && bytes.Contains(buffer[:n], []byte("\r\nContent-Length: ")) {
			return nil
		}
		if n > len(buffer)/2 {
			n = copy(buffer, buffer[n-8:n])
		}
	}
}

// processor is the time that the side's process has spent on processors, to the nanosecond.
func (s *side) processor() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	if err != nil || len(threads) == 0 {
		return 0, err // not Linux
	}
	var sum int64
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", t, err)
		}
		sum += ns
	}
	return time.Duration(sum), nil
}
