package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// event is an audit event as any reader of JSON sees it.
type event map[string]any

func (e event) text(key string) string {
	s, _ := e[key].(string)
	return s
}

func (e event) String() string {
	user, _ := e["user"].(map[string]any)
	return fmt.Sprintf("%s %s %s by %v (%s)", e.text("stage"), e.text("verb"), e.text("requestURI"), user["username"], e.text("auditID"))
}

// readEvents reads all files of a log, in the order of their lines, without any code of ktrail.
func readEvents(t *testing.T, dir string) []event {
	t.Helper()
	files := logFiles(t, dir)
	// The rotated ones are in the order of their names; the current one is the last.
	slices.SortFunc(files, func(a, b string) int {
		current := func(p string) int {
			if filepath.Base(p) == "audit.log" {
				return 1
			}
			return 0
		}
		if d := current(a) - current(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var all []event
	for _, path := range files {
		if !strings.HasPrefix(filepath.Base(path), "audit") {
			continue // the redactor's key
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			var r io.Reader
			if r, err = gzip.NewReader(bytes.NewReader(text)); err == nil {
				text, err = io.ReadAll(r)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for line := range bytes.Lines(text) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // it is being written
			}
			d := json.NewDecoder(bytes.NewReader(line))
			d.UseNumber()
			var e event
			if err := d.Decode(&e); err != nil {
				t.Fatalf("%s: %v: %.200s", path, err, line)
			}
			all = append(all, e)
		}
	}
	return all
}

// byID groups the events of each request, in the order in which they were written.
func byID(all []event) map[string][]event {
	m := map[string][]event{}
	for _, e := range all {
		m[e.text("auditID")] = append(m[e.text("auditID")], e)
	}
	return m
}

// difference is a place where two events are allowed to differ, and why.
type difference struct {
	path *regexp.Regexp
	// fits looks closer; nil is always. A side that has nothing there is nil.
	fits func(d found) bool
	why  string
}

// found is a place where the API server's event and the proxy's differ.
type found struct {
	path       string
	api, proxy any
	e          event // the API server's, whole
	p          event
}

func (f found) String() string {
	show := func(v any) string {
		if v == nil {
			return "nothing"
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		if len(text) > 300 {
			text = fmt.Appendf(text[:300], "... %d bytes", len(text))
		}
		return string(text)
	}
	return fmt.Sprintf("%s: the API server has %s, the proxy %s", f.path, show(f.api), show(f.proxy))
}

// compare lists where two values differ, the innermost places.
func compare(path string, api, proxy any, tell func(path string, api, proxy any)) {
	join := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	if a, ok := api.(map[string]any); ok {
		if p, ok := proxy.(map[string]any); ok {
			keys := maps.Clone(a)
			maps.Copy(keys, p)
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				av, inA := a[k]
				pv, inP := p[k]
				switch {
				case inA && inP:
					compare(join(k), av, pv, tell)
				case inA:
					tell(join(k), orNull(av), nil)
				default:
					tell(join(k), nil, orNull(pv))
				}
			}
			return
		}
	}
	if a, ok := api.([]any); ok {
		if p, ok := proxy.([]any); ok && len(a) == len(p) {
			for i := range a {
				compare(path+"[]", a[i], p[i], tell)
			}
			return
		}
	}
	at, err := json.Marshal(api)
	pt, perr := json.Marshal(proxy)
	if err != nil || perr != nil || !bytes.Equal(at, pt) {
		tell(path, api, proxy)
	}
}

// null is a value that is written as null, where nil is no value at all.
type null struct{}

func (null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

func orNull(v any) any {
	if v == nil {
		return null{}
	}
	return v
}

// comparison holds two logs of the same requests against each other.
type comparison struct {
	listed   []difference
	used     []int
	requests int
	events   int
	equal    int
	wrong    map[string][]string
}

func newComparison(listed []difference) *comparison {
	return &comparison{listed: listed, used: make([]int, len(listed)), wrong: map[string][]string{}}
}

// request compares the events of one request, one stage after the other.
func (c *comparison) request(api, proxy []event) {
	c.requests++
	if a, p := stages(api), stages(proxy); a != p {
		c.say("stages", fmt.Sprintf("the API server has %s, the proxy %s: %s", a, p, proxy[0]))
		return
	}
	for i := range api {
		c.events++
		same := true
		for _, e := range []event{api[i], proxy[i]} {
			if e["annotations"] == nil { // so that each is looked at by its name
				e["annotations"] = map[string]any{}
			}
		}
		compare("", map[string]any(api[i]), map[string]any(proxy[i]), func(path string, a, p any) {
			f := found{path, a, p, api[i], proxy[i]}
			for j, d := range c.listed {
				if d.path.MatchString(path) && (d.fits == nil || d.fits(f)) {
					if c.used[j]++; !strings.HasSuffix(path, "Timestamp") {
						same = false
					}
					return
				}
			}
			same = false
			c.say(path, fmt.Sprintf("%s, in %s", f, api[i]))
		})
		if same {
			c.equal++
		}
	}
}

func stages(all []event) string {
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.text("stage")
	}
	return strings.Join(names, ", ")
}

func (c *comparison) say(place, what string) { c.wrong[place] = append(c.wrong[place], what) }

// report fails for what is not listed and, if these requests are to show all, for
// what is listed and does not occur.
func (c *comparison) report(t *testing.T, all bool) {
	t.Helper()
	for _, place := range slices.Sorted(maps.Keys(c.wrong)) {
		t.Errorf("%d times, %s", len(c.wrong[place]), c.wrong[place][0])
	}
	t.Logf("%d requests, %d events; %d equal but for the times", c.requests, c.events, c.equal)
	for i, d := range c.listed {
		if c.used[i] == 0 && all && !strings.HasSuffix(d.why, sometimes) {
			t.Errorf("%s is listed as a difference, and there is none: %s", d.path, d.why)
		}
		if c.used[i] > 0 {
			t.Logf("%5d times %s: %s", c.used[i], d.path, d.why)
		}
	}
}
