package hosttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// Test holds what all hosts promise. dir is an absolute directory on the machine
// that may be filled, echo the address of a server reachable from the machine
// that sends back what it is sent. The machine must have cat, sh and sleep, or
// a Run that answers like them.
func Test(t *testing.T, h host.Host, dir, echo string) {
	t.Run("files", func(t *testing.T) { testFiles(t, h, path.Join(dir, "files")) })
	t.Run("directories", func(t *testing.T) { testDirs(t, h, path.Join(dir, "dirs")) })
	t.Run("missing", func(t *testing.T) { testMissing(t, h, path.Join(dir, "missing")) })
	t.Run("programs", func(t *testing.T) { testRun(t, h) })
	t.Run("cancelled", func(t *testing.T) { testCancelled(t, h, path.Join(dir, "cancelled")) })
	t.Run("dial", func(t *testing.T) { testDial(t, h, echo) })
}

func testFiles(t *testing.T, h host.Host, dir string) {
	ctx := t.Context()
	ok(t, h.MkdirAll(ctx, dir, 0o700))
	ok(t, h.MkdirAll(ctx, path.Join(dir, "temp"), 0o700))
	name := path.Join(dir, "a file's \"name\" $HOME")
	for _, data := range []string{"", "one\r\n", strings.Repeat("0123456789\x00", 20000)} {
		for _, o := range []host.WriteOptions{{Mode: 0o600}, {Mode: 0o644, Temp: path.Join(dir, "temp")}} {
			ok(t, h.WriteFile(ctx, name, []byte(data), o))
			got, err := h.ReadFile(ctx, name)
			ok(t, err)
			if string(got) != data {
				t.Errorf("read %d bytes, wrote %d", len(got), len(data))
			}
			info, err := h.Stat(ctx, name)
			ok(t, err)
			if info.Name != path.Base(name) || info.Size != int64(len(data)) || info.Mode != o.Mode {
				t.Errorf("stat of %d bytes with mode %v: %+v", len(data), o.Mode, info)
			}
			if age := time.Since(info.ModTime); age < -time.Hour || age > time.Hour {
				t.Errorf("changed at %v", info.ModTime)
			}
		}
	}
	ok(t, h.WriteFile(ctx, name, []byte("0123456789"), host.WriteOptions{Mode: 0o600}))
	for _, c := range []struct {
		offset int64
		n      int
		want   string
	}{{0, 4, "0123"}, {8, 4, "89"}, {10, 4, ""}, {99, 4, ""}, {0, 0, ""}} {
		data, size, err := h.ReadAt(ctx, name, c.offset, c.n)
		if err != nil || string(data) != c.want || size != 10 {
			t.Errorf("ReadAt %d, %d: %q of %d, %v; want %q", c.offset, c.n, data, size, err, c.want)
		}
	}
	// A write that cannot be done leaves the old content, and nothing beside it.
	err := h.WriteFile(ctx, name, []byte("x"), host.WriteOptions{Mode: 0o600, Temp: path.Join(dir, "none")})
	wantError(t, "write through a directory that is not there", err, fs.ErrNotExist)
	got, err := h.ReadFile(ctx, name)
	ok(t, err)
	if string(got) != "0123456789" {
		t.Errorf("content after a write that failed: %q", got)
	}
	big := path.Join(dir, "big")
	ok(t, h.WriteFile(ctx, big, make([]byte, host.MaxFile+1), host.WriteOptions{Mode: 0o600}))
	if _, err := h.ReadFile(ctx, big); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("reading a file that is too long: %v", err)
	}
	ok(t, h.Remove(ctx, big))
	ok(t, h.Remove(ctx, name))
	ok(t, h.Remove(ctx, name))
	if names := list(t, h, path.Join(dir, "temp")); names != "" {
		t.Errorf("left behind: %s", names)
	}
}

func testDirs(t *testing.T, h host.Host, dir string) {
	ctx := t.Context()
	deep := path.Join(dir, "a/b")
	for range 2 {
		ok(t, h.MkdirAll(ctx, deep, 0o750))
	}
	for _, d := range []string{path.Dir(deep), deep} {
		info, err := h.Stat(ctx, d)
		ok(t, err)
		if info.Mode != fs.ModeDir|0o750 {
			t.Errorf("mode of %s: %v", d, info.Mode)
		}
	}
	for _, n := range []string{"z", ".hidden", "m"} {
		ok(t, h.WriteFile(ctx, path.Join(dir, "a", n), nil, host.WriteOptions{Mode: 0o600}))
	}
	if got := list(t, h, path.Join(dir, "a")); got != ".hidden b/ m z" {
		t.Errorf("ReadDir: %s", got)
	}
	if err := h.Remove(ctx, path.Join(dir, "a")); err == nil {
		t.Error("a directory that is not empty was removed")
	}
	ok(t, h.Remove(ctx, deep))
	if _, err := h.Stat(ctx, deep); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of a removed directory: %v", err)
	}
	if err := h.MkdirAll(ctx, path.Join(dir, "a/m/below-a-file"), 0o700); err == nil {
		t.Error("a directory was made below a file")
	}
	if err := h.WriteFile(ctx, path.Join(dir, "a"), nil, host.WriteOptions{Mode: 0o600}); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if _, err := h.ReadFile(ctx, path.Join(dir, "a")); err == nil {
		t.Error("a directory was read as a file")
	}
	if got := list(t, h, path.Join(dir, "a")); got != ".hidden m z" {
		t.Errorf("after what was refused: %s", got)
	}
	for _, p := range []string{dir, path.Join(dir, "not/yet/made")} {
		free, total, err := h.Free(ctx, p)
		if err != nil || free <= 0 || total < free {
			t.Errorf("free at %s: %d of %d, %v", p, free, total, err)
		}
	}
}

