package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
)

// Status is what auditing looks like on a node.
type Status struct {
	Node         string `json:"node"`
	Distribution string `json:"distribution,omitempty"`
	Version      string `json:"version,omitempty"`
	Enabled      bool   `json:"enabled"`
	// Mode is the log's, or the webhook's where there is no log.
	Mode string `json:"mode,omitempty"`
	// Policy and Log are paths on the node; PolicyHash is SHA-256 in hex.
	Policy     string `json:"policy,omitempty"`
	PolicyHash string `json:"policy_sha256,omitempty"`
	Log        string `json:"log,omitempty"`
	// LogBytes is the size of the log with its rotated files.
	LogBytes int64 `json:"log_bytes"`
	Rotated  int   `json:"rotated_files"`
	// LastEvent is when something was last written to the log.
	LastEvent *time.Time `json:"last_event,omitempty"`
	// Age is how old that is by the node's clock, in seconds.
	Age      float64  `json:"last_event_age_seconds,omitempty"`
	Warnings []string `json:"warnings"`
	// Pending is the operation that was interrupted here, if one was.
	Pending string `json:"pending,omitempty"`
}

func (s *Status) warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// Status looks at a node. It changes nothing, and needs no API server that works.
func (n *Node) Status(ctx context.Context) (*Status, error) {
	s := &Status{Node: n.Name(), Warnings: []string{}}
	last, err := n.lastWritten(ctx)
	if err != nil {
		return nil, err
	}
	l, err := n.Look(ctx)
	if err != nil {
		return nil, err
	}
	d := l.Distribution
	s.Distribution, s.Version = d.Name, l.Version
	s.Warnings = append(append(s.Warnings, l.Problems...), l.Warnings...)
	// What counts is what runs; what stands in the file is what will.
	args := l.Settings.Args
	if l.Process != nil {
		args = l.Process.Args
	}
	set, _ := flags.Read(args, l.version())
	if pending, err := n.State(ctx); err != nil {
		return nil, err
	} else if pending.Pending() {
		s.Pending = (&PendingError{Host: n.Name(), State: pending}).Error()
		s.warn("%s; %s", s.Pending, (&PendingError{Host: n.Name(), State: pending}).Next())
	}
	s.Enabled = l.Process != nil && set.Policy != "" && (set.Log.On() || set.Webhook.On())
	switch {
	case set.Log.On():
		s.Mode = set.Log.Mode
	case set.Webhook.On():
		s.Mode = "webhook, " + set.Webhook.Mode
	}
	switch {
	case set.Policy == "" && set.Log.On():
		s.warn("there is --%s but no --%s: nothing is recorded, silently", flags.LogPath, flags.PolicyFile)
	case set.Policy != "" && !set.Log.On() && !set.Webhook.On():
		s.warn("there is --%s but no --%s: nothing is recorded, silently", flags.PolicyFile, flags.LogPath)
	}
	if set.Log.Mode == flags.Batch && set.Log.On() && set.Log.BatchSize > 1 && set.Log.BatchWait <= 0 {
		s.warn("batch mode without --audit-log-batch-max-wait burns a core")
	}
	if err := n.statusPolicy(ctx, l, set, s); err != nil {
		return nil, err
	}
	return s, n.statusLog(ctx, l, set, s, last)
}

// lastWritten is when each log was written to last. It is asked before anything
// else: looking at the node makes events, too.
func (n *Node) lastWritten(ctx context.Context) (map[string]time.Time, error) {
	d, err := n.distribution(ctx)
	if err != nil {
		return nil, err
	}
	_, conf, err := n.settings(ctx, d)
	if err != nil {
		return nil, err
	}
	set, _ := flags.Read(conf.Args, flags.Version{})
	where, _ := d.onHost(conf.Mounts, set.Log.Path)
	if set.Log.Path == "-" {
		if where, err = lastPodLog(ctx, n); err != nil {
			return nil, err
		}
	}
	if where == "" || !path.IsAbs(where) {
		return nil, nil
	}
	info, err := n.Host.Stat(ctx, where)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return map[string]time.Time{where: info.ModTime}, err
}

