// Package ktrail_test holds the rules that concern the whole tree.
package ktrail_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ktrail/ktrail"

// room is what a package may import: of this module the packages in uses, of
// others the module prefixes in libs. The standard library is open to all but
// where noIO is set. why is what a person reads who broke the rule.
type room struct {
	uses []string
	libs []string
	noIO bool
	why  string
}

// house is docs/architecture.md as a table. Imports point down it only.
var house = map[string]room{
	"cmd/ktrail": {
		uses: []string{"internal/cli"},
		why:  "main only hands over to internal/cli, so that tests can run the whole program in process",
	},
	"bench": {
		uses: []string{"internal/query", "internal/store", "internal/sample", "audit"},
		libs: []string{"github.com/duckdb/duckdb-go", "github.com/klauspost/compress", "golang.org/x/sync"},
		why:  "the benchmark asks as users do: through the built program and the store's questions",
	},
	"bench/proxy": {
		uses: []string{"internal/cli", "audit/capture"},
		why:  "ktrail proxy and the bare proxy beside it run one executable",
	},
	"internal/cli": {
		uses: []string{"internal/app", "internal/web", "internal/query", "internal/store", "internal/collect", "internal/advise", "internal/node", "internal/node/config", "internal/node/host", "internal/diff", "internal/nearest", "internal/sheet", "internal/visible", "audit/logfile", "audit/policy", "audit/policy/lint", "audit/policy/simulate", "audit/policy/coverage", "audit/flags", "audit/finding", "audit"},
		libs: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "golang.org/x/sync", "golang.org/x/sys", "sigs.k8s.io/yaml"},
		why:  "commands parse, ask and print; parts are wired together in internal/app",
	},
	"internal/app": {
		uses: []string{"internal/web", "internal/query", "internal/saved", "internal/store", "internal/collect", "internal/durable", "internal/kubeconfig", "audit/backend", "audit/capture", "audit/flags", "audit/policy", "audit/pipeline", "audit/logfile", "audit/webhook", "audit"},
		libs: []string{"github.com/prometheus/client_golang", "golang.org/x/sync"},
		why:  "the composition root knows the parts, not their libraries",
	},
	"internal/web": {
		uses: []string{"internal/query", "internal/saved", "internal/sheet", "internal/visible", "audit"},
		libs: []string{"github.com/prometheus/client_golang", "golang.org/x/sync"},
		why:  "pages and the API ask questions; they never see how the store answers",
	},
	"internal/store": {
		uses: []string{"internal/query", "internal/durable", "audit"},
		libs: []string{"github.com/duckdb", "github.com/parquet-go/parquet-go", "github.com/klauspost/compress", "github.com/zeebo/xxh3", "github.com/prometheus/client_golang", "golang.org/x/sys", "golang.org/x/sync"},
		why:  "the store must be replaceable: it is known by query.Source and an appender alone",
	},
	"internal/node": {
		uses: []string{"internal/diff", "internal/node/config", "internal/node/host", "audit/policy", "audit/flags", "audit/finding"},
		libs: []string{"sigs.k8s.io/yaml"},
		why:  "the life cycle of a node's auditing runs the same on every host: it reaches files, programs and the API server through host.Host alone",
	},
	"internal/advise": {
		uses: []string{"audit", "audit/finding", "audit/flags", "audit/logfile", "audit/policy", "internal/node/config", "internal/node/host"},
		libs: []string{"sigs.k8s.io/yaml"},
		why:  "flags are judged in audit/flags; here they are found, with the files they name",
	},
	"internal/node/config": {
		uses: []string{"audit/flags", "internal/nearest"},
		libs: []string{"go.yaml.in/yaml/v3"},
		why:  "a patch is a pure function of bytes: no host, no I/O",
	},
	"internal/node/host": {
		uses: []string{"internal/durable"},
		libs: []string{"golang.org/x/crypto", "github.com/pkg/sftp", "golang.org/x/sys"},
		why:  "a machine is reached the same way whatever is done on it",
	},
	"internal/node/host/hosttest": {
		uses: []string{"internal/node/host"},
		why:  "a machine for tests knows what a host promises, not what is done on it",
	},
	"internal/diff": {
		why: "what a file will become is shown the same way wherever it is planned",
	},
	"internal/golden": {
		uses: []string{"internal/diff"},
		why:  "what tests compare with is compared and written in one way; tests alone import it",
	},
	"internal/sheet": {
		why: "one idea of what a spreadsheet takes for a formula, for every table",
	},
	"internal/saved": {
		uses: []string{"internal/durable", "audit"},
		why:  "saved views are a small file; they know neither pages nor store",
	},
	"internal/visible": {
		why: "one idea of which characters are hostile, and of how the rest fits, for terminals, files and pages",
	},
	"internal/kubeconfig": {
		libs: []string{"sigs.k8s.io/yaml"},
		why:  "credentials are read in one way, whoever signs on with them",
	},
	"internal/nearest": {
		why: "one idea of what a mistyped word meant, for every package",
	},
	"internal/query": {
		uses: []string{"audit", "internal/nearest", "internal/visible"},
		libs: []string{"cel.dev/cel-go", "google.golang.org/genproto", "google.golang.org/protobuf", "golang.org/x/sync"},
		why:  "questions are the same whichever store answers them",
	},
	"internal/query/querytest": {
		uses: []string{"internal/query", "audit"},
		why:  "a Source for tests is made of the query package's own parts",
	},
	"internal/collect": {
		uses: []string{"audit", "audit/logfile"},
		libs: []string{"github.com/fsnotify/fsnotify", "github.com/klauspost/compress", "github.com/prometheus/client_golang", "github.com/zeebo/xxh3", "golang.org/x/sync"},
		why:  "the collector hands batches to an Appender that it declares itself; it must not know a store",
	},
	"internal/sample": {
		uses: []string{"audit"},
		libs: []string{"github.com/klauspost/compress"},
		why:  "the generator makes input; what reads it is not its business",
	},
	"internal/durable": {
		libs: []string{"golang.org/x/sys"},
		why:  "the file-system seam is the ground floor",
	},
	"audit/logfile": {
		uses: []string{"audit", "internal/durable"},
		libs: []string{"github.com/klauspost/compress", "github.com/fsnotify/fsnotify", "github.com/zeebo/xxh3", "golang.org/x/sys"},
		why:  "audit/... is a public library: no store, no query, no web",
	},
	"audit/pipeline": {
		uses: []string{"audit", "internal/durable"},
		libs: []string{"go.yaml.in/yaml/v3"},
		why:  "audit/... is a public library: no store, no query, no web",
	},
	"audit/backend": {
		uses: []string{"audit", "audit/flags", "audit/logfile", "audit/pipeline", "audit/webhook"},
		why:  "audit/... is a public library: no store, no query, no web",
	},
	"audit/capture": {
		uses: []string{"audit", "audit/internal/status", "audit/policy", "audit/pipeline"},
		libs: []string{"github.com/fxamacker/cbor", "go.yaml.in/yaml/v3", "golang.org/x/sync", "sigs.k8s.io/yaml"},
		why:  "audit/... is a public library: no store, no query, no web",
	},
	"audit/webhook": {
		uses: []string{"audit", "audit/internal/status", "audit/pipeline", "internal/kubeconfig", "internal/visible"},
		why:  "audit/... is a public library: no store, no query, no web",
	},
	"audit/internal/status": {
		uses: []string{"audit"},
		why:  "a Status is written and read in one way, whoever answers",
	},
	"audit/policy": {
		uses: []string{"audit"},
		libs: []string{"go.yaml.in/yaml/v3", "sigs.k8s.io/json", "sigs.k8s.io/yaml"},
		why:  "audit/... is a public library: no store, no query, no web",
	},
	"audit/policy/lint": {
		uses: []string{"audit/policy", "audit/finding", "internal/nearest"},
		libs: []string{"go.yaml.in/yaml/v3"},
		why:  "a policy is judged by deciding requests with it, wherever it came from",
	},
	"audit/policy/coverage": {
		uses: []string{"audit/policy", "internal/nearest"},
		libs: []string{"go.yaml.in/yaml/v3"},
		why:  "what a policy records follows from its rules alone",
	},
	"audit/policy/simulate": {
		uses: []string{"audit", "audit/logfile", "audit/policy"},
		why:  "a policy is priced by deciding events with it; whoever has a log opens it",
	},
	"audit/flags": {
		uses: []string{"audit/finding", "audit/policy", "internal/nearest"},
		why:  "flags are judged by their values; whoever finds them reads the files",
	},
	"audit/finding": {
		uses: []string{"internal/visible"},
		why:  "what a check says is the same whatever was checked",
	},
	"audit": {
		noIO: true,
		why:  "the event is pure data: standard library only, no I/O",
	},
}

