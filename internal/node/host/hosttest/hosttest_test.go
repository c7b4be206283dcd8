package hosttest_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

func TestMachine(t *testing.T) {
	m := hosttest.NewMachine()
	m.Run = func(ctx context.Context, argv []string, stdin []byte) (host.Result, error) {
		switch strings.Join(argv[:min(2, len(argv))], " ") {
		case "cat":
			return host.Result{Stdout: stdin}, nil
		case "sh -c":
			if len(argv) < 5 {
				return host.Result{Status: 127}, nil
			}
			return host.Result{Stdout: stdin, Stderr: []byte(argv[4] + "\n"), Status: 3}, nil
		case "sleep 600":
			<-ctx.Done()
			return host.Result{}, ctx.Err()
		}
		return host.Result{}, &fs.PathError{Op: "run", Path: argv[0], Err: fs.ErrNotExist}
	}
	m.Dial = (&net.Dialer{}).DialContext
	hosttest.Test(t, m.Connect("fake"), "/work", hosttest.Echo(t))
}

func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		fault   hosttest.Fault
		crashed bool
		want    string // the file's content afterwards
		litter  bool
		lost    bool
	}{
		{name: "passes", want: "new"},
		{name: "fails", fault: hosttest.Fault{Err: broken}, want: "old"},
		{name: "fails but done", fault: hosttest.Fault{Err: broken, Done: true}, want: "new"},
		{name: "fails and leaves litter", fault: hosttest.Fault{Err: broken, Litter: true}, want: "old", litter: true},
		{name: "lost before", fault: hosttest.Fault{Lost: true}, want: "old", lost: true},
		{name: "lost after", fault: hosttest.Fault{Lost: true, Done: true}, want: "new", lost: true},
		{name: "crash before", fault: hosttest.Fault{Crash: true}, crashed: true, want: "old"},
		{name: "crash after", fault: hosttest.Fault{Crash: true, Done: true}, crashed: true, want: "new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := hosttest.NewMachine()
			m.Put("/etc/x", []byte("old"), 0o600)
			var changed []string
			m.Changed = func(p string) { changed = append(changed, p) }
			h := m.Connect("fake")
			h.Decide = func(n int, op, about string) hosttest.Fault {
				if n == 2 && op == "write" && about == "/etc/x" {
					return c.fault
				}
				return hosttest.Fault{}
			}
			write := func() error {
				if _, err := h.Stat(t.Context(), "/etc/x"); err != nil {
					return err
				}
				return h.WriteFile(t.Context(), "/etc/x", []byte("new"), host.WriteOptions{Mode: 0o600})
			}
			crashed, err := hosttest.Survive(write)
			if crashed != c.crashed {
				t.Errorf("crashed: %v", crashed)
			}
			if c.fault.Err != nil && !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
			var lost *host.LostError
			if errors.As(err, &lost) != c.lost {
				t.Errorf("lost: %v", err)
			}
			if got, _ := m.Get("/etc/x"); string(got) != c.want {
				t.Errorf("content %q, want %q", got, c.want)
			}
			if got := len(m.Tree("/etc")) > 2; got != c.litter {
				t.Errorf("litter: %v", m.Tree("/etc"))
			}
			if told := slices.Contains(changed, "/etc/x"); told != (c.want == "new") {
				t.Errorf("changed: %v", changed)
			}
			again, err := hosttest.Survive(write)
			if again != c.crashed || (err != nil) != c.lost {
				t.Errorf("afterwards: crashed %v, %v", again, err)
			}
			if got := strings.Join(m.Log()[:2], ", "); got != "stat /etc/x, write /etc/x" {
				t.Errorf("log: %s", got)
			}
			if _, err := m.Connect("second").Stat(t.Context(), "/etc/x"); err != nil {
				t.Errorf("a second connection: %v", err)
			}
		})
	}
}
