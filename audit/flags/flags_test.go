package flags_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]string{
		"1.29": "1.29", "v1.29.3": "1.29", "v1.36.0-rc.1": "1.36", "1.28.5+k3s1": "1.28", "v1.27+": "1.27", "1.31.0-rc.1": "1.31",
		"": "error", "1": "error", "29": "error", "2.1": "error", "1.-3": "error", "1.x": "error", "2.0": "error", "1.": "error", "1.29!": "error", "latest": "error", "1.2\x1b": "error",
	} {
		v, err := flags.ParseVersion(in)
		got := v.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("ParseVersion(%q) = %s (%v), want %s", in, got, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"kube-apiserver --audit-log-path=/a":              "--audit-log-path=/a",
		"--audit-log-path /a --audit-log-maxage 3":        "--audit-log-path=/a --audit-log-maxage=3",
		"--audit_log_path=/a_b":                           "--audit-log-path=/a_b",
		"--audit-log-compress --audit-log-path=x":         "--audit-log-compress=true --audit-log-path=x",
		"--audit-log-compress true":                       "--audit-log-compress=true",
		"--audit-log-path --audit-log-maxage":             "--audit-log-path=--audit-log-maxage",
		"--audit-log-path":                                "--audit-log-path=",
		"--profiling --audit-log-path=x":                  "--profiling=true --audit-log-path=x",
		"--etcd-servers https://e -v 4 --x=y -- --after=": "--etcd-servers=https://e --x=y",
		"--audit-log-path=a --audit-log-path=b":           "--audit-log-path=a --audit-log-path=b",
		"--audit-log-path=a=b":                            "--audit-log-path=a=b",
		"-audit-log-path=a --- --=b":                      "",
	} {
		var got []string
		for _, a := range flags.Parse(strings.Fields(in)) {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("Parse(%q) = %q, want %q", in, s, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"kube-apiserver\x00--audit-log-path=/a", "--audit-log-maxage\x000x1f", "--audit-log-compress\x00--\x00--a=b", "--audit_log_batch_max_wait\x00-1ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := flags.Parse(strings.Split(s, "\x00"))
		var again []string
		for _, a := range args {
			again = append(again, a.String())
		}
		if back := flags.Parse(again); !slices.Equal(back, args) {
			t.Fatalf("Parse(%q) = %q, and that again %q", s, args, back)
		}
		settings, _ := flags.Read(args, flags.Version{})
		if settings.Version != flags.Latest {
			t.Fatalf("settings of version %v", settings.Version)
		}
		flags.Validate(args, flags.Oldest)
	})
}

func TestDefaultsByVersion(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    string
	}{
		{"1.35", "blocking 0 0 0 100 audit.k8s.io/v1"},
		{"1.36", "blocking 366 100 100 100 audit.k8s.io/v1"},
		{"1.99", "blocking 366 100 100 100 audit.k8s.io/v1"},
		{"1.5", "blocking 0 0 0 100 audit.k8s.io/v1"},
	} {
		v, err := flags.ParseVersion(tt.version)
		if err != nil {
			t.Fatal(err)
		}
		s, refused := flags.Read(nil, v)
		if len(refused) > 0 {
			t.Errorf("%s: the defaults are refused: %v", tt.version, refused[0])
		}
		got := fmt.Sprint(s.Log.Mode, s.Log.MaxAge, s.Log.MaxFiles, s.Log.MaxSize, s.Log.RotateAt(v), s.Log.GroupVersion)
		if want := strings.Replace(tt.want, " ", "", 1); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: %s, want %s", tt.version, got, tt.want)
		}
	}
	s, _ := flags.Read(nil, flags.Version{})
	w := s.Webhook
	if w.Mode != flags.Batch || w.BatchSize != 400 || w.BatchWait != 30*time.Second || !w.Throttle || w.QPS != 10 || w.Burst != 15 || w.Backoff != 10*time.Second || w.MaxEventSize != 102400 {
		t.Errorf("webhook defaults: %+v", w)
	}
}

func TestLastWins(t *testing.T) {
	s, refused := flags.Read(flags.Parse([]string{"--audit-log-path=a", "--audit-log-path=b", "--audit-webhook-initial-backoff=1s", "--audit-webhook-batch-initial-backoff=2s"}), flags.Version{})
	if s.Log.Path != "b" || s.Webhook.Backoff != 2*time.Second || len(refused) > 0 {
		t.Errorf("%q, %v, refused %v", s.Log.Path, s.Webhook.Backoff, refused)
	}
}

