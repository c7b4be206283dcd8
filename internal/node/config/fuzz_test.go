package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// stream decodes a text of any form; what Kubernetes reads is a part of that.
func stream(data string) (out []any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	for d := yaml.NewDecoder(bytes.NewReader([]byte(data))); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

// FuzzPatch holds for any file that a patch changes audit settings and nothing
// else, that it can be undone to the byte, or that it is refused.
func FuzzPatch(f *testing.F) {
	manifests, err := filepath.Glob("testdata/kubeadm/*.yaml")
	if err != nil || len(manifests) == 0 {
		f.Fatalf("no manifests: %v", err)
	}
	for _, file := range []string{manifests[0], manifests[len(manifests)-1]} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "30", "/var/log/kubernetes/audit")
	}
	values := []string{"30", "a: b", "x #y", "yes", "'", `"\`, "-", "", " "}
	for i, form := range forms(f) {
		f.Add(string(form.Data), values[i%len(values)], "/var/log/a b")
		f.Add("\ufeff"+strings.ReplaceAll(strings.TrimSuffix(string(form.Data), "\n"), "\n", "\r\n"), "true", "/log")
	}
	f.Fuzz(func(t *testing.T, data, value, dir string) {
		kind, err := config.Detect([]byte(data))
		if err != nil {
			kind = config.StaticPod
		}
		for _, k := range []config.Kind{config.StaticPod, config.KubeadmConfig, config.CommandLine} {
			var refused *config.RefusedError
			if _, err := config.Read(k, []byte(data)); err != nil && !errors.As(err, &refused) {
				t.Fatalf("error %v is no *RefusedError", err)
			}
		}
		if kind == config.CommandLine {
			return
		}
		if kind == config.StaticPod {
			stamped, err := config.Patch(kind, []byte(data), config.Change{Stamp: "S"})
			if before, rerr := config.Read(kind, []byte(data)); err == nil && rerr == nil && before.Stamp == "" {
				if back, err := config.Patch(kind, stamped, config.Change{Unstamp: true}); err != nil || string(back) != data {
					t.Fatalf("a stamp does not come off: %v\n%s\n%s", err, stamped, back)
				}
			}
		}
		_, _ = check(t, kind, data, config.Change{
			Set: []flags.Arg{{Name: "audit-log-maxage", Value: "30"}, {Name: "audit-log-path", Value: value}},
			AddMounts: []config.Mount{
				{MountPath: "/etc/kubernetes/audit.yaml", Type: "File", ReadOnly: true},
				{Name: "audit-log", MountPath: dir, Type: "DirectoryOrCreate"},
			},
		}, stream)
	})
}
