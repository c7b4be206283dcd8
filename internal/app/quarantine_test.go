package app

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/web"
)

// TestQuarantineIsRedacted: what cannot be decoded cannot be redacted piece by
// piece, so nothing of it leaves the server.
func TestQuarantineIsRedacted(t *testing.T) {
	a, err := New(t.Context(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := a.intake.Append(t.Context(), collect.Commit{
		Source: "/a.log",
		Quarantined: []collect.Quarantined{
			{Source: "/a.log", File: "/a.log", Offset: 7, Reason: "not JSON", At: audit.Time(1), Line: []byte(`{"data":{"password":"hunter2"`)},
		},
	}); err != nil {
		t.Fatal(err)
	}
	got, err := a.quarantine(t.Context(), web.QuarantineQuestion{Limit: 5})
	if err != nil || len(got.Lines) != 1 || got.More {
		t.Fatalf("%+v, %v", got, err)
	}
	l := got.Lines[0]
	if l.Source != "/a.log" || l.Offset != 7 || l.Reason != "not JSON" || len(l.Line) == 0 || l.Bytes != len(l.Line) || l.Cut || strings.Contains(string(l.Line), "hunter2") {
		t.Errorf("got %+v, %s", l, l.Line)
	}
}

// TestViewsOutliveTheServer: and a damaged file of views keeps nobody from
// collecting events, nor is it overwritten.
func TestViewsOutliveTheServer(t *testing.T) {
	o := options(t)
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := os.MkdirAll(o.Store.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(o.Store.Dir, "views.json")
	for _, tt := range []struct {
		text   string
		status int
		body   string
		logged bool
	}{
		{`{"version":1,"views":[{"name":"kept","state":"/objects","created":"","changed":""}]}`, 200, `"kept"`, false},
		{`{"version":1,"views":[{"na`, 503, "its log says why", true},
	} {
		log.Reset()
		if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "http://127.0.0.1/api/v1/views", nil)
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		if err := a.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("%s: %d %s", tt.text, w.Code, w.Body)
		}
		if logged := strings.Contains(log.String(), "saved views cannot be used"); logged != tt.logged {
			t.Errorf("%s: the log is %s", tt.text, log.String())
		}
		if now, err := os.ReadFile(name); err != nil || string(now) != tt.text {
			t.Errorf("the file is now %s, %v", now, err)
		}
	}
}
