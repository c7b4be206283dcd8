package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The control plane lives in namespaces of its own: mounts, processes, network.
// /etc, /var/lib, /var/log and /run are copies that vanish with them, so the
// machine's own are never touched, and nothing survives the test's process.
//
//	go test TestNode ─► role init: PID 1 of the namespaces, mounts, reaps
//	                      └► role inside: go test TestInsideNode
//	                           ├► containerd ─► etcd, kube-apiserver
//	                           ├► kubelet, sshd
//	                           └► ktrail enable, status, verify, disable
const (
	roleVar = "KTRAIL_E2E_ROLE"
	labVar  = "KTRAIL_E2E_LAB"
	cgroup  = "ktrail-e2e"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) == "init" {
		status, err := runInit()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// TestNode runs [TestInsideNode] in namespaces of its own.
func TestNode(t *testing.T) {
	inLab(t, "TestInsideNode", "ktrail enable, verify, status and disable on a real control plane")
}

// TestStreams runs [TestInsideStreams] in namespaces of its own.
func TestStreams(t *testing.T) {
	inLab(t, "TestInsideStreams", "logs, exec, attach and port-forward through ktrail proxy")
}

// inLab runs the test called inside in namespaces of its own; what it tests is said where it cannot.
func inLab(t *testing.T, inside, what string) {
	t.Helper()
	needs(t, "KTRAIL_E2E_BIN")
	needs(t, "KTRAIL_E2E_STATIC")
	for _, name := range []string{"manifests", "pki", "admin.conf", "kubelet.conf", "super-admin.conf"} {
		if _, err := os.Lstat("/etc/kubernetes/" + name); err == nil {
			t.Fatalf("this machine has /etc/kubernetes/%s: it may be a real node, and no test control plane is started beside one. Run make e2e elsewhere, or move that away if it is a leftover.", name)
		}
	}
	if err := cannot(); err != nil {
		t.Skipf("\n*** NOT TESTED: %s.\n*** This machine cannot run a control plane: %v\n", what, err)
	}
	lab, err := os.MkdirTemp("", "ktrail-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	restore := keepSysctls(t)
	// The namespaces end with this thread, whatever becomes of the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe", "-test.run=^"+inside+"$", "-test.v", "-test.timeout=20m", "-test.count=1")
	c.Env = append(os.Environ(), roleVar+"=init", labVar+"="+lab)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = c.Run()
	restore()
	if cerr := removeCgroups(); cerr != nil {
		t.Errorf("clean up: %v", cerr)
	}
	if t.Failed() || err != nil {
		t.Logf("the logs of containerd, kubelet and all else are in %s", lab)
	} else if rerr := os.RemoveAll(lab); rerr != nil {
		t.Errorf("clean up: %v", rerr)
	}
	if err != nil {
		t.Fatalf("on the control plane: %v", err)
	}
}

// cannot says what this machine lacks.
func cannot() error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	for program, from := range map[string]string{"runc": "runc", "ip": "iproute2", "mount": "mount"} {
		if _, err := lookPath(program); err != nil {
			return fmt.Errorf("there is no %s (package %s)", program, from)
		}
	}
	c := exec.Command("true")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	if err := c.Run(); err != nil {
		return fmt.Errorf("it gives no namespaces: %w", err)
	}
	if err := makeCgroups(); err != nil {
		return fmt.Errorf("it gives no cgroups: %w", err)
	}
	return nil
}

func lookPath(program string) (string, error) {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return p, nil
		}
	}
	return exec.LookPath(program)
}

// cgroupDirs are where kubelet gets its own branch: one for each controller of
// version 1, or the one of version 2.
func cgroupDirs() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return []string{filepath.Join(root, cgroup)}
	}
	var dirs []string
	controllers, _ := filepath.Glob(root + "/*/cgroup.procs")
	for _, c := range controllers {
		dirs = append(dirs, filepath.Join(filepath.Dir(c), cgroup))
	}
	return dirs
}

