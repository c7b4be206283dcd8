package app

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ktrail/ktrail/internal/store"
)

func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	return Options{
		Store:  StoreOptions{Dir: filepath.Join(dir, "data"), MinFree: 1 << 20},
		Listen: "127.0.0.1:0", Logs: []string{filepath.Join(dir, "audit.log")}, Version: "test",
		Logger: slog.New(slog.DiscardHandler),
	}
}

// TestMetricsAreDescribed: docs/metrics.md lists what a running server has, all
// of it and nothing else.
func TestMetricsAreDescribed(t *testing.T) {
	o := options(t)
	o.Webhook.Listen = "127.0.0.1:0"
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	descs := make(chan *prometheus.Desc)
	go func() {
		a.registry.Describe(descs)
		close(descs)
	}()
	var have []string
	for d := range descs {
		if m := regexp.MustCompile(`fqName: "(ktrail_\w+)"`).FindStringSubmatch(d.String()); m != nil {
			have = append(have, m[1])
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(ktrail_\\w+)` \\|").FindAllStringSubmatch(string(text), -1) {
		described = append(described, m[1])
	}
	slices.Sort(have)
	have = slices.Compact(have)
	slices.Sort(described)
	if len(have) < 20 || !slices.Equal(have, described) {
		t.Errorf("the server has\n%s\nthe document\n%s", strings.Join(have, "\n"), strings.Join(described, "\n"))
	}
}

// TestNewUndone: a start that fails half-way holds nothing any more, neither the
// address nor the directory, and the next one works.
func TestNewUndone(t *testing.T) {
	free := func(t *testing.T) string {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	fails := func(t *testing.T, o Options, want string) {
		t.Helper()
		a, err := New(t.Context(), o)
		if err == nil {
			_ = a.Stop(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	works := func(t *testing.T, o Options) {
		t.Helper()
		a, err := New(t.Context(), o)
		if err != nil {
			t.Fatalf("the next start: %v", err)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("address taken", func(t *testing.T) {
		o := options(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Listen = l.Addr().String()
		fails(t, o, "another ktrail")
		if _, err := os.Stat(o.Store.Dir); !os.IsNotExist(err) {
			t.Errorf("the directory was touched: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		works(t, o)
	})
	t.Run("directory in use", func(t *testing.T) {
		o := options(t)
		first, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		o.Listen = free(t)
		fails(t, o, store.ErrLocked.Error())
		if err := first.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		works(t, o)
	})
	t.Run("damaged key", func(t *testing.T) {
		o := options(t)
		o.Listen = free(t)
		works(t, o)
		key := filepath.Join(o.Store.Dir, keyFile)
		good, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, good[:3], 0o600); err != nil {
			t.Fatal(err)
		}
		fails(t, o, keyFile)
		if err := os.WriteFile(key, good, 0o600); err != nil {
			t.Fatal(err)
		}
		works(t, o)
	})
	t.Run("wrong log path", func(t *testing.T) {
		o := options(t)
		o.Listen = free(t)
		good := o.Logs
		o.Logs = []string{"/var/log/[audit"}
		fails(t, o, "[audit")
		o.Logs = good
		works(t, o)
	})
}
