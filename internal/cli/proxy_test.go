package cli

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

var proxyAt = regexp.MustCompile(`is at (\S+)/ for \S+, health and metrics at (\S+)/`)

// proxyOf is where a script keeps its proxy.
type proxyOf struct{}

// runningProxy is the proxy of a script.
type runningProxy struct {
	cmd   *exec.Cmd
	notes strings.Builder
	done  chan error
}

// cmdProxy is "proxy ARG...": it runs ktrail proxy on free ports until stopproxy, or the
// script, ends it, and sets PROXY and ADMIN.
func cmdProxy(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: proxy arg...")
	}
	p := ts.Value(proxyOf{}).(*runningProxy)
	p.cmd = exec.Command("ktrail", append([]string{"proxy", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = ts.Getenv("WORK")
	p.cmd.Stderr = &p.notes
	out, err := p.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	p.done = make(chan error, 1)
	go func() { p.done <- p.cmd.Wait() }()
	ts.Defer(func() { _ = p.stop() })
	at := proxyAt.FindStringSubmatch(line)
	if err != nil || at == nil {
		_ = p.stop()
		ts.Fatalf("proxy says %q, %v: %s", line, err, p.notes.String())
	}
	ts.Setenv("PROXY", at[1])
	ts.Setenv("ADMIN", at[2])
}

// stop ends the proxy as systemd does.
func (p *runningProxy) stop() error {
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd = nil
	return errors.Join(err, <-p.done)
}

// cmdStopProxy is "stopproxy": the proxy is ended, and must end in order.
func cmdStopProxy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: stopproxy")
	}
	p := ts.Value(proxyOf{}).(*runningProxy)
	if err := p.stop(); err != nil {
		ts.Fatalf("proxy after SIGTERM: %v\n%s", err, p.notes.String())
	}
}

// cmdFetch is "fetch STATUS URL": the answer to a GET has the status; its body is stdout.
func cmdFetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fetch status url")
	}
	res, err := http.Get(args[1]) //nolint:noctx // the script ends it
	ts.Check(err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	ts.Check(err)
	if strconv.Itoa(res.StatusCode) != args[0] {
		ts.Fatalf("%s answers %s: %s", args[1], res.Status, text)
	}
	_, err = ts.Stdout().Write(text)
	ts.Check(err)
}