func (n *Node) statusPolicy(ctx context.Context, l *Look, set flags.Settings, s *Status) error {
	if set.Policy == "" {
		return nil
	}
	where, m := l.Distribution.onHost(l.Settings.Mounts, set.Policy)
	if where == "" {
		s.warn("nothing is mounted at %s", set.Policy)
		return nil
	}
	s.Policy = where
	text, ok, err := n.read(ctx, where)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	if reason := unfit(text, ok); reason != "" {
		s.warn("the policy %s %s", where, reason)
	}
	if !ok {
		return nil
	}
	s.PolicyHash = hash(text)
	if l.Process == nil {
		return nil
	}
	stale, err := n.stale(ctx, l.Process, where)
	if err != nil {
		return err
	}
	if stale {
		s.warn("the policy was changed after the API server had started: ktrail enable restarts it")
	}
	if m != nil && !m.ReadOnly {
		s.warn("the policy is mounted writable")
	}
	return nil
}

func (n *Node) statusLog(ctx context.Context, l *Look, set flags.Settings, s *Status, last map[string]time.Time) error {
	if !set.Log.On() {
		return nil
	}
	var err error
	if set.Log.Path == "-" {
		s.Log, err = lastPodLog(ctx, n)
		if err != nil || s.Log == "" {
			return err
		}
	} else {
		where, mount := l.Distribution.onHost(l.Settings.Mounts, set.Log.Path)
		if where == "" {
			s.warn("the log %s is lost with the container: nothing is mounted there", set.Log.Path)
			return nil
		}
		if mount != nil && mount.MountPath == set.Log.Path {
			s.warn("the log's file is mounted rather than its directory: rotation fails (EBUSY)")
		}
		s.Log = where
	}
	info, err := n.Host.Stat(ctx, s.Log)
	if errors.Is(err, fs.ErrNotExist) {
		if s.Enabled {
			s.warn("there is no log %s yet; one that was deleted is written to all the same, where nobody reads it", s.Log)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	s.LogBytes = info.Size
	at := info.ModTime.UTC()
	if before, ok := last[s.Log]; ok {
		at = before.UTC()
	}
	s.LastEvent = &at
	if age, err := n.age(ctx, at); err == nil {
		s.Age = age.Seconds()
	}
	if set.Log.Path != "-" {
		return n.statusRotated(ctx, set, s)
	}
	return nil
}

func (n *Node) statusRotated(ctx context.Context, set flags.Settings, s *Status) error {
	names, err := n.rotated(ctx, s.Log)
	if err != nil {
		return err
	}
	s.Rotated = len(names)
	list, err := n.Host.ReadDir(ctx, path.Dir(s.Log))
	if err != nil {
		return fmt.Errorf("look at the log's directory: %w", err)
	}
	for _, e := range list {
		if slices.Contains(names, e.Name) {
			s.LogBytes += e.Size
		}
	}
	free, _, err := n.Host.Free(ctx, path.Dir(s.Log))
	if err != nil {
		return fmt.Errorf("find out how much disk is free: %w", err)
	}
	if need, bounded := mayUse(set); !bounded {
		s.warn("nothing bounds the log: it grows until the disk with its %s free is full", bytesText(free))
	} else if need-s.LogBytes > free {
		s.warn("the log may grow to %s, but there are only %s free for it", bytesText(need), bytesText(free+s.LogBytes))
	}
	return nil
}

// age is how long ago at was, by the node's own clock: that of this machine may differ.
func (n *Node) age(ctx context.Context, at time.Time) (time.Duration, error) {
	r, err := n.Host.Run(ctx, []string{"date", "+%s.%N"}, nil)
	if err != nil {
		return 0, err
	}
	now, err := strconv.ParseFloat(strings.TrimSpace(string(r.Stdout)), 64)
	if err != nil {
		return 0, fmt.Errorf("read the node's clock: %w", err)
	}
	return max(0, time.Duration((now-float64(at.UnixNano())/1e9)*float64(time.Second))), nil
}
