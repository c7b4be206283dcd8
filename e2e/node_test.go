package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestInsideNode is run by [TestNode] in namespaces of its own. Its parts share a
// control plane, and each leaves it as its last line says.
func TestInsideNode(t *testing.T) {
	if os.Getenv(roleVar) != "inside" {
		t.Skip("run by TestNode")
	}
	n := startNode(t, nil)
	for _, part := range []struct {
		name string
		test func(*testing.T, *node)
	}{
		{"a restart without ktrail", testBareRestart},
		{"not enabled yet", testOff},
		{"a stray backup is refused", testStray},
		{"a policy that does not load is refused", testBadPolicy},
		{"a policy that spoils meanwhile is rolled back", testRolledBack},
		{"killed and rolled back", testKilledAndRolledBack},
		{"killed and resumed", testKilledAndResumed},
		{"enable twice", testTwice},
		{"disable", testDisable},
		{"enable", testEnable},
		{"kubeadm renders anew", testRendered},
		{"over ssh", testSSH},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(t, n) }) {
			t.Fatal("the parts that follow need this one")
		}
	}
}

// report is what enable and disable print with -o json.
type report struct {
	Outcome      string   `json:"outcome"`
	Files        []string `json:"files"`
	Backup       string   `json:"backup"`
	Away         float64  `json:"away_seconds"`
	Total        float64  `json:"total_seconds"`
	Reason       string   `json:"reason"`
	Tail         []string `json:"tail"`
	Verification *verification
}

type verification struct {
	OK       bool    `json:"ok"`
	Sentence string  `json:"sentence"`
	Log      string  `json:"log"`
	Level    string  `json:"level"`
	Took     float64 `json:"seconds"`
	CPU      float64 `json:"cpu_cores"`
}

type status struct {
	Enabled  bool     `json:"enabled"`
	Policy   string   `json:"policy"`
	Hash     string   `json:"policy_sha256"`
	Log      string   `json:"log"`
	Bytes    int64    `json:"log_bytes"`
	Pending  string   `json:"pending"`
	Warnings []string `json:"warnings"`
}

// command is ktrail as users have it on a node: one static binary.
func (n *node) command(args ...string) *exec.Cmd { return exec.Command(n.ktrail, args...) }