func makeCgroups() error {
	dirs := cgroupDirs()
	if len(dirs) == 0 {
		return errors.New("nothing is mounted at /sys/fs/cgroup")
	}
	if err := removeCgroups(); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	// Version 2 hands controllers down only where it is told to.
	if all, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		for name := range strings.FieldsSeq(string(all)) {
			for _, d := range []string{"/sys/fs/cgroup", dirs[0]} {
				_ = os.WriteFile(d+"/cgroup.subtree_control", []byte("+"+name), 0) // kubelet names what it misses
			}
		}
	}
	return nil
}

// removeCgroups removes what an earlier run left, too.
func removeCgroups() error {
	for _, d := range cgroupDirs() {
		var all []string
		_ = filepath.WalkDir(d, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				all = append(all, p)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- { // the innermost first
			if err := os.Remove(all[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// keepSysctls notes those of the whole machine that kubelet sets.
func keepSysctls(t *testing.T) (restore func()) {
	was := map[string][]byte{}
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		if v, err := os.ReadFile("/proc/sys/" + name); err == nil {
			was[name] = v
		}
	}
	return func() {
		for name, v := range was {
			if now, err := os.ReadFile("/proc/sys/" + name); err == nil && string(now) != string(v) {
				if err := os.WriteFile("/proc/sys/"+name, v, 0); err != nil {
					t.Errorf("put %s back: %v", name, err)
				}
			}
		}
	}
}

// runInit is PID 1: it makes the namespaces a node, runs the test in them, and
// buries the children of those who died before them.
func runInit() (status int, err error) {
	if err := makeNode(os.Getenv(labVar)); err != nil {
		return 1, err
	}
	if err := os.Setenv(roleVar, "inside"); err != nil {
		return 1, err
	}
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case pid == p.Pid && ws.Exited():
			return ws.ExitStatus(), nil
		case pid == p.Pid:
			return 1, fmt.Errorf("the test was ended by %s", ws.Signal())
		}
	}
}

func makeNode(lab string) error {
	steps := [][]string{
		{"mount", "--make-rprivate", "/"},
		{"mount", "-t", "proc", "proc", "/proc"},
		{"mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"},
		{"mkdir", "-p", "/run/sshd", lab + "/copies"},
		{"mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", lab + "/copies"},
	}
	for _, dir := range []string{"/etc", "/var/lib", "/var/log", "/root"} {
		copies := lab + "/copies" + dir
		steps = append(steps,
			[]string{"mkdir", "-p", copies + "/upper", copies + "/work"},
			[]string{"mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + dir + ",upperdir=" + copies + "/upper,workdir=" + copies + "/work", dir})
	}
	steps = append(steps, [][]string{
		// What lies on the machine from elsewhere is not there on the node. They are
		// copies: none of these steps is reached where a mount before it failed.
		{"rm", "-rf", "/etc/kubernetes", "/var/lib/ktrail", "/var/lib/kubelet", "/var/lib/etcd", "/var/log/kubernetes", "/var/log/pods", "/var/log/containers"},
		// What is written much, or needs mounts of its own, is not on an overlay.
		{"mkdir", "-p", lab + "/kubelet", lab + "/etcd", "/var/lib/kubelet", "/var/lib/etcd"},
		{"mount", "--bind", lab + "/kubelet", "/var/lib/kubelet"},
		{"mount", "--make-rshared", "/var/lib/kubelet"},
		{"mount", "--bind", lab + "/etcd", "/var/lib/etcd"},
		{"ip", "link", "set", "lo", "up"},
		{"ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"},
		{"ip", "link", "set", "v0", "up"},
		{"ip", "link", "set", "v1", "up"},
		{"ip", "addr", "add", nodeIP + "/24", "dev", "v0"},
		{"ip", "route", "add", "default", "via", "10.99.0.254"}, // kubeadm wants one; nobody is there
		{"hostname", nodeName},
	}...)
	for _, s := range steps {
		program, err := lookPath(s[0])
		if err != nil {
			return err
		}
		if out, err := exec.Command(program, s[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(s, " "), err, out)
		}
	}
	return nil
}
