package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
)

// Verification is the proof that auditing works, or what is wrong with it.
type Verification struct {
	OK bool `json:"ok"`
	// Unproven says that nobody can tell: events go where ktrail cannot look, or the
	// policy records nothing that it may ask. It is no failure, and not OK.
	Unproven bool `json:"unproven,omitempty"`
	// Sentence says it for people.
	Sentence string `json:"sentence"`
	Node     string `json:"node"`
	// Request is what was sent; Marker its audit ID.
	Request string `json:"request,omitempty"`
	Marker  string `json:"marker,omitempty"`
	Log     string `json:"log,omitempty"`
	// Level is what was recorded, Wanted what the policy says.
	Level  string `json:"level,omitempty"`
	Wanted string `json:"wanted_level,omitempty"`
	// Took is from sending the request to its event in the log.
	Took float64 `json:"seconds,omitempty"`
	// CPU is what the API server used meanwhile, in cores.
	CPU     float64 `json:"cpu_cores"`
	Rotated int     `json:"rotated_files"`
	Size    int64   `json:"log_bytes"`

	Warnings []string `json:"warnings,omitempty"`
}

func (v *Verification) fail(format string, args ...any) *Verification {
	v.OK, v.Unproven, v.Sentence = false, false, fmt.Sprintf(format, args...)
	return v
}

func (v *Verification) cannot(reason string) {
	v.Unproven, v.Sentence = true, "it cannot be proven that events are recorded: "+reason
}

// The reasons why nobody can tell.
const (
	webhookOnly = "they go to a webhook only (--" + flags.WebhookConfig + "), and ktrail looks into log files; look where the webhook sends them"
	noProbe     = "the policy records none of the harmless requests that ktrail can make as %q; look into the log after one that it records"
)

// Verify proves that auditing works on a node: with a request of its own that is
// found in the log. It changes nothing.
func (n *Node) Verify(ctx context.Context) (*Verification, error) {
	d, err := n.distribution(ctx)
	if err != nil {
		return nil, err
	}
	_, s, err := n.settings(ctx, d)
	if err != nil {
		return nil, err
	}
	c, err := n.connect(ctx, d, s.Args)
	if err != nil {
		return nil, err
	}
	return n.prove(ctx, d, c)
}

const (
	// idle is how long the API server's CPU is measured.
	idle = 3 * time.Second
	// spinning is the share of a core from which an API server is looked at again.
	// The busy loop of FACTS uses 0.98 or more.
	spinning = 0.9
	// delay is what an event may take to the log beside the batch's own wait.
	delay = 30 * time.Second
)

// trail is where an API server writes to, and by which rules.
type trail struct {
	settings flags.Settings
	process  *Process
	log      string // on the host
	policy   *policy.Policy
}

// prove sends a marked request and finds its event. Errors are only those that
// keep it from being tried; what it shows is in the verification.
func (n *Node) prove(ctx context.Context, d *Distribution, c *apiClient) (*Verification, error) {
	v := &Verification{Node: n.Name()}
	t, err := n.trail(ctx, d, v)
	if err != nil || t == nil {
		return v, err
	}
	var pr *probe
	var decision policy.Decision
	if !v.Unproven {
		if pr, decision = choose(t.policy, c.user, c.groups); pr == nil {
			v.cannot(fmt.Sprintf(noProbe, c.user))
		}
	}
	if v.Unproven { // that it runs well can be told all the same
		return v, n.checkCPU(ctx, t, t.process, time.Now(), v)
	}
	v.Request, v.Wanted = pr.text, decision.Level.String()
	n.progress(stepVerify, "sending a marked request (%s) and looking for its event in %s", pr.text, t.log)
	before := t.process
	begun := time.Now()
	line, err := n.find(ctx, c, t, pr, v)
	if err != nil || line == "" {
		return v, err
	}
	if v.Level = recordedLevel(line); v.Level == "" {
		v.Warnings = append(v.Warnings, "the log is in the legacy format, which has neither levels nor bodies")
	} else if v.Level != v.Wanted {
		return v.fail("the event of %s is of level %s, but the policy says %s: the API server has not read its policy anew", pr.text, v.Level, v.Wanted), nil
	}
	if err := n.checkRotation(ctx, t, v); err != nil {
		return nil, err
	}
	if err := n.checkCPU(ctx, t, before, begun, v); err != nil {
		return nil, err
	}
	if v.Sentence == "" {
		v.OK = true
		v.Sentence = fmt.Sprintf("auditing works: the event of a marked request (%s) was in %s after %s, at level %s as the policy says",
			pr.text, t.log, seconds(v.Took), v.Wanted)
	}
	return v, nil
}