// do runs ktrail, which has to end with this exit code.
func (n *node) do(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	c := n.command(args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		t.Fatalf("ktrail %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// ask runs ktrail with -o json and reads what it prints.
func ask[T any](t *testing.T, n *node, want int, args ...string) T {
	t.Helper()
	out, errs := n.do(t, want, append(args, "-o", "json")...)
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("ktrail %s -o json: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return v
}

// change runs enable or disable, and checks its word on how long the API server
// was away against our own watch.
func (n *node) change(t *testing.T, want int, args ...string) report {
	t.Helper()
	stop := n.watch()
	r := ask[report](t, n, want, args...)
	downs := stop()
	t.Logf("ktrail %s: %s; API server away %.1f s, %.1f s in all; measured from outside: %s",
		strings.Join(args, " "), r.Outcome, r.Away, r.Total, seconds(downs))
	if err := n.ready(); err != nil {
		t.Fatalf("when ktrail ends the API server is not ready: %v", err)
	}
	return r
}

func seconds(downs []time.Duration) string {
	var s []string
	for _, d := range downs {
		s = append(s, fmt.Sprintf("%.1f s", d.Seconds()))
	}
	if s == nil {
		return "never away"
	}
	return strings.Join(s, " + ")
}

// unchanged checks that the manifest is what it was, to the byte, and that
// nothing lies beside it.
func (n *node) unchanged(t *testing.T, want []byte) {
	t.Helper()
	if got := n.read(t, manifest); !bytes.Equal(got, want) {
		t.Errorf("the manifest is not what it was:\n%s", got)
	}
	entries, err := os.ReadDir(filepath.Dir(manifest))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{"etcd.yaml", "kube-apiserver.yaml"}) {
		t.Errorf("in the manifests' directory: %v", names)
	}
}

// recorded makes a change and looks for it in the log, without any code of ktrail.
func (n *node) recorded(t *testing.T) error {
	t.Helper()
	name := fmt.Sprintf("e2e-%d", time.Now().UnixNano())
	if _, err := n.kubectl("create", "serviceaccount", name); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(auditLog)
	if err != nil {
		return err
	}
	if !bytes.Contains(log, []byte(name)) {
		return fmt.Errorf("%s holds no event about %s", auditLog, name)
	}
	return nil
}

// args are those of the running API server.
func apiServerArgs(t *testing.T) (pid string, args []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if filepath.Base(args[0]) == "kube-apiserver" {
			pid = filepath.Base(filepath.Dir(file))
			return pid, args
		}
	}
	return "", nil
}

func auditing(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--audit-") })
}

// A restart is kubelet's work; it is measured to compare with.
func testBareRestart(t *testing.T, n *node) {
	stop := n.watch()
	old, _ := apiServerArgs(t)
	edited := bytes.Replace(n.plain, []byte("  annotations:\n"), []byte("  annotations:\n    ktrail.e2e/restart: bare # a comment of ours\n"), 1)
	// From here on a restart takes some ten seconds, not forty: an API server takes
	// all the time that it is given to end.
	edited = bytes.Replace(edited, []byte("spec:\n"), []byte("spec:\n  terminationGracePeriodSeconds: 3\n"), 1)
	if bytes.Count(edited, []byte("\n")) != bytes.Count(n.plain, []byte("\n"))+2 {
		t.Fatalf("the manifest is not as expected:\n%s", n.plain)
	}
	n.plain = edited
	temp := write(t, n.lab, "manifest", string(edited))
	// Written in another file system: moved in under a name that kubelet does not read.
	n.run(t, "cp", temp, filepath.Dir(manifest)+"/.new")
	n.run(t, "mv", filepath.Dir(manifest)+"/.new", manifest)
	n.awaitRestart(t, old)
	t.Logf("a bare restart by kubelet: the API server was away %s", seconds(stop()))
	n.unchanged(t, n.plain)
}

// awaitRestart waits for another API server than pid's to be ready.
func (n *node) awaitRestart(t *testing.T, pid string) {
	t.Helper()
	waitFor(t, "the API server to restart", func() error {
		now, _ := apiServerArgs(t)
		if now == pid || now == "" {
			return fmt.Errorf("pid %q runs", now)
		}
		return n.ready()
	})
}

func testOff(t *testing.T, n *node) {
	if s := ask[status](t, n, 0, "status"); s.Enabled || s.Pending != "" {
		t.Errorf("status: %+v", s)
	}
	if v := ask[verification](t, n, 1, "verify"); v.OK || v.Sentence == "" {
		t.Errorf("verify: %+v", v)
	}
	out, _ := n.do(t, 0, "enable", "--dry-run")
	for _, want := range []string{"+    - --audit-log-path=" + auditLog, "+++", manifest, "kind: Policy"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not show %q:\n%s", want, out)
		}
	}
	n.untouched(t)
}

// untouched checks that ktrail did nothing at all.
func (n *node) untouched(t *testing.T) {
	t.Helper()
	n.unchanged(t, n.plain)
	for _, path := range []string{"/var/lib/ktrail", "/var/log/kubernetes", "/etc/kubernetes/audit"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("there is %s", path)
		}
	}
}

