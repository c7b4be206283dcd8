package compat

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	// What the API server's tests import, so that go.mod has it.
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/stretchr/testify/assert"
	_ "github.com/stretchr/testify/require"
	_ "k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// The API server's own tests of its loader and its evaluator, run on ours. The
// package that they run in exists in an overlay only: its tests are those in the
// module cache, and what they test hands over to audit/policy.
func TestUpstreamSuite(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "k8s.io/apiserver/pkg/audit/policy").Output()
	if err != nil {
		t.Fatalf("find the API server's package: %v", err)
	}
	dir := strings.TrimSpace(string(out))
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(here, "suite")
	for _, name := range []string{"checker_test.go", "reader_test.go"} {
		theirs := filepath.Join(dir, name)
		if _, err := os.Stat(theirs); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(suite, name)] = theirs
	}
	for _, name := range []string{"checker.go", "reader.go"} {
		overlay.Replace[filepath.Join(suite, name)] = filepath.Join(here, "testdata", "suite", name+".txt")
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// Built and run apart, since go test and go vet change to the directory of a package.
	binary := filepath.Join(t.TempDir(), "suite.test")
	if out, err := exec.Command("go", "test", "-vet=off", "-c", "-o", binary, "-overlay", file, "./suite").CombinedOutput(); err != nil {
		t.Fatalf("build the suite: %v\n%s", err, out)
	}
	run := exec.Command(binary, "-test.v")
	run.Dir = t.TempDir()
	if out, err = run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"TestChecker", "TestCheckerPolicyOmitStages", "TestOmitManagedFields", "TestParser", "TestParsePolicyWithNoVersionOrKind", "TestParsePolicyWithUnknownField", "TestPolicyCntCheck"} {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s did not run\n%s", name, out)
		}
	}
}
