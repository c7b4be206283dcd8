package host_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

// sshd is a real OpenSSH server on loopback, run by the current user.
type sshd struct {
	dir, address string
	key          ssh.PublicKey // the machine's
	me           string
}

// startSSHD starts a server with a key of its own that lets in the key at
// dir/id. more are lines for its configuration.
func startSSHD(t *testing.T, more ...string) *sshd {
	t.Helper()
	bin := findSSHD(t)
	u, err := user.Current()
	ok(t, err)
	s := &sshd{dir: t.TempDir(), me: u.Username}
	if os.Geteuid() == 0 {
		ok(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd locks itself up
	}
	s.key = writeKey(t, s.path("host_key"), "")
	ok(t, os.WriteFile(s.path("authorized"), ssh.MarshalAuthorizedKey(writeKey(t, s.path("id"), "")), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	s.address = l.Addr().String()
	_, port, _ := net.SplitHostPort(s.address)
	l.Close()
	config := append(more, "ListenAddress 127.0.0.1", "Port "+port, "HostKey "+s.path("host_key"), "AuthorizedKeysFile "+s.path("authorized"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin yes")
	if !strings.Contains(strings.Join(more, "\n"), "Subsystem") {
		config = append(config, "Subsystem sftp internal-sftp")
	}
	ok(t, os.WriteFile(s.path("config"), []byte(strings.Join(config, "\n")+"\n"), 0o600))
	var log bytes.Buffer
	c := exec.Command(bin, "-D", "-e", "-f", s.path("config"))
	c.Stderr = &log
	ok(t, c.Start())
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	ok(t, os.WriteFile(s.path("known"), []byte(knownhosts.Line([]string{s.address}, s.key)+"\n"), 0o600))
	for try := 0; ; try++ { // sshd does not say when it listens
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
			return s
		}
		if try == 6000 {
			t.Fatalf("sshd: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func findSSHD(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/usr/sbin/sshd", "/usr/bin/sshd"} { // it insists on an absolute path
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Skip("SKIPPED, SSH IS NOT TESTED: there is no sshd; install openssh-server (scripts/test-deps.sh does)")
	return ""
}

func (s *sshd) path(name string) string { return filepath.Join(s.dir, name) }

func (s *sshd) options() *host.Options {
	return &host.Options{
		SSH: []string{s.target()}, Keys: []string{s.path("id")}, KnownHosts: []string{s.path("known")},
		Agent: s.path("no-agent"), Home: s.dir, Sudo: host.SudoNever,
	}
}

func (s *sshd) target() string { return s.me + "@" + s.address }

func (s *sshd) connect(t *testing.T, o *host.Options) *host.SSH {
	t.Helper()
	h, err := host.Connect(t.Context(), o.SSH[0], o)
	ok(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

func writeKey(t *testing.T, path, passphrase string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	ok(t, err)
	ok(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	key, err := ssh.NewPublicKey(public)
	ok(t, err)
	return key
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSSH(t *testing.T) {
	s := startSSHD(t)
	h := s.connect(t, s.options())
	if want := s.target(); h.Name() != want {
		t.Errorf("name %q, want %q", h.Name(), want)
	}
	hosttest.Test(t, h, t.TempDir(), hosttest.Echo(t))
	testLinks(t, h, t.TempDir())
	testOwner(t, h, t.TempDir())
	testAcross(t, h, t.TempDir())
}

// sudo of a machine: it takes -n alone, notes that it was asked, and runs what it is given.
const sudo = `#!/bin/sh
[ "$1" = -n ] || exit 9
shift
[ "$1" = -- ] && shift
echo "$*" >>"$(dirname "$0")/asked"
exec "$@"
`

func TestSSHThroughSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files are given to root: only root can test that")
	}
	bin := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudo), 0o700))
	s := startSSHD(t, "SetEnv PATH="+bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	o := s.options()
	o.Sudo = host.SudoAlways
	h := s.connect(t, o)
	hosttest.Test(t, h, t.TempDir(), hosttest.Echo(t))
	asked, err := os.ReadFile(filepath.Join(bin, "asked"))
	ok(t, err)
	for _, want := range []string{"/sftp-server\n", "sh sync /", "kill -KILL "} {
		if !strings.Contains(string(asked), want) {
			t.Errorf("sudo was not asked for %q:\n%s", want, asked)
		}
	}

	ok(t, os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n"), 0o700))
	_, err = host.Connect(t.Context(), s.target(), o)
	wantText(t, err, "sudo: a password is required", "connect as root, or let this user run sudo without a password")
}

// A hardened sshd may offer no sftp, and forward nothing.
func TestSSHHardened(t *testing.T) {
	s := startSSHD(t, "Subsystem sftp /bin/false", "AllowTcpForwarding no")
	h := s.connect(t, s.options())
	dir := t.TempDir()
	ok(t, h.WriteFile(t.Context(), dir+"/x", []byte("x"), host.WriteOptions{Mode: 0o600}))
	got, err := h.ReadFile(t.Context(), dir+"/x")
	if err != nil || string(got) != "x" {
		t.Errorf("read %q, %v", got, err)
	}
	_, err = h.Dial(t.Context(), "tcp", hosttest.Echo(t))
	wantText(t, err, "AllowTcpForwarding")
}

func TestSSHRefuses(t *testing.T) {
	s := startSSHD(t)
	other := writeKey(t, s.path("other"), "")
	writeKey(t, s.path("protected"), "open sesame")
	ok(t, os.WriteFile(s.path("id.pub"), ssh.MarshalAuthorizedKey(other), 0o600))
	ok(t, os.WriteFile(s.path("changed"), []byte("# a comment\n"+knownhosts.Line([]string{s.address}, other)+"\n"), 0o600))
	ok(t, os.WriteFile(s.path("revoked"), []byte("@revoked * "+string(ssh.MarshalAuthorizedKey(s.key))), 0o600))
	ok(t, os.WriteFile(s.path("empty"), nil, 0o600))
	ok(t, os.WriteFile(s.path("rubbish"), []byte("\x7fELF\x00\x01\n"), 0o600))
	for _, c := range []struct {
		name   string
		target string
		change func(o *host.Options)
		want   []string
	}{
		{
			"unknown key", s.target(), func(o *host.Options) { o.KnownHosts = []string{s.path("empty")} },
			[]string{s.address, "is not known", ssh.FingerprintSHA256(s.key), s.path("empty"), knownhosts.Line([]string{s.address}, s.key)},
		},
		{"unknown without any file", s.target(), func(o *host.Options) { o.KnownHosts = nil }, []string{s.path(".ssh/known_hosts"), "is not known"}},
		{
			"changed key", s.target(), func(o *host.Options) { o.KnownHosts = []string{s.path("changed")} },
			[]string{s.path("changed") + ":2", ssh.FingerprintSHA256(s.key), ssh.FingerprintSHA256(other), knownhosts.Line([]string{s.address}, s.key)},
		},
		{"revoked key", s.target(), func(o *host.Options) { o.KnownHosts = []string{s.path("revoked")} }, []string{"revoked", s.path("revoked") + ":1"}},
		{"rubbish as known hosts", s.target(), func(o *host.Options) { o.KnownHosts = []string{s.path("rubbish")} }, []string{"read known hosts", s.path("rubbish")}},
		{"no such known hosts", s.target(), func(o *host.Options) { o.KnownHosts = []string{s.path("none")} }, []string{s.path("none")}},
		{"key not accepted", s.target(), func(o *host.Options) { o.Keys = []string{s.path("other")} }, []string{"none of 1 keys was accepted", "agent does not answer", "--ssh-key"}},
		{"no keys at all", s.target(), func(o *host.Options) { o.Keys = nil }, []string{"none of 0 keys was accepted"}},
		{"protected key", s.target(), func(o *host.Options) { o.Keys = []string{s.path("protected")} }, []string{"protected by a passphrase", "ssh-add " + s.path("protected")}},
		{"public key", s.target(), func(o *host.Options) { o.Keys = []string{s.path("id.pub")} }, []string{"is a public key", s.path("id")}},
		{"rubbish as key", s.target(), func(o *host.Options) { o.Keys = []string{s.path("rubbish")} }, []string{"read key", s.path("rubbish")}},
		{"nobody listens", s.me + "@127.0.0.1:1", func(*host.Options) {}, []string{"connect to " + s.me + "@127.0.0.1:1", "refused"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := s.options()
			c.change(o)
			h, err := host.Connect(t.Context(), c.target, o)
			if err == nil {
				h.Close()
			}
			wantText(t, err, c.want...)
		})
	}
}

func wantText(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error does not contain %q:\n%v", w, err)
		}
	}
}

// A server has keys of several types, and only one may be known.
func TestSSHAsksForTheKnownKey(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", filepath.Join(dir, "ecdsa")).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: ssh-keygen: %v %s", err, out)
	}
	s := startSSHD(t, "HostKey "+filepath.Join(dir, "ecdsa"))
	s.connect(t, s.options()) // of the two the ecdsa key would be preferred
}

func TestSSHKeysOfTheAgent(t *testing.T) {
	s := startSSHD(t)
	pemBytes, err := os.ReadFile(s.path("id"))
	ok(t, err)
	key, err := ssh.ParseRawPrivateKey(pemBytes)
	ok(t, err)
	// The same key in a file, protected: what the agent holds is used.
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("open sesame"))
	ok(t, err)
	ok(t, os.MkdirAll(s.path(".ssh"), 0o700))
	ok(t, os.WriteFile(s.path(".ssh/id_ed25519"), pem.EncodeToMemory(block), 0o600))
	ring := agent.NewKeyring()
	ok(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	socket := filepath.Join(t.TempDir(), "a")
	l, err := net.Listen("unix", socket)
	ok(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c)
		}
	}()
	for _, keys := range [][]string{nil, {s.path(".ssh/id_ed25519")}} {
		o := s.options()
		o.Agent, o.Keys = socket, keys
		s.connect(t, o)
	}
	o := s.options()
	o.Keys = nil
	_, err = host.Connect(t.Context(), s.target(), o)
	wantText(t, err, "protected by a passphrase", "ssh-add")
}

// A connection that is cut fails everything that is under way and all that follows.
func TestSSHLost(t *testing.T) {
	s := startSSHD(t)
	p := startProxy(t, s.address)
	o := s.options()
	o.SSH = []string{s.me + "@" + p.address}
	ok(t, os.WriteFile(s.path("known"), []byte(knownhosts.Line([]string{p.address}, s.key)+"\n"), 0o600))
	h := s.connect(t, o)
	dir := t.TempDir()
	running := make(chan error, 1)
	go func() {
		_, err := h.Run(t.Context(), []string{"sh", "-c", "echo >'" + dir + "/started'; exec sleep 600"}, nil)
		running <- err
	}()
	for {
		if _, err := h.Stat(t.Context(), dir+"/started"); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	p.cut()
	_, statErr := h.Stat(t.Context(), dir)
	_, readErr := h.ReadFile(t.Context(), dir)
	_, dialErr := h.Dial(t.Context(), "tcp", s.address)
	for what, err := range map[string]error{
		"what ran": <-running, "stat": statErr, "read": readErr, "dial": dialErr,
		"write": h.WriteFile(t.Context(), dir+"/x", nil, host.WriteOptions{}),
	} {
		var lost *host.LostError
		if !errors.As(err, &lost) || lost.Host != h.Name() {
			t.Errorf("%s: got %v, want a LostError of %s", what, err, h.Name())
		}
	}
}

// What is cancelled while the machine hangs does not hang, and nothing of it may come later.
func TestSSHCancelledWhileItHangs(t *testing.T) {
	s := startSSHD(t)
	p := startProxy(t, s.address)
	o := s.options()
	o.SSH = []string{s.me + "@" + p.address}
	ok(t, os.WriteFile(s.path("known"), []byte(knownhosts.Line([]string{p.address}, s.key)+"\n"), 0o600))
	h := s.connect(t, o)
	p.hang()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-p.held
		cancel()
	}()
	err := h.WriteFile(ctx, t.TempDir()+"/x", nil, host.WriteOptions{})
	var lost *host.LostError
	if !errors.As(err, &lost) {
		t.Errorf("got %v, want a LostError", err)
	}
	connecting, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := host.Connect(connecting, o.SSH[0], o); !errors.Is(err, context.Canceled) {
		t.Errorf("connecting to a machine that hangs, cancelled: %v", err)
	}
}

// proxy stands between and can cut or hang its connections.
type proxy struct {
	address string
	gate    sync.RWMutex  // held to write what was read
	held    chan struct{} // has one when something hangs
	mu      sync.Mutex
	conns   []net.Conn
}

func startProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p := &proxy{address: l.Addr().String(), held: make(chan struct{}, 1)}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, a, b)
			p.mu.Unlock()
			go p.copy(a, b)
			go p.copy(b, a)
		}
	}()
	return p
}

