package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/node/config"
)

// TestDeclarative reads configurations as people write them.
func TestDeclarative(t *testing.T) {
	a, err := txtar.ParseFile("testdata/declarative.txt")
	if err != nil || len(a.Files) < 12 {
		t.Fatalf("%d forms, %v", len(a.Files), err)
	}
	var b strings.Builder
	for _, f := range a.Files {
		kind, err := config.Detect(f.Data)
		fmt.Fprintf(&b, "-- %s --\nis %s, %v\n", f.Name, kind, err)
		if err != nil {
			continue
		}
		s, err := config.Read(kind, f.Data)
		var refused *config.RefusedError
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%s: %v", f.Name, err)
		}
		if err != nil {
			fmt.Fprintf(&b, "refused: %v\n", err)
			continue
		}
		fmt.Fprintf(&b, "version %q\n", s.Version)
		for _, a := range s.Args {
			fmt.Fprintf(&b, "%d: %s\n", a.Line, a)
		}
		for _, m := range s.Mounts {
			fmt.Fprintf(&b, "%d: mount %s at %s, read-only %t, %s\n", m.Line, m.HostPath, m.MountPath, m.ReadOnly, m.Type)
		}
		if s.Policy != nil {
			fmt.Fprintf(&b, "%d: policy\n%s", s.PolicyLine, s.Policy)
		}
	}
	golden.Check(t, "testdata/declarative.golden", b.String())
}
