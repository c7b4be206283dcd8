package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// On the node:
//
//	/var/lib/ktrail/node/          0700
//	  state.json                   what is under way, or was done last
//	  lock/owner.json              who is at it
//	  backups/20261122T235314Z/    one operation
//	    record.json                what it changes, with the hashes
//	    old/0-kube-apiserver.yaml  each file as it was
//	    new/0-kube-apiserver.yaml  and as it will be
//
// state.json is replaced before each step, so it names a step that may be half
// done, and never misses one that is.

// stateFormat is raised when an older ktrail must not touch the state of a newer.
const stateFormat = 1

// The steps of an operation, in their order. The last three end it.
const (
	stepApply   = "apply"
	stepWait    = "wait"
	stepVerify  = "verify"
	stepPersist = "persist"
	stepBack    = "roll back"
	stepDone    = "done"
	stepUndone  = "rolled back"
)

// State is an operation on a node.
type State struct {
	Format       int       `json:"format"`
	Operation    string    `json:"operation"` // enable or disable
	Step         string    `json:"step"`
	Begun        time.Time `json:"begun"`
	Program      string    `json:"program"`
	By           string    `json:"by"`
	Distribution string    `json:"distribution"`
	Backup       string    `json:"backup"`
	// Files are changed in this order.
	Files []FileChange `json:"files"`
	// Dirs are made where they are missing.
	Dirs []DirChange `json:"dirs"`
	// Config is the path of the file with the API server's flags.
	Config string `json:"config"`
	// Old and New are the API server's audit flags before and after, name=value.
	Old []string `json:"old_flags"`
	New []string `json:"new_flags"`
	// Cluster is the change of kubeadm-config, nil if there is none to make.
	Cluster *ClusterChange `json:"cluster,omitempty"`
	// Before is the API server that ran when the operation began.
	Before *Process `json:"before,omitempty"`
	// Stop is the process that must end for the change to take effect, where
	// nothing else restarts it.
	Stop *Process `json:"stop,omitempty"`
	// Back is the process that ran when the service was restarted on the way back.
	Back *Process `json:"back,omitempty"`
	// Attempts are the containers' last attempts before: directory to number.
	Attempts map[string]int `json:"attempts,omitempty"`
	// Reason is why it is rolled back, Tail the API server's last words.
	Reason string   `json:"reason,omitempty"`
	Tail   []string `json:"tail,omitempty"`

	// lenient says that what cannot be written down is done all the same.
	lenient bool
}

// FileChange is a file that an operation replaces. The hashes are SHA-256 in
// hex; Old is "" where there was no file.
type FileChange struct {
	Path    string      `json:"path"`
	Old     string      `json:"old,omitempty"`
	New     string      `json:"new"`
	OldMode fs.FileMode `json:"old_mode,omitempty"`
	Mode    fs.FileMode `json:"mode"`
	// Backup is the name of both copies, in old/ and in new/.
	Backup string `json:"backup"`
	// Temp is where its temporary file is written.
	Temp string `json:"temp,omitempty"`
}

// DirChange is a directory that an operation needs.
type DirChange struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
	Made bool        `json:"made"` // it was not there before
	UID  int         `json:"uid,omitempty"`
}

// ClusterChange is what becomes of the ClusterConfiguration in the ConfigMap
// kube-system/kubeadm-config. Both texts are in the backup directory.
type ClusterChange struct {
	Old string `json:"old"` // SHA-256
	New string `json:"new"`
}

const (
	clusterFile = "kubeadm-ClusterConfiguration.yaml"
	recordFile  = "record.json"
)

// Pending tells whether the operation was begun and has not ended.
func (s *State) Pending() bool {
	return s != nil && s.Step != stepDone && s.Step != stepUndone
}

func statePath() string { return path.Join(Dir, "state.json") }

// State reads the node's state file: nil if there is none.
func (n *Node) State(ctx context.Context) (*State, error) {
	data, ok, err := n.read(ctx, statePath())
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if !ok {
		return nil, nil
	}
	s := &State{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read state %s: %w; the backups are in %s", statePath(), err, path.Join(Dir, "backups"))
	}
	if s.Format > stateFormat {
		return nil, fmt.Errorf("read state %s: it was written by ktrail %s, which is newer than this one; use that one", statePath(), s.Program)
	}
	return s, nil
}

// save writes the state, durably. It is called before what it announces.
func (n *Node) save(ctx context.Context, s *State) error {
	if err := n.lock.held(ctx); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	err = n.Host.WriteFile(ctx, statePath(), append(data, '\n'), host.WriteOptions{Mode: 0o600})
	switch {
	case err == nil:
		return nil
	case s.lenient && !lost(err) && ctx.Err() == nil:
		n.Log.WarnContext(ctx, "the state cannot be written", slog.String("host", n.Name()), slog.String("step", s.Step), slog.Any("error", err))
		return nil
	}
	return fmt.Errorf("write state: %w", err)
}

// enter announces a step.
func (n *Node) enter(ctx context.Context, s *State, step string) error {
	s.Step = step
	return n.save(ctx, s)
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// prepare fills the backup directory and then announces the operation. Until it
// has, nothing of the node's own was touched. What is in the state has its copies.
func (n *Node) prepare(ctx context.Context, s *State, p *Plan) error {
	for _, dir := range []string{"", "old", "new"} {
		if err := n.mkdir(ctx, path.Join(s.Backup, dir)); err != nil {
			return fmt.Errorf("make backup directory: %w", err)
		}
	}
	keep := func(name string, data []byte) error {
		if err := n.Host.WriteFile(ctx, path.Join(s.Backup, name), data, host.WriteOptions{Mode: 0o600}); err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		return nil
	}
	for i, f := range p.Files {
		c := FileChange{
			Path: f.Path, New: hash(f.New), Mode: f.Mode, OldMode: f.OldMode, Temp: f.temp,
			Backup: fmt.Sprintf("%d-%s", i, path.Base(f.Path)),
		}
		if f.Exists {
			c.Old = hash(f.Old)
			if err := keep(path.Join("old", c.Backup), f.Old); err != nil {
				return err
			}
		}
		if err := keep(path.Join("new", c.Backup), f.New); err != nil {
			return err
		}
		s.Files = append(s.Files, c)
	}
	if c := p.Cluster; c != nil {
		if err := keep(path.Join("old", clusterFile), c.Old); err != nil {
			return err
		}
		if err := keep(path.Join("new", clusterFile), c.New); err != nil {
			return err
		}
		s.Cluster = &ClusterChange{Old: hash(c.Old), New: hash(c.New)}
	}
	record, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if err := keep(recordFile, append(record, '\n')); err != nil {
		return err
	}
	return n.enter(ctx, s, stepApply)
}

// backed reads a copy from the backup directory and checks that it is intact.
func (n *Node) backed(ctx context.Context, s *State, which, name, want string) ([]byte, error) {
	file := path.Join(s.Backup, which, name)
	data, err := n.Host.ReadFile(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if hash(data) != want {
		return nil, fmt.Errorf("read backup %s: it was changed since %s", file, s.Begun.Format(time.RFC3339))
	}
	return data, nil
}

// config is the change of the file with the flags, nil if that stays.
func (s *State) config() *FileChange {
	if i := slices.IndexFunc(s.Files, func(f FileChange) bool { return f.Path == s.Config }); i >= 0 {
		return &s.Files[i]
	}
	return nil
}
