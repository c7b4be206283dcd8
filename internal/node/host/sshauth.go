package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// keyring is every key that may be offered, and why others may not.
type keyring struct {
	signers []ssh.Signer
	notes   []string // what to say if none is accepted
	agent   net.Conn
}

func (k *keyring) close() {
	if k.agent != nil {
		k.agent.Close()
	}
}

// keys collects signers: named files first, since servers end a connection after
// a few wrong keys, then the agent's, then files of the default names.
func (o *Options) keys() (*keyring, error) {
	k := &keyring{}
	socket := o.Agent
	if socket == "" {
		socket = os.Getenv("SSH_AUTH_SOCK")
	}
	var held []ssh.Signer
	if socket == "" {
		k.notes = append(k.notes, "no agent (SSH_AUTH_SOCK is not set)")
	} else if conn, err := net.Dial("unix", socket); err != nil {
		k.notes = append(k.notes, fmt.Sprintf("the agent does not answer: %v", err))
	} else {
		k.agent = conn
		conn.SetDeadline(time.Now().Add(connectTimeout)) //nolint:errcheck // an agent that hangs is rare, and cut off later
		if held, err = agent.NewClient(conn).Signers(); err != nil {
			k.notes = append(k.notes, fmt.Sprintf("the agent does not answer: %v", err))
		} else if len(held) == 0 {
			k.notes = append(k.notes, "the agent holds no keys")
		}
	}
	for _, file := range o.Keys {
		s, err := readKey(file, held)
		if err != nil {
			k.close()
			return nil, err
		}
		k.signers = append(k.signers, s)
	}
	k.signers = append(k.signers, held...)
	if len(o.Keys) > 0 {
		return k, nil
	}
	home, err := o.home()
	if err != nil {
		k.close()
		return nil, fmt.Errorf("find keys: %w; name one with --ssh-key", err)
	}
	for _, file := range defaultKeys(home) {
		switch s, err := readKey(file, held); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			k.notes = append(k.notes, err.Error())
		default:
			k.signers = append(k.signers, s)
		}
	}
	return k, nil
}

// readKey reads a private key. Where it is protected by a passphrase the agent's
// copy will do.
func readKey(file string, held []ssh.Signer) (ssh.Signer, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		for _, h := range held {
			if missing.PublicKey != nil && string(h.PublicKey().Marshal()) == string(missing.PublicKey.Marshal()) {
				return h, nil
			}
		}
		return nil, fmt.Errorf("key %s is protected by a passphrase: add it to the agent first, ssh-add %s", file, file)
	case err != nil && strings.HasSuffix(file, ".pub"):
		return nil, fmt.Errorf("key %s is a public key: name the private one, %s", file, strings.TrimSuffix(file, ".pub"))
	case err != nil:
		return nil, fmt.Errorf("read key %s: %w", file, err)
	}
	return s, nil
}

// hostKeys checks a machine's key against the files of known ones.
type hostKeys struct {
	check ssh.HostKeyCallback
	files []string
	certs bool // a file names authorities that certify keys
}

func (o *Options) hostKeys() (*hostKeys, error) {
	files := o.KnownHosts
	if len(files) == 0 {
		home, err := o.home()
		if err != nil {
			return nil, fmt.Errorf("find known hosts: %w; name a file with --known-hosts", err)
		}
		files = []string{filepath.Join(home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"}
	}
	h := &hostKeys{files: files}
	var there []string
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			there = append(there, f)
			h.certs = h.certs || bytes.Contains(text, []byte("@cert-authority"))
		} else if !errors.Is(err, fs.ErrNotExist) || len(o.KnownHosts) > 0 {
			return nil, err
		}
	}
	var err error
	if h.check, err = knownhosts.New(there...); err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	return h, nil
}

// probe is a key that no machine has; what is wanted instead tells what is known.
type probe struct{}

func (probe) Type() string                        { return "none" }
func (probe) Marshal() []byte                     { return []byte("none") }
func (probe) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// algorithms are those of the keys that are known of a machine, so that the
// server shows one of these: it has several, and its choice may be another.
// Nil where nothing is known.
func (h *hostKeys) algorithms(address string) []string {
	var mismatch *knownhosts.KeyError
	if !errors.As(h.check(address, &net.TCPAddr{IP: net.IPv4zero}, probe{}), &mismatch) {
		return nil
	}
	var list []string
	for _, k := range mismatch.Want {
		switch t := k.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			list = append(list, t)
		}
	}
	if h.certs && len(list) > 0 {
		list = append(list, ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// verify is the callback of the handshake. Its errors say how to go on.
func (h *hostKeys) verify(address string, remote net.Addr, key ssh.PublicKey) error {
	err := h.check(address, remote, key)
	var mismatch *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	print := ssh.FingerprintSHA256(key)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return &HostKeyError{fmt.Sprintf("the key of %s (%s) is revoked at %s:%d", address, print, revoked.Revoked.Filename, revoked.Revoked.Line)}
	case errors.As(err, &mismatch) && len(mismatch.Want) > 0:
		w := mismatch.Want[0]
		return &HostKeyError{fmt.Sprintf("the key of %s is %s, but %s:%d has %s: someone may be in between. If the machine was made anew, check its key there (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub) and replace that line with\n%s",
			address, print, w.Filename, w.Line, ssh.FingerprintSHA256(w.Key), knownhosts.Line([]string{address}, key))}
	case errors.As(err, &mismatch):
		return &HostKeyError{fmt.Sprintf("the key of %s is not known. Compare it with the machine's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub shows %s there) and add this line to %s:\n%s",
			address, print, h.files[0], knownhosts.Line([]string{address}, key))}
	}
	return err
}

// HostKeyError says that a machine's key is unknown, revoked or not the one that
// it was. Its text says what to do.
type HostKeyError struct{ text string }

func (e *HostKeyError) Error() string { return e.text }