func testMissing(t *testing.T, h host.Host, dir string) {
	ctx := t.Context()
	name := path.Join(dir, "none")
	_, err := h.ReadFile(ctx, name)
	wantError(t, "ReadFile", err, fs.ErrNotExist)
	_, _, err = h.ReadAt(ctx, name, 0, 1)
	wantError(t, "ReadAt", err, fs.ErrNotExist)
	_, err = h.Stat(ctx, name)
	wantError(t, "Stat", err, fs.ErrNotExist)
	_, err = h.ReadDir(ctx, name)
	wantError(t, "ReadDir", err, fs.ErrNotExist)
	wantError(t, "WriteFile", h.WriteFile(ctx, name, nil, host.WriteOptions{Mode: 0o600}), fs.ErrNotExist)
	if !strings.Contains(err.Error(), name) {
		t.Errorf("%q does not name %s", err, name)
	}
	if err := h.WriteFile(ctx, "relative", nil, host.WriteOptions{Mode: 0o600}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a relative path: %v", err)
	}
}

func testRun(t *testing.T, h host.Host) {
	ctx := t.Context()
	hostile := "two words; 'quote' \"double\" $HOME `id` \\ \n* é"
	r, err := h.Run(ctx, []string{"sh", "-c", `cat; echo "$1" >&2; exit 3`, "sh", hostile}, []byte("given\x00"))
	if err != nil || string(r.Stdout) != "given\x00" || string(r.Stderr) != hostile+"\n" || r.Status != 3 {
		t.Errorf("run: %q %q %d %v", r.Stdout, r.Stderr, r.Status, err)
	}
	r, err = h.Run(ctx, []string{"cat"}, nil)
	if err != nil || len(r.Stdout) != 0 || r.Status != 0 {
		t.Errorf("cat of nothing: %q %d %v", r.Stdout, r.Status, err)
	}
	for _, argv := range [][]string{{"no-such-program-here"}, {"/no/such/program", "x"}} {
		_, err = h.Run(ctx, argv, nil)
		wantError(t, "run "+argv[0], err, fs.ErrNotExist)
	}
	if r, err := h.Run(ctx, []string{"sh", "-c", "exit 127"}, nil); err != nil || r.Status != 127 {
		t.Errorf("a program's own 127: %d %v", r.Status, err)
	}
}

func testCancelled(t *testing.T, h host.Host, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := h.Run(ctx, []string{"sleep", "600"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("sleep that was cancelled: %v", err)
	}
	wantError(t, "MkdirAll", h.MkdirAll(ctx, dir, 0o700), context.Canceled)
	wantError(t, "WriteFile", h.WriteFile(ctx, dir, nil, host.WriteOptions{Mode: 0o600}), context.Canceled)
	_, err := h.Stat(t.Context(), dir)
	wantError(t, "Stat after a cancelled MkdirAll", err, fs.ErrNotExist)
}

func testDial(t *testing.T, h host.Host, echo string) {
	conn, err := h.Dial(t.Context(), "tcp", echo)
	ok(t, err)
	defer conn.Close()
	sent := bytes.Repeat([]byte("hello "), 10000)
	go conn.Write(sent) //nolint:errcheck // what was not written is not read either
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("echo: %v", err)
	}
	if conn, err := h.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
		conn.Close()
		t.Error("connected to a port where nobody listens")
	}
}

// Echo serves connections that send back what they are sent, until the test ends.
func Echo(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c) //nolint:errcheck // the other end went away
			}()
		}
	}()
	return l.Addr().String()
}

func list(t *testing.T, h host.Host, dir string) string {
	t.Helper()
	entries, err := h.ReadDir(t.Context(), dir)
	ok(t, err)
	var names []string
	for _, e := range entries {
		if e.Mode.IsDir() {
			e.Name += "/"
		}
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want one that is %q", what, err, want)
	}
}