func TestValidate(t *testing.T) {
	const on = "--audit-log-path=/a --audit-policy-file=/p "
	for _, tt := range []struct{ version, args, want string }{
		{"1.37", on, ""},
		{"1.37", on + "--audit-log-mode=fast", "audit-log-mode"},
		{"1.37", "--audit-log-mode=fast", ""}, // the back end is off: not looked at
		{"1.37", on + "--audit-log-maxage=-1 --audit-log-maxsize=-1", "audit-log-maxage audit-log-maxsize"},
		{"1.37", on + "--audit-log-maxage=x --audit-log-maxage=3", "audit-log-maxage"},
		{"1.37", on + "--audit-log-maxage=30d", "audit-log-maxage"},
		{"1.37", on + "--audit-log-maxage=0x10", ""},
		{"1.37", on + "--audit-log-batch-max-size=0", ""}, // blocking mode
		{"1.37", on + "--audit-log-mode=batch --audit-log-batch-max-size=0", "audit-log-batch-max-size"},
		{"1.37", on + "--audit-log-mode=batch --audit-log-batch-buffer-size=0", "audit-log-batch-buffer-size"},
		{"1.37", on + "--audit-log-mode=batch --audit-log-batch-throttle-enable", "audit-log-batch-throttle-qps"},
		{"1.37", on + "--audit-log-mode=batch --audit-log-batch-throttle-enable --audit-log-batch-throttle-qps=1", "audit-log-batch-throttle-burst"},
		{"1.37", on + "--audit-log-truncate-max-event-size=0", "audit-log-truncate-max-event-size"},
		{"1.37", on + "--audit-log-truncate-max-batch-size=5", "audit-log-truncate-max-batch-size"},
		{"1.37", on + "--audit-log-format=text", "audit-log-format"},
		{"1.37", on + "--audit-log-version=audit.k8s.io/v1beta1", "audit-log-version"},
		{"1.23", on + "--audit-log-version=audit.k8s.io/v1beta1", ""},
		{"1.19", on + "--audit-log-compress", "audit-log-compress"},
		{"1.20", on + "--audit-log-compress", ""},
		{"1.18", on + "--audit-dynamic-configuration", "audit-dynamic-configuration"},
		{"1.18", on + "--audit-dynamic-configuration --feature-gates=A=true,DynamicAuditing=true", ""},
		{"1.19", on + "--audit-dynamic-configuration --feature-gates=DynamicAuditing=true", "audit-dynamic-configuration"},
		{"1.37", on + "--audit-log-initial-backoff=1s", "audit-log-initial-backoff"},
		{"1.37", "--audit-webhook-config-file=/w --audit-webhook-batch-throttle-qps=0", "audit-webhook-batch-throttle-qps"},
		{"1.37", "--audit-webhook-config-file=/w --audit-webhook-mode=", "audit-webhook-mode"},
	} {
		v, err := flags.ParseVersion(tt.version)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range flags.Validate(flags.Parse(strings.Fields(tt.args)), v) {
			got = append(got, r.Arg.Name)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s %s: refused %q, want %q", tt.version, tt.args, s, tt.want)
		}
	}
}

// What ktrail sets by default must be taken by every version it sets it for.
func TestRecommendedIsTaken(t *testing.T) {
	for minor := flags.Oldest.Minor; minor <= flags.Latest.Minor; minor++ {
		v := flags.Version{Major: 1, Minor: minor}
		var args []flags.Arg
		for _, c := range flags.Recommended(v) {
			if c.Reason == "" {
				t.Errorf("--%s has no reason", c.Name)
			}
			args = append(args, c.Arg)
		}
		for _, r := range flags.Validate(args, v) {
			t.Errorf("%s: %v", v, r)
		}
	}
}

func TestApply(t *testing.T) {
	args := flags.Parse(strings.Fields("--a=1 --audit-log-maxage=1 --b=2 --audit-log-maxage=2 --audit-log-batch-max-size=5"))
	got := flags.Apply(args, []flags.Arg{{Name: "audit-log-maxage", Value: "30"}, {Name: "audit-log-maxsize", Value: "100"}}, []string{"audit-log-batch-max-size"})
	want := flags.Parse(strings.Fields("--a=1 --b=2 --audit-log-maxage=30 --audit-log-maxsize=100"))
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
