package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
)

// The outcomes of an operation.
const (
	Enabled    = "enabled"
	Disabled   = "disabled"
	Unchanged  = "unchanged"
	RolledBack = "rolled back"
)

// Report is how an operation ended.
type Report struct {
	Node         string   `json:"node"`
	Operation    string   `json:"operation"`
	Outcome      string   `json:"outcome"`
	Distribution string   `json:"distribution"`
	Files        []string `json:"files"`
	Backup       string   `json:"backup,omitempty"`
	// Away is how long the API server did not answer, Total what the operation took.
	Away float64 `json:"away_seconds"`
	// AwayUnknown says that it was replaced before this began, by the operation that
	// was interrupted: Away is only what was seen of that.
	AwayUnknown bool    `json:"away_unknown,omitempty"`
	Total       float64 `json:"total_seconds"`
	// Verification is the proof that auditing works, nil if it was not asked for.
	Verification *Verification `json:"verification,omitempty"`
	// Reason is why it was rolled back; Tail the API server's last words before.
	Reason   string   `json:"reason,omitempty"`
	Tail     []string `json:"tail,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// ProblemsError says why nothing was changed.
type ProblemsError struct {
	Host     string
	Problems []string
}

func (e *ProblemsError) Error() string {
	return fmt.Sprintf("%s: nothing was changed: %s", e.Host, strings.Join(e.Problems, "; "))
}

// PendingError says that an operation has begun here and has not ended.
type PendingError struct {
	Host  string
	State *State
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("%s: %s began %s by %s and was interrupted at step %q",
		e.Host, e.State.Operation, e.State.Begun.Format(time.RFC3339), e.State.By, e.State.Step)
}

// Next says what to do.
func (e *PendingError) Next() string {
	return wayOut(e.Host, e.State.Operation)
}

// wayOut is the commands that end what was begun, for the same machine.
func wayOut(machine, operation string) string {
	command := "ktrail " + operation
	if machine != (host.Local{}).Name() {
		command += " --ssh " + machine
	}
	return fmt.Sprintf("%s --resume finishes it, %s --rollback puts everything back", command, command)
}

// InterruptedError says that an operation could not be ended either way.
type InterruptedError struct {
	Host      string
	Operation string
	Step      string
	Err       error
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("%s: %s was interrupted at step %q: %v", e.Host, e.Operation, e.Step, e.Err)
}

func (e *InterruptedError) Unwrap() error { return e.Err }

// Next says what to do.
func (e *InterruptedError) Next() string {
	return wayOut(e.Host, e.Operation)
}

// RolledBackError says that an operation failed, and that everything is as it was.
type RolledBackError struct {
	Host   string
	Report *Report
	Err    error // why
}

func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%s: everything is as it was before: %s", e.Host, e.Report.Reason)
}

func (e *RolledBackError) Unwrap() error { return e.Err }

// ErrNothingPending says that there is nothing to resume or to roll back.
var ErrNothingPending = errors.New("nothing is under way here")

// operation is one that is being carried out.
type operation struct {
	*State
	d       *Distribution
	api     *apiClient
	timeout time.Duration
	outage  outage
	report  *Report
}

// kill ends a process that ktrail asked to end, nil if it did not.
func (o *operation) kill(n *Node, p *Process) func(context.Context) error {
	if o.d.kill == nil || !o.Stop.same(p) {
		return nil
	}
	return func(ctx context.Context) error { return o.d.kill(ctx, n, p) }
}

// Do carries a plan out: it applies it, waits, verifies, and rolls back by
// itself when that fails or ctx ends. A [RolledBackError] comes with a report.
func (n *Node) Do(ctx context.Context, p *Plan, timeout time.Duration) (*Report, error) {
	if len(p.Problems) > 0 {
		return nil, &ProblemsError{Host: n.Name(), Problems: p.Problems}
	}
	d := p.Look.Distribution
	if p.Nothing() {
		return &Report{Node: n.Name(), Operation: p.Operation, Outcome: Unchanged, Distribution: d.Name, Files: []string{}, Warnings: p.Warnings}, nil
	}
	n.began = time.Now()
	lock, err := n.acquire(ctx)
	if err != nil {
		return nil, err
	}
	n.lock = lock
	defer n.unlock(ctx)
	before, err := n.State(ctx)
	if err != nil {
		return nil, err
	}
	if before.Pending() {
		return nil, &PendingError{Host: n.Name(), State: before}
	}
	for _, f := range p.Files {
		now, err := n.hashOf(ctx, f.Path)
		if err != nil {
			return nil, err
		}
		if f.Exists && now != hash(f.Old) || !f.Exists && now != "" {
			return nil, fmt.Errorf("%s: %s was changed since the plan was made; nothing was done, run it again", n.Name(), f.Path)
		}
	}
	s := &State{
		Format: stateFormat, Operation: p.Operation, Begun: time.Now().UTC(), Program: n.Program, By: n.By,
		Distribution: d.Name, Dirs: p.Dirs, Config: d.Config,
		Old: auditArgs(p.Look.Settings.Args), New: auditArgs(p.Args), Before: p.Look.Process,
	}
	s.Backup = path.Join(Dir, "backups", s.Begun.Format("20060102T150405.000Z"))
	if d.attempts != nil {
		if s.Attempts, err = d.attempts(ctx, n); err != nil {
			return nil, err
		}
	}
	o := n.operation(s, d, p.Look.api, timeout)
	o.report.Warnings = p.Warnings
	if err := n.prepare(ctx, s, p); err != nil {
		if n.begun(ctx, s) {
			return n.retreat(ctx, o, err)
		}
		return nil, fmt.Errorf("%s: nothing was changed: %w", n.Name(), err)
	}
	return n.carry(ctx, o)
}

// begun tells whether the state of an operation may have been written: an error
// does not tell. Until it is, nothing but its own backup directory was.
func (n *Node) begun(ctx context.Context, s *State) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	now, err := n.State(ctx)
	return err != nil || now != nil && now.Backup == s.Backup
}

func (n *Node) unlock(ctx context.Context) {
	n.lock.release(ctx)
	n.lock = nil
}

func (n *Node) operation(s *State, d *Distribution, api *apiClient, timeout time.Duration) *operation {
	r := &Report{Node: n.Name(), Operation: s.Operation, Distribution: d.Name, Backup: s.Backup, Files: []string{}}
	return &operation{State: s, d: d, api: api, timeout: timeout, report: r}
}

// pending takes up the operation that was interrupted.
func (n *Node) pending(ctx context.Context, timeout time.Duration) (*operation, error) {
	s, err := n.State(ctx)
	if err != nil {
		return nil, err
	}
	if !s.Pending() {
		return nil, fmt.Errorf("%s: %w", n.Name(), ErrNothingPending)
	}
	d, args, err := n.changed(ctx, s)
	if err != nil {
		return nil, err
	}
	api, err := n.connect(ctx, d, args)
	if err != nil {
		return nil, err
	}
	p, err := n.running(ctx, d, args)
	if err != nil {
		return nil, err
	}
	o := n.operation(s, d, api, timeout)
	o.report.AwayUnknown = !p.same(s.Before)
	return o, nil
}

// changed is the distribution that an operation has begun to change, and the API
// server's flags. A manifest that somebody took away meanwhile is known all the same:
// the operation has its path, and the backup its text.
func (n *Node) changed(ctx context.Context, s *State) (*Distribution, []flags.Arg, error) {
	d, err := n.distribution(ctx)
	var none *NoControlPlaneError
	if f := s.config(); errors.As(err, &none) && s.Distribution == kubeadm && f != nil && f.Old != "" {
		data, err := n.backed(ctx, s, "old", f.Backup, f.Old)
		if err != nil {
			return nil, nil, err
		}
		settings, err := config.Read(config.StaticPod, data)
		if err != nil {
			return nil, nil, fmt.Errorf("read the backup of %s: %w", s.Config, err)
		}
		return kubeadmPod(s.Config), settings.Args, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if d.Config != s.Config {
		return nil, nil, fmt.Errorf("%s: %s changes %s, but the API server's configuration is now %s; see %s", n.Name(), s.Operation, s.Config, d.Config, s.Backup)
	}
	args, err := n.configArgs(ctx, d)
	return d, args, err
}

// Resume finishes what was begun: forward, or back if that was under way.
func (n *Node) Resume(ctx context.Context, timeout time.Duration) (*Report, error) {
	return n.takeUp(ctx, timeout, func(o *operation) (*Report, error) {
		if o.Step == stepBack {
			return n.back(ctx, o)
		}
		return n.carry(ctx, o)
	})
}

// Rollback undoes what was begun.
func (n *Node) Rollback(ctx context.Context, timeout time.Duration) (*Report, error) {
	return n.takeUp(ctx, timeout, func(o *operation) (*Report, error) {
		if o.Reason == "" {
			o.Reason = "asked for"
		}
		return n.back(ctx, o)
	})
}

func (n *Node) takeUp(ctx context.Context, timeout time.Duration, do func(*operation) (*Report, error)) (*Report, error) {
	n.began = time.Now()
	lock, err := n.acquire(ctx)
	if err != nil {
		return nil, err
	}
	n.lock = lock
	defer n.unlock(ctx)
	o, err := n.pending(ctx, timeout)
	if err != nil {
		return nil, err
	}
	return do(o)
}

// carry goes forward, and back where that fails.
func (n *Node) carry(ctx context.Context, o *operation) (*Report, error) {
	err := n.forward(ctx, o)
	if err != nil {
		return n.retreat(ctx, o, err)
	}
	o.report.Outcome = Enabled
	if o.Operation == Disable {
		o.report.Outcome = Disabled
	}
	n.finish(o)
	return o.report, nil
}

func (n *Node) finish(o *operation) {
	for _, f := range o.Files {
		o.report.Files = append(o.report.Files, f.Path)
	}
	o.report.Away, o.report.Total = o.outage.away().Seconds(), time.Since(n.began).Seconds()
}

// forward does every step, those too that may have been done already.
func (n *Node) forward(ctx context.Context, o *operation) error {
	s := o.State
	if err := n.enter(ctx, s, stepApply); err != nil {
		return err
	}
	if err := n.apply(ctx, s); err != nil {
		return err
	}
	// Only kubeadm-config may be left to change.
	if moved := len(s.Files) > 0 || s.Cluster == nil; moved {
		if s.config() == nil || !o.d.Watched {
			if err := n.restart(ctx, s, o.d); err != nil {
				return err
			}
		}
		if err := n.enter(ctx, s, stepWait); err != nil {
			return err
		}
		w := wish{args: s.New, not: s.Before, attempts: s.Attempts, timeout: o.timeout, step: stepWait}
		w.kill = o.kill(n, s.Before)
		if _, err := n.await(ctx, o.d, o.api, w, &o.outage); err != nil {
			return err
		}
	}
	if s.Operation == Enable {
		if err := n.enter(ctx, s, stepVerify); err != nil {
			return err
		}
		v, err := n.prove(ctx, o.d, o.api)
		if err != nil {
			return err
		}
		o.report.Verification = v
		if !v.OK && !v.Unproven {
			return errors.New(v.Sentence)
		}
	}
	if s.Cluster != nil {
		if err := n.enter(ctx, s, stepPersist); err != nil {
			return err
		}
		n.progress(stepPersist, "writing kubeadm-config")
		if err := n.setCluster(ctx, o.api, s, true); err != nil {
			return err
		}
	}
	return n.enter(ctx, s, stepDone)
}

// retreat rolls back after cause, unless nobody can or another ktrail decides.
// It goes on when ctx has ended: that may be why it is needed.
func (n *Node) retreat(ctx context.Context, o *operation, cause error) (*Report, error) {
	var locked *LockedError
	if lost(cause) || errors.As(cause, &locked) {
		return nil, &InterruptedError{Host: n.Name(), Operation: o.Operation, Step: o.Step, Err: cause}
	}
	o.Reason = why(ctx, cause)
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout+time.Minute)
	defer cancel()
	n.progress(stepBack, "rolling back: %s", o.Reason)
	if o.d.tail != nil && !interrupted && slices.Contains([]string{stepWait, stepVerify}, o.Step) {
		// The last words are worth having, but nothing waits for them.
		o.Tail, _ = o.d.tail(ctx, n)
	}
	report, err := n.back(ctx, o)
	if err != nil {
		return report, errors.Join(err, cause)
	}
	return report, &RolledBackError{Host: n.Name(), Report: report, Err: cause}
}

// back undoes every step, those too that may have been undone already.
func (n *Node) back(ctx context.Context, o *operation) (*Report, error) {
	if err := n.backward(ctx, o); err != nil {
		return nil, &InterruptedError{Host: n.Name(), Operation: o.Operation, Step: stepBack, Err: err}
	}
	o.report.Outcome, o.report.Reason, o.report.Tail = RolledBack, o.Reason, o.Tail
	n.finish(o)
	return o.report, nil
}

func (n *Node) backward(ctx context.Context, o *operation) error {
	s := o.State
	// A disk that is full, of what was logged perhaps, must not keep the API server
	// down. What is not written down is done again at worst.
	s.lenient = true
	if err := n.enter(ctx, s, stepBack); err != nil {
		return err
	}
	if err := n.stampedStop(ctx, s, o.d); err != nil {
		return err
	}
	changed, err := n.undo(ctx, s)
	if err != nil {
		return err
	}
	w := wish{args: s.Old, timeout: o.timeout, step: stepBack}
	switch {
	case o.d.Unit != "":
		if w.not, err = n.restartService(ctx, s, o.d); err != nil {
			return err
		}
	case s.config() == nil || !o.d.Watched:
		if s.Stop.same(s.Before) {
			s.Stop = nil // that one has ended, or will, on the way forward
		}
		if err := n.restartAgain(ctx, s, o.d); err != nil {
			return err
		}
		w.not = s.Stop
	default:
		w.not = s.Stop
	}
	if changed || s.Stop != nil {
		w.settle = o.d.settle
	}
	if s.config() == nil { // otherwise kubelet sees to it
		w.kill = o.kill(n, s.Stop)
	}
	if _, err := n.await(ctx, o.d, o.api, w, &o.outage); err != nil {
		return err
	}
	if err := n.sweep(ctx, s); err != nil {
		return err
	}
	if s.Cluster != nil {
		if err := n.setCluster(ctx, o.api, s, false); err != nil {
			return err
		}
	}
	s.lenient = false
	if err := n.enter(ctx, s, stepUndone); err != nil {
		return fmt.Errorf("everything is as it was before, but that cannot be noted: %w", err)
	}
	return nil
}

// stampedStop writes down which API server must end on the way back, where its
// flags do not tell: the one that has read the new policy, if it is not the one
// from before.
func (n *Node) stampedStop(ctx context.Context, s *State, d *Distribution) error {
	if s.config() == nil || !d.Watched || s.Stop != nil || !slices.Equal(s.Old, s.New) {
		return nil
	}
	args, err := n.configArgs(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // whose manifest is gone, kubelet ends
	}
	if err != nil {
		return err
	}
	p, err := n.running(ctx, d, args)
	if err != nil || p == nil || p.same(s.Before) {
		return err
	}
	s.Stop = p
	return n.save(ctx, s)
}

// restartAgain restarts an API server that may have read the new policy. The one
// from before cannot have.
func (n *Node) restartAgain(ctx context.Context, s *State, d *Distribution) error {
	args, err := n.configArgs(ctx, d)
	if err != nil {
		return err
	}
	p, err := n.running(ctx, d, args)
	if err != nil {
		return err
	}
	if p == nil || p.same(s.Before) {
		return nil
	}
	return n.restart(ctx, s, d)
}

// restartService makes a service read its old configuration again, if it was
// asked to read the new one, and returns the process that must end.
func (n *Node) restartService(ctx context.Context, s *State, d *Distribution) (*Process, error) {
	if s.Stop == nil {
		return nil, nil // it was not asked, and has never read it
	}
	p, err := n.running(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	if s.Back == nil {
		s.Back = p
		if p == nil {
			s.Back = &Process{} // none
		}
		if err := n.save(ctx, s); err != nil {
			return nil, err
		}
	}
	if p == nil || p.same(s.Back) {
		n.progress(stepBack, "restarting %s", d.Unit)
		if err := d.restart(ctx, n, p); err != nil {
			return nil, err
		}
	}
	// RKE2 lets a pod live whose manifest is what it was.
	if !d.inUnit && s.Back.same(s.Before) {
		return nil, nil
	}
	return s.Back, nil
}
