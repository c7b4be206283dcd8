package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startSSHD starts OpenSSH's server on the node, and returns the flags with
// which ktrail reaches it.
func (n *node) startSSHD(t *testing.T) []string {
	t.Helper()
	sshd, err := lookPath("sshd")
	if err != nil {
		t.Skip("\n*** NOT TESTED: enable over SSH. There is no sshd; install openssh-server\n")
	}
	dir := t.TempDir()
	for _, key := range []string{"host", "user"} {
		n.run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	config := write(t, dir, "config", strings.Join([]string{
		"ListenAddress " + nodeIP, "Port 22", "HostKey " + dir + "/host", "AuthorizedKeysFile " + dir + "/user.pub", "PidFile none",
		"StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password", "PasswordAuthentication no", "Subsystem sftp internal-sftp",
	}, "\n")+"\n")
	start(t, exec.Command(sshd, "-D", "-e", "-f", config), filepath.Join(n.lab, "sshd.log"))
	known := write(t, dir, "known_hosts", nodeIP+" "+string(n.read(t, dir+"/host.pub")))
	flags := []string{"--ssh", "root@" + nodeIP, "--ssh-key", dir + "/user", "--known-hosts", known}
	waitFor(t, "sshd", func() error {
		out, err := n.command(append([]string{"status"}, flags...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return flags
}

// The same over a connection, which is cut in the middle. The node is enabled at
// the beginning, and not in the end.
func testSSH(t *testing.T, n *node) {
	flags := n.startSSHD(t)
	with := func(args ...string) []string { return append(args, flags...) }
	if s := ask[status](t, n, 0, with("status")...); !s.Enabled {
		t.Errorf("status: %+v", s)
	}
	if v := ask[verification](t, n, 0, with("verify")...); !v.OK {
		t.Errorf("verify: %+v", v)
	}
	if r := n.change(t, 0, with("disable", "--yes")...); r.Outcome != "disabled" {
		t.Errorf("report: %+v", r)
	}
	n.plain = n.read(t, manifest)

	c := n.command(with("enable", "--yes")...)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for written := n.written(t); !written(); {
		select {
		case err := <-ended:
			t.Fatalf("ktrail ended before the connection was cut: %v\n%s", err, out.String())
		case <-time.After(time.Millisecond):
		}
	}
	n.run(t, "pkill", "-KILL", "-f", "^sshd: root|sshd-session: root")
	err := <-ended
	if err == nil || !strings.Contains(out.String(), "--resume") {
		t.Errorf("the connection was cut: %v\n%s", err, out.String())
	}
	t.Logf("cut off, ktrail says:\n%s", out.String())
	n.enabled(t, n.change(t, 0, with("enable", "--resume")...))
	if r := n.change(t, 0, with("disable", "--yes")...); r.Outcome != "disabled" {
		t.Errorf("report: %+v", r)
	}
	n.unchanged(t, n.plain)
}