func (p *proxy) copy(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.gate.TryRLock() {
			select {
			case p.held <- struct{}{}:
			default:
			}
			p.gate.RLock()
		}
		_, werr := to.Write(buf[:n])
		p.gate.RUnlock()
		if err != nil || werr != nil {
			return
		}
	}
}

func (p *proxy) hang() { p.gate.Lock() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func TestOptions(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id")
	writeKey(t, key, "")
	for _, c := range []struct {
		ssh, keys []string
		want      string // "" is fine
	}{
		{ssh: []string{"root@10.0.0.1", "root@10.0.0.2:2222", "cp-1.example", "root@[fd00::1]:22", "root@fd00::1%eth0x"}, want: "fd00::1%eth0x"},
		{ssh: []string{"root@10.0.0.1", "root@10.0.0.2:2222", "cp-1.example", "root@[fd00::1]:22", "root@fd00::2"}},
		{ssh: []string{"root@10.0.0.1", "root@10.0.0.1:22"}, want: "twice"},
		{ssh: []string{""}, want: "want [user@]address[:port]"},
		{ssh: []string{"@host"}, want: "no user"},
		{ssh: []string{"host:http"}, want: "no port"},
		{ssh: []string{"host:99999"}, want: "no port"},
		{ssh: []string{"host:0"}, want: "no port"},
		{ssh: []string{"ssh://host"}, want: "want [user@]address[:port]"},
		{ssh: []string{"-oProxyCommand=x"}, want: "want [user@]address[:port]"},
		{ssh: []string{"a b"}, want: "want [user@]address[:port]"},
		{ssh: []string{"h"}, keys: []string{key}},
		{ssh: []string{"h"}, keys: []string{key + "2"}, want: "no such file"},
		{ssh: []string{"h"}, keys: []string{filepath.Dir(key)}, want: "is a directory"},
		{keys: []string{key}, want: "name them with --ssh"},
	} {
		o := host.Options{SSH: c.ssh, Keys: c.keys}
		err := o.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v %v: got %v, want %q", c.ssh, c.keys, err, c.want)
		}
	}
}
