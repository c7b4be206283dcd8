package sample

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ktrail/ktrail/audit"
)

// request is a template: the stages of one request of the log.
type request struct {
	received time.Time
	stages   []stage
}

// stage is a line as texts with gaps behind them.
type stage struct {
	offset int64 // microseconds after the request's beginning
	parts  []part
}

type part struct {
	text string
	gap  gap
	was  string    // what stood in the gap
	hash uint64    // made from was, for gapUID
	time time.Time // was as a time, for gapTime
}

type gap int

const (
	gapEnd gap = iota // nothing: the line's end
	gapAuditID
	gapUID
	gapTime
	gapVersion
	gapCredential
	gapNamespace
	gapName
	gapUser
	gapAddress
)

// load makes the templates of the log at path: one per audit ID.
func load(path string) ([]request, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open sample log: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	switch {
	case strings.HasSuffix(path, ".gz"):
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return nil, fmt.Errorf("read sample log %s: %w", path, err)
		}
		r = z
	case strings.HasSuffix(path, ".zst"):
		z, err := zstd.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("read sample log %s: %w", path, err)
		}
		defer z.Close()
		r = z
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read sample log %s: %w", path, err)
	}
	var requests []request
	var b audit.Batch
	index := map[string]int{} // audit ID → request
	rules := map[string][]rule{}
	for n, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if err := b.Add(line); err != nil {
			return nil, fmt.Errorf("read sample log %s: line %d: %w", path, n+1, err)
		}
		e := &b.Events[n]
		i, ok := index[e.AuditID]
		if !ok {
			i = len(requests)
			index[e.AuditID] = i
			requests = append(requests, request{received: e.Received.Std()})
			rules[e.AuditID] = rulesFor(e)
		}
		requests[i].stages = append(requests[i].stages, cut(e, rules[e.AuditID]))
	}
	return requests, nil
}

// rule finds a gap: behind before, and before one of the bytes in after.
type rule struct {
	before string
	value  string // what stands there; "" means anything up to after
	after  string
	gap    gap
}

// rulesFor are the rules for the lines of e's request. What looks like a UUID or a
// time is found without one.
func rulesFor(e *audit.Event) []rule {
	rules := []rule{{`"resourceVersion":"`, "", `"`, gapVersion}}
	// Namespaces of the cluster itself keep their names, as in any cluster.
	if e.Namespace != "" && e.Namespace != "default" && !strings.HasPrefix(e.Namespace, "kube-") {
		for _, before := range []string{`"namespace":"`, "namespaces/", "system:serviceaccount:", `\"`} {
			rules = append(rules, rule{before, e.Namespace, `"/?:\`, gapNamespace})
		}
		// So do objects of theirs: leases, configuration.
		if e.Name != "" && e.Resource != "namespaces" {
			for _, before := range []string{`"name":"`, e.Resource + "/", `\"`} {
				rules = append(rules, rule{before, e.Name, `"/?\`, gapName})
			}
		}
	}
	// A person acts for herself or for another person.
	if user := e.User; !strings.HasPrefix(user, "system:") {
		if e.AsUser != "" && !strings.HasPrefix(e.AsUser, "system:") {
			user = e.AsUser
		}
		rules = append(rules, rule{`"username":"`, user, `"`, gapUser},
			rule{`"sourceIPs":["`, "", `"`, gapAddress}, rule{`["X509SHA256=`, "", `"`, gapCredential})
	}
	return rules
}

// match returns where the gap is if r matches at i, or to 0.
func (r *rule) match(s string, i int) (from, to int) {
	if !strings.HasPrefix(s[i:], r.before) {
		return 0, 0
	}
	from = i + len(r.before)
	if r.value == "" {
		n := strings.IndexAny(s[from:], r.after)
		return from, from + max(n, 0)
	}
	if to = from + len(r.value); !strings.HasPrefix(s[from:], r.value) || to == len(s) || strings.IndexByte(r.after, s[to]) < 0 {
		return 0, 0
	}
	return from, to
}

// cut makes the template of a line.
func cut(e *audit.Event, rules []rule) stage {
	s := stage{offset: e.LatencyUS}
	var begins [256]bool // a rule begins with this byte
	for _, r := range rules {
		begins[r.before[0]] = true
	}
	user := strings.Index(e.Raw, `"sourceIPs":`) // before it is who it was
	at := 0
	add := func(p part, from, to int) {
		p.text, p.was = strings.Clone(e.Raw[at:from]), strings.Clone(e.Raw[from:to])
		s.parts = append(s.parts, p)
		at = to
	}
	for i := 0; i < len(e.Raw); i++ {
		c := e.Raw[i]
		if begins[c] {
			for k := range rules {
				if from, to := rules[k].match(e.Raw, i); to > 0 {
					add(part{gap: rules[k].gap}, from, to)
					i = to - 1
					break
				}
			}
		}
		if !isHex(c) || i < at || isHex(e.Raw[i-1]) {
			continue
		}
		if id, hash, ok := uuid(e.Raw[i:]); ok {
			switch {
			case id == e.AuditID:
				add(part{gap: gapAuditID}, i, i+len(id))
			case i > user: // the accounts of the cluster's own parts keep their UIDs
				add(part{gap: gapUID, hash: hash}, i, i+len(id))
			}
		} else if t, n := moment(e.Raw[i:]); n > 0 {
			add(part{gap: gapTime, time: t}, i, i+n)
		}
		i = max(i, at-1)
	}
	s.parts = append(s.parts, part{text: strings.Clone(e.Raw[at:])})
	return s
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

// uuid is the UUID that s begins with, and a number made from it.
func uuid(s string) (id string, hash uint64, ok bool) {
	if len(s) < 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return "", 0, false
	}
	hash, err := strconv.ParseUint(s[:8]+s[28:36], 16, 64)
	return s[:36], hash, err == nil
}

// moment is the time that s begins with, and the length of its text: a time in
// UTC with no decimals, or six.
func moment(s string) (time.Time, int) {
	n := len("2006-01-02T15:04:05Z")
	if len(s) < n+7 || s[4] != '-' || s[10] != 'T' {
		return time.Time{}, 0
	}
	if s[n-1] == '.' {
		n += 7
	}
	if s[n-1] != 'Z' {
		return time.Time{}, 0
	}
	t, err := time.Parse(time.RFC3339Nano, s[:n])
	if err != nil {
		return time.Time{}, 0
	}
	return t, n
}