// ioPackages do I/O; package audit stays clear of them.
var ioPackages = map[string]bool{"os": true, "net": true, "net/http": true, "io/ioutil": true, "os/exec": true, "syscall": true, "log": true, "log/slog": true}

func TestImportsPointDown(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(p, "go.mod")); p != "." && (err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir // other modules keep their own rules
			}
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(p))
		if dir == "." || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		seen[dir] = true
		r, ok := house[dir]
		if !ok {
			t.Errorf("%s: package is not in the house: add it to imports_test.go and docs/architecture.md with what it may import and why", dir)
			return filepath.SkipDir
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if !r.allows(name) {
				t.Errorf("%s imports %s: not allowed, because %s", p, name, r.why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range house {
		if !seen[dir] {
			t.Errorf("%s is in the house but holds no Go file: take it out of imports_test.go", dir)
		}
	}
}

func (r room) allows(name string) bool {
	if own, ok := strings.CutPrefix(name, module+"/"); ok {
		for _, u := range r.uses {
			if own == u {
				return true
			}
		}
		return false
	}
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return !(r.noIO && ioPackages[name])
	}
	for _, l := range r.libs {
		if name == l || strings.HasPrefix(name, l+"/") {
			return true
		}
	}
	return false
}

// The engine behind the store is a decision that must stay reversible.
func TestEngineNameStaysInStore(t *testing.T) {
	const engine = "duck" + "db"
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		slash := filepath.ToSlash(p)
		if d.IsDir() {
			if p != "." && strings.HasPrefix(d.Name(), ".") || slash == "internal/store" || slash == "docs" || slash == "bench" || slash == "data" || slash == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if ext := path.Ext(slash); ext != ".go" && ext != ".js" && ext != ".html" || slash == "imports_test.go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if i := strings.Index(strings.ToLower(string(text)), engine); i >= 0 {
			t.Errorf("%s:%d names the store's engine: only internal/store may, so that another store can take its place", p, 1+strings.Count(string(text[:i]), "\n"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
