package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/visible"
)

func TestTableFits(t *testing.T) {
	rows := [][]string{
		{"Nov 22 19:44:31", "system:serviceaccount:kube-system:replicaset-controller", "create", "kube-system", "pods/coredns-7f4c9d8b6c-x2x4z", "201"},
		{"Nov 22 19:44:32", "alice@example.com", "deletecollection", "", "clusterroles.rbac.authorization.k8s.io/" + strings.Repeat("x", 250), "403"},
		{"Nov 22 19:44:33", "日本語ユーザー", "get", "prod", "/healthz", ""},
	}
	for _, format := range []string{formatTable, formatWide} {
		for _, width := range []int{36, 40, 60, 80, 100, 200} {
			p := &page{output: &output{format: format}, tty: true, width: width, zone: time.UTC, now: time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)}
			var b bytes.Buffer
			tb := &table{w: &b, width: width, header: true, columns: eventTable(p)}
			for _, row := range rows {
				for len(row) < len(tb.columns) {
					row = append(row, "some value")
				}
				if err := tb.add(row); err != nil {
					t.Fatal(err)
				}
			}
			if err := tb.flush(); err != nil {
				t.Fatal(err)
			}
			for _, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
				if n := visible.Width(l); n > width {
					t.Errorf("%s, %d columns: a line has %d: %q", format, width, n, l)
				}
			}
			if n := strings.Count(b.String(), "\n"); n != len(rows)+1 {
				t.Errorf("%s, %d columns: %d lines, want %d", format, width, n, len(rows)+1)
			}
		}
	}
}

// A table streams: what it holds does not grow with its rows.
func TestTableStreams(t *testing.T) {
	var b bytes.Buffer
	tb := &table{w: &b, header: true, columns: []column{{title: "A"}, {title: "B"}}}
	for range 10 * tableLook {
		if err := tb.add([]string{"some", "value"}); err != nil {
			t.Fatal(err)
		}
		if len(tb.held) > tableLook {
			t.Fatalf("holds %d rows", len(tb.held))
		}
	}
	if err := tb.flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 10*tableLook+1 {
		t.Errorf("%d lines, want %d", n, 10*tableLook+1)
	}
	if !strings.HasPrefix(b.String(), "A     B\nsome  value\n") {
		t.Errorf("begins with %q", b.String()[:30])
	}
}