func testStray(t *testing.T, n *node) {
	stray := manifest + ".backup"
	if err := os.WriteFile(stray, n.plain, 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs := n.do(t, 1, "enable", "--yes")
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{stray, "nothing was changed"} {
		if !strings.Contains(out+errs, want) {
			t.Errorf("it does not say %q:\n%s%s", want, out, errs)
		}
	}
	n.untouched(t)
	n.settle(t) // kubelet has taken the stray for a second API server
}

// settle waits until the API server has been the same and ready for a while.
func (n *node) settle(t *testing.T) {
	t.Helper()
	var pid string
	var since time.Time
	waitFor(t, "the API server to stay", func() error {
		now, _ := apiServerArgs(t)
		if err := n.ready(); err != nil || now != pid {
			pid, since = now, time.Now()
			return fmt.Errorf("pid %q, %w", now, err)
		}
		if stayed := time.Since(since); stayed < 8*time.Second {
			return fmt.Errorf("ready for %v", stayed)
		}
		return nil
	})
}

func testBadPolicy(t *testing.T, n *node) {
	bad := write(t, n.lab, "bad.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: 7\n")
	_, errs := n.do(t, 2, "enable", "--yes", "--policy", bad)
	if !strings.Contains(errs, bad) {
		t.Errorf("the error does not name %s:\n%s", bad, errs)
	}
	n.untouched(t)
}

// What ktrail cannot foresee: the policy is spoiled between its being written
// and the API server's start.
func testRolledBack(t *testing.T, n *node) {
	policies := "/etc/kubernetes/audit"
	spoiled := make(chan error, 1)
	go func() {
		for range 60_000 {
			if found, _ := filepath.Glob(policies + "/*.yaml"); len(found) > 0 {
				spoiled <- os.WriteFile(found[0], []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: 7\n"), 0o600)
				return
			}
			time.Sleep(time.Millisecond)
		}
		spoiled <- fmt.Errorf("no policy came to %s", policies)
	}()
	r := n.change(t, 3, "enable", "--yes")
	if err := <-spoiled; err != nil {
		t.Fatal(err)
	}
	t.Logf("the reason: %s\nthe API server's last words: %s", r.Reason, strings.Join(r.Tail, "\n"))
	if r.Outcome != "rolled back" || r.Reason == "" || !strings.Contains(strings.Join(r.Tail, "\n"), "loading audit policy file") {
		t.Errorf("report: %+v", r)
	}
	n.unchanged(t, n.plain)
	if _, args := apiServerArgs(t); len(args) == 0 || auditing(args) {
		t.Errorf("the API server runs with %q", args)
	}
	if left, _ := filepath.Glob(policies + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// killWhen runs ktrail and kills it, as nothing else can be, at a moment.
func (n *node) killWhen(t *testing.T, moment func() bool, args ...string) {
	t.Helper()
	var out bytes.Buffer
	c := n.command(args...)
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for !moment() {
		select {
		case err := <-ended:
			t.Fatalf("ktrail ended before it was killed: %v\n%s", err, out.String())
		case <-time.After(time.Millisecond):
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if s := ask[status](t, n, 0, "status"); s.Pending == "" {
		t.Errorf("status after the kill: %+v", s)
	}
	_, errs := n.do(t, 3, "enable", "--yes")
	if !strings.Contains(errs, "--resume") || !strings.Contains(errs, "--rollback") {
		t.Errorf("a second enable does not say how to go on:\n%s", errs)
	}
}

func (n *node) written(t *testing.T) func() bool {
	return func() bool { return !bytes.Equal(n.read(t, manifest), n.plain) }
}

func testKilledAndRolledBack(t *testing.T, n *node) {
	n.killWhen(t, func() bool { return n.written(t)() && n.ready() != nil }, "enable", "--yes")
	r := n.change(t, 0, "enable", "--rollback")
	if r.Outcome != "rolled back" {
		t.Errorf("report: %+v", r)
	}
	n.unchanged(t, n.plain)
	if _, args := apiServerArgs(t); auditing(args) {
		t.Errorf("the API server runs with %q", args)
	}
	if s := ask[status](t, n, 0, "status"); s.Enabled || s.Pending != "" {
		t.Errorf("status: %+v", s)
	}
	if out, err := n.kubectl("-n", "kube-system", "get", "cm", "kubeadm-config", "-o", "yaml"); err != nil || strings.Contains(out, "audit-") {
		t.Errorf("kubeadm-config: %v\n%s", err, out)
	}
	n.do(t, 3, "enable", "--rollback") // there is nothing left to roll back
}

func testKilledAndResumed(t *testing.T, n *node) {
	n.killWhen(t, n.written(t), "enable", "--yes")
	n.enabled(t, n.change(t, 0, "enable", "--resume"))
}

// enabled checks all that enable promises.
func (n *node) enabled(t *testing.T, r report) {
	t.Helper()
	if r.Outcome != "enabled" || r.Verification == nil || !r.Verification.OK || r.Verification.Log != auditLog {
		t.Fatalf("report: %+v %+v", r, r.Verification)
	}
	t.Logf("%s", r.Verification.Sentence)
	if err := n.recorded(t); err != nil {
		t.Error(err)
	}
	if _, args := apiServerArgs(t); !auditing(args) {
		t.Errorf("the API server runs with %q", args)
	}
	// The manifest is the old one with lines about auditing in between.
	rest := strings.Split(string(n.plain), "\n")
	for line := range strings.Lines(string(n.read(t, manifest))) {
		line = strings.TrimSuffix(line, "\n")
		if len(rest) > 0 && line == rest[0] {
			rest = rest[1:]
		} else if !strings.Contains(line, "audit") && !strings.Contains(line, "readOnly: true") && !strings.Contains(line, "DirectoryOrCreate") && !strings.Contains(line, "hostPath:") {
			t.Errorf("a new line in the manifest: %s", line)
		}
	}
	if strings.Join(rest, "") != "" {
		t.Errorf("lines are gone from the manifest: %q", rest)
	}
	if st, err := os.Stat(r.Backup); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("backup %s: %v %v", r.Backup, st, err)
	}
	out, err := n.kubectl("-n", "kube-system", "get", "cm", "kubeadm-config", "-o", "yaml")
	if err != nil || !strings.Contains(out, "audit-log-path") {
		t.Errorf("kubeadm-config: %v\n%s", err, out)
	}
}

func testTwice(t *testing.T, n *node) {
	before, pid := n.read(t, manifest), ""
	pid, _ = apiServerArgs(t)
	r := n.change(t, 0, "enable", "--yes")
	if r.Outcome != "unchanged" || len(r.Files) > 0 {
		t.Errorf("report: %+v", r)
	}
	n.unchanged(t, before)
	if now, _ := apiServerArgs(t); now != pid {
		t.Errorf("the API server was restarted: %s, was %s", now, pid)
	}
	s := ask[status](t, n, 0, "status")
	if !s.Enabled || s.Log != auditLog || s.Bytes == 0 || s.Hash == "" || s.Pending != "" {
		t.Errorf("status: %+v", s)
	}
	v := ask[verification](t, n, 0, "verify")
	if !v.OK || v.Level == "" || v.CPU > 0.9 {
		t.Errorf("verify: %+v", v)
	}
	t.Logf("%s", v.Sentence)
}

func testDisable(t *testing.T, n *node) {
	if r := n.change(t, 0, "disable", "--yes"); r.Outcome != "disabled" {
		t.Errorf("report: %+v", r)
	}
	n.unchanged(t, n.plain)
	if _, args := apiServerArgs(t); auditing(args) {
		t.Errorf("the API server runs with %q", args)
	}
	if st, err := os.Stat(auditLog); err != nil || st.Size() == 0 {
		t.Errorf("the log was to be kept: %v", err)
	}
	if err := n.recorded(t); err == nil {
		t.Error("events are still recorded")
	}
	if out, err := n.kubectl("-n", "kube-system", "get", "cm", "kubeadm-config", "-o", "yaml"); err != nil || strings.Contains(out, "audit-") {
		t.Errorf("kubeadm-config: %v\n%s", err, out)
	}
	if v := ask[verification](t, n, 1, "verify"); v.OK {
		t.Errorf("verify: %+v", v)
	}
}

func testEnable(t *testing.T, n *node) {
	n.enabled(t, n.change(t, 0, "enable", "--yes"))
}

// What kubeadm upgrade does: it writes the manifest anew from kubeadm-config.
func testRendered(t *testing.T, n *node) {
	config, err := n.kubectl("-n", "kube-system", "get", "cm", "kubeadm-config", "-o", `jsonpath={.data.ClusterConfiguration}`)
	if err != nil {
		t.Fatal(err)
	}
	before := n.read(t, manifest)
	old, _ := apiServerArgs(t)
	file := write(t, n.lab, "rendered.yaml", fmt.Sprintf(kubeadmInit, nodeIP, filepath.Join(n.lab, "containerd.sock"), nodeName)+"---\n"+config)
	stop := n.watch()
	n.run(t, "kubeadm", "init", "phase", "control-plane", "apiserver", "--config", file)
	after := n.read(t, manifest)
	if bytes.Equal(before, after) || bytes.Contains(after, []byte("ktrail.e2e/restart")) {
		t.Fatal("kubeadm did not write the manifest anew")
	}
	n.awaitRestart(t, old)
	t.Logf("kubeadm's own change: the API server was away %s", seconds(stop()))
	if v := ask[verification](t, n, 0, "verify"); !v.OK {
		t.Errorf("verify: %+v", v)
	}
	if err := n.recorded(t); err != nil {
		t.Error(err)
	}
	if r := n.change(t, 0, "enable", "--yes"); r.Outcome != "unchanged" {
		t.Errorf("enable after kubeadm: %+v", r)
	}
}