func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%d ms", int(s*1000+0.5))
	}
	return fmt.Sprintf("%.1f s", s)
}

// trail finds the running API server's log and policy. What is missing is said
// in v, and it is nil then, unless that is no failure.
func (n *Node) trail(ctx context.Context, d *Distribution, v *Verification) (*trail, error) {
	_, conf, err := n.settings(ctx, d)
	if err != nil {
		return nil, err
	}
	t := &trail{}
	if t.process, err = n.running(ctx, d, conf.Args); err != nil {
		return nil, err
	}
	if t.process == nil {
		v.fail("no API server is running here")
		return nil, nil
	}
	t.settings, _ = flags.Read(t.process.Args, versionOf(conf.Version))
	s := t.settings
	switch {
	case s.Policy == "":
		v.fail("auditing is off: the API server runs without --%s", flags.PolicyFile)
		return nil, nil
	case !s.Log.On() && s.Webhook.On():
		v.cannot(webhookOnly)
		return t, nil
	case !s.Log.On():
		v.fail("auditing is off: the API server runs without --%s", flags.LogPath)
		return nil, nil
	}
	if s.Log.Path == "-" {
		if t.log, err = lastPodLog(ctx, n); err != nil {
			return nil, err
		}
	} else {
		t.log, _ = d.onHost(conf.Mounts, s.Log.Path)
	}
	if t.log == "" {
		v.fail("the log %s is not on the node: nothing is mounted there, and it is lost with the container", s.Log.Path)
		return nil, nil
	}
	v.Log = t.log
	file, _ := d.onHost(conf.Mounts, s.Policy)
	text, ok, err := n.read(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if !ok {
		v.fail("the policy %s is gone: the API server will not start again", file)
		return nil, nil
	}
	if t.policy, err = policy.Load(text); err != nil {
		v.fail("the policy %s does not load, and the API server will not start again: %s", file, firstLine(err.Error()))
		return nil, nil
	}
	stale, err := n.stale(ctx, t.process, file)
	if err != nil {
		return nil, err
	}
	if stale {
		v.Warnings = append(v.Warnings, "the policy was changed after the API server had started: ktrail enable restarts it")
	}
	return t, nil
}

func versionOf(s string) flags.Version {
	v, err := flags.ParseVersion(s)
	if err != nil {
		return flags.Version{}
	}
	return v
}

// find sends the probe and reads the log from where it ended until the event is
// there. A log that is rotated meanwhile is read from its beginning, with a new
// request: its event may be on either side.
func (n *Node) find(ctx context.Context, c *apiClient, t *trail, pr *probe, v *Verification) (string, error) {
	patience := delay + t.settings.Log.BatchWait
	for try := 0; ; try++ {
		offset, err := n.size(ctx, t.log)
		if err != nil {
			return "", err
		}
		v.Marker = marker()
		sent := time.Now()
		a, err := c.do(ctx, pr.mark(v.Marker))
		switch {
		case lost(err) || ctx.Err() != nil:
			return "", err
		case err != nil:
			v.fail("the API server does not answer: %v", err)
			return "", nil
		case a.status == 401:
			v.fail("the API server does not accept the administrator's certificate (401)")
			return "", nil
		}
		line, rotated, err := n.follow(ctx, t.log, offset, v.Marker, patience)
		if err != nil {
			return "", err
		}
		switch {
		case line != "":
			v.Took = time.Since(sent).Seconds()
			return line, nil
		case rotated && try < 3:
			continue
		}
		v.fail("the event of a marked request (%s) was not in %s within %s", pr.text, t.log, patience)
		return "", nil
	}
}

// marker is a fresh UUID, as audit IDs are.
func marker() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// size is a file's, 0 if there is none yet.
func (n *Node) size(ctx context.Context, name string) (int64, error) {
	info, err := n.Host.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return info.Size, err
}

// follow reads a growing file from offset on until a line with the marker is
// complete. It tells whether the file was replaced instead.
func (n *Node) follow(ctx context.Context, name string, offset int64, marker string, patience time.Duration) (line string, rotated bool, err error) {
	begun := time.Now()
	var rest []byte // of a line that is not complete yet
	for {
		data, size, err := n.Host.ReadAt(ctx, name, offset, 1<<20)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", false, fmt.Errorf("read the log: %w", err)
		case size < offset:
			return "", true, nil
		}
		offset += int64(len(data))
		rest = append(rest, data...)
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			l := rest[:i]
			rest = rest[i+1:]
			if bytes.Contains(l, []byte(marker)) {
				return criMessage(string(l)), false, nil
			}
		}
		if len(data) > 0 {
			continue
		}
		if time.Since(begun) > patience {
			return "", false, nil
		}
		if err := n.pause(ctx, 50*time.Millisecond); err != nil {
			return "", false, err
		}
	}
}

