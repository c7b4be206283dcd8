package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

const (
	simManifest = manifestsDir + "/kube-apiserver.yaml"
	simPolicy   = flags.DefaultPolicyFile
	simLog      = flags.DefaultLogPath
	simLogs     = podLogs + "/kube-system_kube-apiserver-cp1_"
)

const manifestOff = `apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
    - --secure-port=6443 # the usual one
    image: registry.k8s.io/kube-apiserver:v1.37.2
    name: kube-apiserver
    volumeMounts:
    - mountPath: /etc/kubernetes/pki
      name: k8s-certs
      readOnly: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: DirectoryOrCreate
    name: k8s-certs
`

const clusterOff = `apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
`

const simHook = "a kubeconfig that is right"

const recordAll = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"

// sim is a node with kubelet and an API server, which live as time passes: what
// is due happens when somebody looks.
type sim struct {
	*hosttest.Machine
	t    *testing.T
	boot time.Time

	mu       sync.Mutex
	pid      int
	server   *simServer
	next     time.Time      // when kubelet starts a container again
	attempts map[string]int // by manifest
	cluster  string         // kubeadm-config
	version  int            // its resourceVersion
	conflict bool           // the next write of it meets a conflict
	// mute makes the API server record nothing, spin burn a core.
	mute, spin bool
	// deaf makes kubelet see nothing.
	deaf bool
	// k3s makes it a node of k3s: one process, which systemd starts, which reads
	// its configuration then and only then, and whose flags only the journal has.
	k3s      bool
	journal  string
	restarts int // by systemd itself
}

const (
	simK3sConfig = k3sDir + "/config.yaml"
	simK3sPolicy = k3sData + "/audit.yaml"
)

type simServer struct {
	pid      int
	start    time.Time
	manifest string
	settings *config.Settings
	policy   *policy.Policy
	ends     time.Time // zero: not asked to
}

func newSim(t *testing.T) *sim { return newSimOf(t, false) }

func newSimOf(t *testing.T, k3s bool) *sim {
	s := &sim{
		k3s:     k3s,
		Machine: hosttest.NewMachine(), t: t, boot: time.Now().Truncate(time.Second), pid: 100,
		attempts: map[string]int{}, cluster: clusterOff, version: 1, conflict: true,
	}
	admin, where := "/etc/kubernetes/admin.conf", "http://lb.example.com:6443"
	if k3s {
		admin, where = k3sDir+"/k3s.yaml", "http://127.0.0.1:6443"
		s.Put(k3sData+"/token", []byte("x"), 0o600)
		s.Put("/etc/systemd/system/k3s.service", []byte("[Service]\nExecStart=/usr/local/bin/k3s server\n"), 0o644)
	} else {
		s.Put(simManifest, []byte(manifestOff), 0o600)
		s.Put(manifestsDir+"/etcd.yaml", []byte("kind: Pod\nspec: {containers: [{name: etcd, command: [etcd]}]}\n"), 0o600)
	}
	s.Put(admin, []byte(`{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: [{name: k, cluster: {server: "`+where+`"}}], users: [{name: u, user: {token: t}}]}`), 0o600)
	s.Put("/etc/kubernetes/pki/ca.crt", []byte("x"), 0o600)
	s.Put("/var/lib/kubelet/config.yaml", []byte("staticPodPath: "+manifestsDir+"\n"), 0o600)
	s.Put("/var/log/x", nil, 0o600)
	s.Put("/var/lib/x", nil, 0o600)
	s.Put("/proc/stat", fmt.Appendf(nil, "cpu 1 2 3\nbtime %d\n", s.boot.Unix()), 0o444)
	s.Machine.Changed, s.Machine.Run, s.Machine.Dial = s.changed, s.run, s.dial
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
				s.mu.Lock()
				s.live()
				s.mu.Unlock()
			}
		}
	}()
	time.Sleep(10 * time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil || !s.ready() {
		t.Fatal("the simulated API server does not start")
	}
	return s
}

