package host

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Options says which machines, and how they are reached.
type Options struct {
	// SSH are machines, [user@]address[:port] each; none is the local machine.
	SSH []string
	// Keys are files of private keys to offer first; none offers ssh's own default
	// names. Keys in the agent are offered always.
	Keys []string
	// KnownHosts are files of the keys of machines; none is ~/.ssh/known_hosts and
	// /etc/ssh/ssh_known_hosts.
	KnownHosts []string
	// Agent is the agent's socket; "" is $SSH_AUTH_SOCK.
	Agent string
	// Home is the directory with .ssh; "" is the user's own.
	Home string
	// Sudo says how a user other than root becomes it.
	Sudo Sudo
}

// Sudo says whether commands and files go through sudo.
type Sudo int

// Without being told, sudo is used where the user is not root.
const (
	SudoAuto   Sudo = iota
	SudoAlways      // also as root
	SudoNever       // also as another user
)

// FlagSet is what [Options.AddFlags] needs of a set of flags; pflag's is one.
type FlagSet interface {
	StringSliceVar(p *[]string, name string, value []string, usage string)
}

// AddFlags adds the flags that commands on machines share.
func (o *Options) AddFlags(f FlagSet) {
	f.StringSliceVar(&o.SSH, "ssh", nil, "work on these `NODES` over SSH, one after the other: [user@]address[:port],... (~/.ssh/config is not read)")
	f.StringSliceVar(&o.Keys, "ssh-key", nil, "private key in `FILE` (default: the agent's keys and ~/.ssh/id_ed25519, id_ecdsa, id_rsa)")
	f.StringSliceVar(&o.KnownHosts, "known-hosts", nil, "`FILE` with the machines' keys (default ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts)")
}

// Validate says what can be said without reaching anybody.
func (o *Options) Validate() error {
	seen := map[target]bool{}
	for _, s := range o.SSH {
		t, err := parseTarget(s)
		if err != nil {
			return err
		}
		if seen[t] {
			return fmt.Errorf("--ssh names %s twice", s)
		}
		seen[t] = true
	}
	if len(o.SSH) == 0 && len(o.Keys)+len(o.KnownHosts) > 0 {
		return fmt.Errorf("--ssh-key and --known-hosts say how to reach machines; name them with --ssh [user@]address[:port]")
	}
	for _, file := range append(append([]string(nil), o.Keys...), o.KnownHosts...) {
		if st, err := os.Stat(file); err != nil {
			return err
		} else if st.IsDir() {
			return fmt.Errorf("%s is a directory, not a file of keys", file)
		}
	}
	return nil
}

// target is a machine as SSH reaches it.
type target struct{ user, address, port string }

func (t target) hostPort() string { return net.JoinHostPort(t.address, t.port) }

// String is the shortest form that means the same.
func (t target) String() string {
	if t.port == "22" {
		return t.user + "@" + t.address
	}
	return t.user + "@" + t.hostPort()
}

func parseTarget(s string) (target, error) {
	t := target{address: s, port: "22"}
	if strings.ContainsAny(s, " \t\r\n/,\x00\x1b") {
		return t, fmt.Errorf("--ssh %q: want [user@]address[:port]", s)
	}
	if i := strings.LastIndex(s, "@"); i >= 0 {
		t.user, t.address = s[:i], s[i+1:]
		if t.user == "" {
			return t, fmt.Errorf("--ssh %q: no user before the @", s)
		}
	}
	// An IPv6 address may stand bare, or in brackets with a port.
	bare := strings.TrimSuffix(strings.TrimPrefix(t.address, "["), "]")
	if ip := net.ParseIP(bare); ip != nil {
		t.address = bare
	} else if host, port, err := net.SplitHostPort(t.address); err == nil {
		t.address, t.port = host, port
	}
	if n, err := strconv.ParseUint(t.port, 10, 16); err != nil || n == 0 {
		return t, fmt.Errorf("--ssh %q: %q is no port, 1 to 65535", s, t.port)
	}
	if t.address == "" || strings.HasPrefix(t.user, "-") || strings.HasPrefix(t.address, "-") || strings.Contains(t.address, ":") && net.ParseIP(t.address) == nil {
		return t, fmt.Errorf("--ssh %q: want [user@]address[:port]", s)
	}
	if t.user == "" {
		u, err := user.Current()
		if err != nil {
			return t, fmt.Errorf("--ssh %q: find out who you are: %w; write user@%s", s, err, s)
		}
		t.user = u.Username
	}
	return t, nil
}

// home is the directory that has .ssh in it.
func (o *Options) home() (string, error) {
	if o.Home != "" {
		return o.Home, nil
	}
	return os.UserHomeDir()
}

// defaultKeys are the names that ssh tries, without those that need hardware.
func defaultKeys(home string) []string {
	var names []string
	for _, n := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		names = append(names, filepath.Join(home, ".ssh", n))
	}
	return names
}
