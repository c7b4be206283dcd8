package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ktrail/ktrail/internal/sample"
)

// probes is how many lines the freshness is measured on.
const probes = 30

// server is a running ktrail serve.
type server struct {
	cmd  *exec.Cmd
	addr string
}

func startServer(ctx context.Context, o options, args ...string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	s := &server{addr: addr}
	s.cmd = exec.CommandContext(ctx, o.ktrail, append([]string{"serve", "--listen", addr}, args...)...)
	var log bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = io.Discard, &log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for range 300 {
		if code, _, err := s.get(ctx, "/readyz"); err == nil && code == http.StatusOK {
			return s, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("serve is not ready after 15 s: %s", log.String()), s.stop())
}

func (s *server) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// peak is the most memory the server has held, in bytes.
func (s *server) peak() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, errors.New("this system does not tell VmHWM")
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kb * 1024, err
}

func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// benchFreshness writes lines to a followed log and asks until each answers.
func benchFreshness(ctx context.Context, o options, t *table) error {
	dir := filepath.Join(o.dir, "fresh")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := sample.Generate(&text, sample.Options{Log: sampleLog, Events: 1000, Seed: 2, Days: 1}); err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		if strings.Contains(line, `"stage":"ResponseComplete"`) {
			lines = append(lines, line)
		}
	}
	if len(lines) < probes {
		return fmt.Errorf("the generated log has %d finished requests, too few for %d probes", len(lines), probes)
	}
	path := filepath.Join(dir, "audit.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s, err := startServer(ctx, o, "--data", filepath.Join(dir, "data"), "--audit-log", path)
	if err != nil {
		return err
	}
	var took []time.Duration
	for i := range probes {
		var e struct {
			AuditID string `json:"auditID"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &e); err != nil {
			return err
		}
		ask := "/api/v1/events?limit=1&filter=" + url.QueryEscape(fmt.Sprintf("audit_id == %q", e.AuditID))
		began := time.Now()
		if _, err := log.WriteString(lines[i]); err != nil {
			return err
		}
		for {
			code, body, err := s.get(ctx, ask)
			if err != nil {
				return err
			}
			if code == http.StatusOK && bytes.Contains(body, []byte(`"audit_id":"`+e.AuditID)) {
				break
			}
			if time.Since(began) > time.Minute {
				return fmt.Errorf("event %s is not answerable a minute after it was written: %d %s", e.AuditID, code, body)
			}
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(began))
		time.Sleep(time.Duration(i%7) * 50 * time.Millisecond) // not in step with the commits
	}
	slices.Sort(took)
	t.row("written to the log → answerable", "–",
		fmt.Sprintf("median **%.0f ms**, worst %.0f ms of %d", ms(took[len(took)/2]), ms(took[len(took)-1]), len(took)), "1 s at most")
	return s.stop()
}

// benchMemory loads the whole log through a running server while it is asked.
func benchMemory(ctx context.Context, o options, t *table, log string) error {
	data := filepath.Join(o.dir, "memory")
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	s, err := startServer(ctx, o, "--data", data)
	if err != nil {
		return err
	}
	load := exec.CommandContext(ctx, o.ktrail, "import", "--server", "http://"+s.addr, log)
	load.Stderr = os.Stderr
	if err := load.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- load.Wait() }()
	for loading := true; loading; {
		select {
		case err := <-done:
			if err != nil {
				return errors.Join(err, s.stop())
			}
			loading = false
		case <-time.After(time.Second):
			if _, _, err := s.get(ctx, "/api/v1/top?by=user"); err != nil {
				return err
			}
		}
	}
	peak, err := s.peak()
	if err != nil {
		return err
	}
	t.row("peak memory of `serve` at full ingest, asked once a second", "–", "**"+mb(peak)+"**", "512 MB at most")
	return s.stop()
}