// checkRotation looks whether the log is kept within what the flags ask for.
func (n *Node) checkRotation(ctx context.Context, t *trail, v *Verification) error {
	size, err := n.size(ctx, t.log)
	if err != nil {
		return err
	}
	v.Size = size
	s := t.settings
	if s.Log.Path == "-" {
		return nil
	}
	rotated, err := n.rotated(ctx, t.log)
	if err != nil {
		return err
	}
	v.Rotated = len(rotated)
	limit := int64(s.Log.RotateAt(s.Version)) * mb
	if limit > 0 && size > limit {
		v.fail("the log is not rotated: %s has %s, but --%s is %d MB; is its file mounted rather than its directory?", t.log, bytesText(size), flags.LogMaxSize, limit/mb)
	}
	// One more than asked for is there while the oldest is being removed.
	if s.Log.MaxFiles > 0 && len(rotated) > s.Log.MaxFiles+1 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("there are %d rotated files, but --%s is %d", len(rotated), flags.LogMaxBackup, s.Log.MaxFiles))
	}
	return nil
}

// rotated are the names of the rotated files: audit-2006-01-02T15-04-05.000.log,
// with .gz where they are compressed.
func (n *Node) rotated(ctx context.Context, log string) ([]string, error) {
	list, err := n.Host.ReadDir(ctx, path.Dir(log))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the log's directory: %w", err)
	}
	ext := path.Ext(log)
	stem := strings.TrimSuffix(path.Base(log), ext) + "-"
	var names []string
	for _, e := range list {
		at, ok := strings.CutPrefix(strings.TrimSuffix(e.Name, ".gz"), stem)
		if !ok {
			continue
		}
		if _, err := time.Parse("2006-01-02T15-04-05.000", strings.TrimSuffix(at, ext)); err == nil {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// checkCPU looks whether the API server burns a core though nobody asks it
// anything. A busy cluster's does honest work, and one that has just started has
// much to read: it is an error only where the flags are known to make it spin,
// and where it never rests.
func (n *Node) checkCPU(ctx context.Context, t *trail, before *Process, begun time.Time, v *Verification) error {
	busy := t.settings.Log.Mode == flags.Batch && t.settings.Log.BatchWait <= 0 && t.settings.Log.BatchSize > 1
	from, cpu := begun, before.cpu
	for try := 0; ; try++ {
		if left := idle - time.Since(from); left > 0 {
			if err := n.pause(ctx, left); err != nil {
				return err
			}
		}
		p, err := n.process(ctx, before.PID)
		if err != nil || !p.same(before) {
			if lost(err) || ctx.Err() != nil {
				return err
			}
			v.fail("the API server (pid %d) ended while it was verified", before.PID)
			return nil
		}
		now := time.Now()
		v.CPU = float64(p.cpu-cpu) / ticks / now.Sub(from).Seconds()
		if v.CPU < spinning {
			return nil
		}
		if try == 2 {
			break
		}
		from, cpu = now, p.cpu
	}
	if busy {
		v.fail("the API server burns %.1f cores: batch mode without a wait makes it spin; set --audit-log-batch-max-wait=5s, or --audit-log-mode=blocking", v.CPU)
		return nil
	}
	v.Warnings = append(v.Warnings, fmt.Sprintf("the API server uses %.1f cores; its flags are none that are known to make it spin", v.CPU))
	return nil
}
