package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the program for tests that run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ktrail":        func() { os.Exit(Main()) },
		"kubectl-trail": func() { os.Exit(Main()) },
	})
}

const (
	scriptDir  = "testdata/script"
	samplePath = "../../testdata/audit-sample.log.gz"
)

func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(scriptDir, "*.txt"))
	if err != nil || len(scripts) < 5 {
		t.Fatalf("%d scripts in %s, %v", len(scripts), scriptDir, err)
	}
	sample, err := filepath.Abs(samplePath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(sample); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 scriptDir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// An address where nothing answers, unless a script starts a server.
			e.Values[proxyOf{}] = &runningProxy{}
			e.Setenv("SAMPLE", sample)
			e.Setenv("KTRAIL_SERVER", "http://127.0.0.1:1")
			e.Setenv("TZ", "America/New_York")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			"serve": cmdServe,
			"same":  cmdSame,
			"lines": cmdLines,
			"flip":  cmdFlip,
			"feed":  cmdFeed,
			"unzip": cmdUnzip,

			"proxy":     cmdProxy,
			"stopproxy": cmdStopProxy,
			"fetch":     cmdFetch,
		},
	})
}

// cmdExits is "exits STATUS PROGRAM ARG...": the program ends with that status.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits status program arg...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := status(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("%v exits with %d, want %d", args[1:], got, want)
	}
}

func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// cmdServe is "serve ARG...": it runs ktrail serve on a free port until the
// script ends and sets KTRAIL_SERVER.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve arg...")
	}
	s, err := startServe(ts.Getenv("WORK"), args...)
	ts.Check(err)
	ts.Defer(func() { s.kill() })
	ts.Setenv("KTRAIL_SERVER", s.url)
}

var cursor = regexp.MustCompile(`\b(AQ[\w-]{20,60})`)

// cmdSame is "same ARG...": with the server and with --data data the command
// gives the same output, notes and status, and output at all.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: same arg...")
	}
	// Not ts.Exec, which would log megabytes.
	run := func(more ...string) (string, string, int) {
		cmd := exec.Command("ktrail", append(append([]string{}, args...), more...)...)
		cmd.Dir = ts.Getenv("WORK")
		var out, notes strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &notes
		err := cmd.Run()
		return out.String(), notes.String(), status(err)
	}
	out, notes, code := run("--server", ts.Getenv("KTRAIL_SERVER"))
	dataOut, dataNotes, dataCode := run("--data", "data")
	// A cursor holds when it was asked.
	for _, s := range []*string{&out, &notes, &dataOut, &dataNotes} {
		*s = cursor.ReplaceAllString(*s, "CURSOR")
	}
	if code != dataCode || notes != dataNotes {
		ts.Fatalf("%v: from the server status %d and %q, from the data directory %d and %q", args, code, notes, dataCode, dataNotes)
	}
	if out != dataOut {
		ts.Fatalf("%v: from the server:\n%.2000s\nfrom the data directory:\n%.2000s", args, out, dataOut)
	}
	if code == 0 && strings.TrimSpace(out) == "" {
		ts.Fatalf("%v: no output", args)
	}
}

// cmdLines is "lines FILE N": the file has N lines.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines file n")
	}
	if got := strconv.Itoa(strings.Count(ts.ReadFile(args[0]), "\n")); got != args[1] {
		ts.Fatalf("%s has %s lines, want %s", args[0], got, args[1])
	}
}

// cmdFlip is "flip GLOB": one bit in the middle of the one file is turned.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip glob")
	}
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("%s: no such file", args[0])
	}
	b, err := os.ReadFile(files[0])
	ts.Check(err)
	b[len(b)/2] ^= 0x10
	ts.Check(os.WriteFile(files[0], b, 0o600))
}

// cmdUnzip is "unzip FROM TO".
func cmdUnzip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unzip from to")
	}
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	ts.Check(err)
	text, err := io.ReadAll(z)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// cmdFeed is "feed FILE": an event is appended every 20 ms until the script ends.
func cmdFeed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: feed file")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer func() { _ = f.Close() }()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			at := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
			if _, err := fmt.Fprintf(f, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"fed-%d","stage":"ResponseComplete",`+
				`"requestURI":"/version","verb":"get","user":{"username":"fed"},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`+"\n", i, at, at); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	ts.Defer(func() {
		close(stop)
		<-stopped
	})
}

// served is a running ktrail serve.
type served struct {
	cmd *exec.Cmd
	url string
	// hook is where to post, with --webhook-listen.
	hook string
	log  bytes.Buffer
}

func startServe(dir string, args ...string) (*served, error) {
	s := &served{cmd: exec.Command("ktrail", append([]string{"serve", "--listen", "127.0.0.1:0", "--min-free", "1MB"}, args...)...)}
	s.cmd.Dir = dir
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	_, rest, ok := strings.Cut(line, " is at ")
	if err == nil && ok && slices.Contains(args, "--webhook-listen") {
		line, err = lines.ReadString('\n')
		s.hook, _, ok = strings.Cut(strings.TrimPrefix(line, "API servers post events to "), " (")
	}
	if err != nil || !ok {
		s.kill()
		return nil, fmt.Errorf("serve says %q, %w: %s", line, err, s.log.String())
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	s.url, _, _ = strings.Cut(rest, "/ ")
	return s, nil
}

func (s *served) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// stop ends the server as systemd does and checks that it ends in order.
func (s *served) stop(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })
	defer stop()
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("serve after SIGTERM: %v\n%s", err, s.log.String())
	}
}