// changed is kubelet's watch. It also sees what it must never see.
func (s *sim) changed(name string) {
	if path.Dir(name) == manifestsDir && name != simManifest && !strings.HasPrefix(path.Base(name), ".") {
		s.t.Errorf("%s appeared where kubelet reads it", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live()
}

// live lets happen what is due. It needs the lock.
func (s *sim) live() {
	now := time.Now()
	text, _ := s.Get(simManifest)
	if s.k3s {
		text, _ = s.Get(simK3sConfig)
		text = append([]byte{}, text...) // without a file it runs, too
	}
	if v := s.server; v != nil {
		if !s.k3s && v.manifest != string(text) && v.ends.IsZero() && !s.deaf {
			v.ends = now.Add(2 * time.Second)
		}
		if !v.ends.IsZero() && !now.Before(v.ends) {
			s.Delete(fmt.Sprintf("/proc/%d", v.pid))
			s.server, s.next = nil, now.Add(time.Second)
		} else {
			s.putStat(v, now)
		}
	}
	if s.server == nil && !now.Before(s.next) && text != nil {
		s.start(string(text), now)
	}
}

func (s *sim) start(manifest string, now time.Time) {
	dir := simLogs + hash([]byte(manifest))[:8] + "/kube-apiserver"
	attempt := s.attempts[manifest]
	s.attempts[manifest]++
	log := fmt.Sprintf("%s/%d.log", dir, attempt)
	v, err := s.load(manifest)
	if err != nil && s.k3s {
		s.journal += fmt.Sprintf("level=fatal msg=\"apiserver exited: %v\"\n", err)
		s.restarts++
		s.next = now.Add(5 * time.Second)
		return
	}
	if err != nil {
		s.Put(log, fmt.Appendf(nil, "%s stderr F Error: %v\n", now.Format(time.RFC3339Nano), err), 0o600)
		s.next = now.Add(10 * time.Second << min(attempt, 5))
		return
	}
	s.pid++
	v.pid, v.start = s.pid, now
	s.server = v
	if s.k3s {
		var words []string
		for _, a := range v.settings.Args {
			words = append(words, a.String())
		}
		s.journal += fmt.Sprintf("%d level=info msg=\"Running kube-apiserver --advertise-port=6443 %s\"\n", v.pid, strings.Join(words, " "))
		s.Put(fmt.Sprintf("/proc/%d/cmdline", v.pid), []byte("/usr/local/bin/k3s server\x00\x00"), 0o444)
		s.Put(fmt.Sprintf("/proc/%d/status", v.pid), []byte("Name:\tk3s-server\nUid:\t0\t0\t0\t0\n"), 0o444)
		s.putStat(v, now)
		return
	}
	s.Put(log, fmt.Appendf(nil, "%s stderr F serving\n", now.Format(time.RFC3339Nano)), 0o600)
	line := []string{"kube-apiserver"}
	for _, a := range v.settings.Args {
		line = append(line, a.String())
	}
	s.Put(fmt.Sprintf("/proc/%d/cmdline", v.pid), []byte(strings.Join(line, "\x00")+"\x00"), 0o444)
	s.Put(fmt.Sprintf("/proc/%d/status", v.pid), []byte("Name:\tkube-apiserver\nUid:\t0\t0\t0\t0\n"), 0o444)
	s.putStat(v, now)
}

func (s *sim) putStat(v *simServer, now time.Time) {
	cpu := int(now.Sub(v.start).Seconds() * 3) // three ticks a second
	if s.spin {
		cpu = int(now.Sub(v.start).Seconds() * 150)
	}
	s.Put(fmt.Sprintf("/proc/%d/stat", v.pid), fmt.Appendf(nil, "%d (kube-apiserver) S 1 1 1 0 -1 4 0 0 0 0 %d 0 0 0 20 0 9 0 %d 0 0\n",
		v.pid, cpu, int(v.start.Sub(s.boot).Seconds()*ticks)), 0o444)
}

// load starts as the API server does: without its policy it ends.
func (s *sim) load(manifest string) (*simServer, error) {
	kind := config.StaticPod
	if s.k3s {
		kind = config.K3s
	}
	settings, err := config.Read(kind, []byte(manifest))
	if err != nil {
		return nil, err
	}
	v := &simServer{manifest: manifest, settings: settings}
	if r := flags.Validate(settings.Args, flags.Version{}); len(r) > 0 {
		return nil, r[0]
	}
	set, _ := flags.Read(settings.Args, flags.Version{})
	if text, _ := s.Get(s.mounted(v, set.Webhook.ConfigFile)); set.Webhook.On() && string(text) != simHook {
		return nil, fmt.Errorf("loading webhook config %s: invalid configuration", set.Webhook.ConfigFile)
	}
	if set.Policy == "" {
		return v, nil
	}
	text, ok := s.Get(s.mounted(v, set.Policy))
	if !ok {
		return nil, fmt.Errorf("loading audit policy file: open %s: no such file or directory", set.Policy)
	}
	v.policy, err = policy.Load(text)
	return v, err
}

func (s *sim) mounted(v *simServer, name string) string {
	if s.k3s {
		return name
	}
	for _, m := range v.settings.Mounts {
		if rest, ok := strings.CutPrefix(name, m.MountPath); ok {
			return m.HostPath + rest
		}
	}
	return "/nowhere"
}

func (s *sim) ready() bool {
	return s.server != nil && s.server.ends.IsZero() && time.Since(s.server.start) >= 3*time.Second
}

func (s *sim) run(ctx context.Context, argv []string, _ []byte) (host.Result, error) {
	if argv[0] == "mkdir" { // without the lock: it tells changed
		dir := argv[len(argv)-1]
		if _, there := s.Tree(dir)[dir+"/"]; there {
			return host.Result{Status: 1, Stderr: []byte("File exists")}, nil
		}
		return host.Result{}, s.Connect("mkdir").MkdirAll(ctx, dir, 0o700)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live()
	switch argv[0] {
	case "pgrep":
		if s.server == nil || s.k3s != (argv[2] == "k3s-server") {
			return host.Result{Status: 1}, nil
		}
		return host.Result{Stdout: fmt.Appendln(nil, s.server.pid)}, nil
	case "kill":
		if pid, _ := strconv.Atoi(argv[2]); s.server == nil || pid != s.server.pid {
			return host.Result{Status: 1, Stderr: []byte("no such process")}, nil
		}
		s.server.ends = time.Now().Add(time.Second)
		return host.Result{}, nil
	case "systemctl":
		if argv[1] == "show" {
			return host.Result{Stdout: fmt.Appendf(nil, "NRestarts=%d\n", s.restarts)}, nil
		}
		s.restarts = 0
		if s.server != nil {
			s.server.ends = time.Now().Add(time.Second)
		} else {
			s.next = time.Now()
		}
		return host.Result{}, nil
	case "journalctl":
		var out []string
		for line := range strings.Lines(s.journal) {
			pid, rest, _ := strings.Cut(line, " ")
			if !slices.ContainsFunc(argv, func(a string) bool { return strings.HasPrefix(a, "_PID=") }) || slices.Contains(argv, "_PID="+pid) {
				out = append(out, rest)
			}
		}
		return host.Result{Stdout: []byte(strings.Join(out, ""))}, nil
	case "date":
		return host.Result{Stdout: fmt.Appendf(nil, "%.9f\n", float64(time.Now().UnixNano())/1e9)}, nil
	}
	return host.Result{Status: 127}, nil
}

func (s *sim) dial(_ context.Context, _, address string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live()
	want := "10.0.0.1:6443"
	if s.k3s {
		want = "127.0.0.1:6443"
	}
	if s.server == nil || address != want || time.Since(s.server.start) < time.Second {
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	}
	near, far := net.Pipe()
	// A program that was killed does not hang up.
	stop := context.AfterFunc(s.t.Context(), func() { _ = far.Close() })
	go func() {
		defer stop()
		defer far.Close()
		req, err := http.ReadRequest(bufio.NewReader(far))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		status, answer := s.answer(req, body)
		resp := &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(bytes.NewReader(answer)), ContentLength: int64(len(answer)), Close: true}
		_ = resp.Write(far)
	}()
	return near, nil
}

func (s *sim) answer(req *http.Request, body []byte) (int, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return 503, nil
	}
	s.record(req)
	switch {
	case req.URL.Path == "/readyz" && s.ready():
		return 200, []byte("ok")
	case req.URL.Path == "/readyz":
		return 500, []byte("[-]poststarthook failed")
	case req.URL.Path == "/version":
		return 200, []byte(`{"gitVersion":"v1.37.2"}`)
	case req.URL.Path == clusterPath && req.Method == "GET" && s.cluster != "" && !s.k3s:
		b, _ := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": fmt.Sprint(s.version)}, "data": map[string]string{clusterKey: s.cluster}})
		return 200, b
	case req.URL.Path == clusterPath && req.Method == "PATCH":
		var m struct {
			Metadata struct{ ResourceVersion string }
			Data     map[string]string
		}
		if err := json.Unmarshal(body, &m); err != nil || req.Header.Get("Content-Type") != "application/merge-patch+json" {
			return 400, nil
		}
		if s.conflict {
			s.conflict = false
			s.version++ // somebody wrote another key
		}
		if m.Metadata.ResourceVersion != fmt.Sprint(s.version) {
			return 409, nil
		}
		s.version++
		s.cluster = m.Data[clusterKey]
		return 200, []byte("{}")
	}
	return 404, []byte("{}")
}

// record writes an event as the API server would; it knows only what the probes ask.
func (s *sim) record(req *http.Request) {
	v := s.server
	if v.policy == nil || s.mute {
		return
	}
	set, _ := flags.Read(v.settings.Args, flags.Version{})
	a := policy.Attributes{Verb: strings.ToLower(req.Method), Path: req.URL.Path, NonResource: true}
	if rest, ok := strings.CutPrefix(req.URL.Path, "/api/v1/namespaces/"); ok {
		p := append(strings.Split(rest, "/"), "", "")
		a = policy.Attributes{Verb: a.Verb, Namespace: p[0], Resource: p[1], Name: p[2]}
		if p[1] == "" {
			a.Resource, a.Name = "namespaces", p[0]
		}
		switch {
		case a.Verb == "post":
			a.Verb = "create"
		case a.Verb == "get" && a.Name == "":
			a.Verb = "list"
		}
	}
	d := policy.Compile(v.policy).Decide(&a)
	if d.Level == policy.None || !set.Log.On() {
		return
	}
	where := s.mounted(v, set.Log.Path)
	for _, m := range v.settings.Mounts {
		if m.ReadOnly && strings.HasPrefix(set.Log.Path, m.MountPath+"/") {
			return
		}
	}
	s.Append(where, fmt.Appendf(nil, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"%s","auditID":%q,"stage":"ResponseComplete","requestURI":%q}`+"\n",
		d.Level, req.Header.Get("Audit-ID"), req.URL.RequestURI()))
}

// snapshot is all that decides whether a node is old or new: its files, what
// runs, and kubeadm's copy. The log is evidence and may grow.
func (s *sim) snapshot() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tree := s.Tree("/etc/kubernetes")
	tree["kubeadm-config"] = s.cluster
	for name, what := range s.Tree("/etc/rancher") {
		tree[name] = what
	}
	if text, ok := s.Get(simK3sPolicy); ok {
		tree[simK3sPolicy] = string(text)
	}
	if s.server == nil {
		tree["running"] = "nothing"
	} else {
		tree["running"] = strings.Join(auditArgs(s.server.settings.Args), " ")
		if s.server.policy != nil {
			tree["policy"] = fmt.Sprint(s.server.policy.Rules)
		}
	}
	tree["ready"] = fmt.Sprint(s.ready())
	return tree
}

func changes(a, b map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if v, ok := b[k]; !ok || v != a[k] {
			out = append(out, "- "+k+": "+a[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b)) {
		if v, ok := a[k]; !ok || v != b[k] {
			out = append(out, "+ "+k+": "+b[k])
		}
	}
	return strings.Join(out, "\n")
}
