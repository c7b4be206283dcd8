package compat

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"sigs.k8s.io/yaml"
)

const defaultRandom = 10_000

var (
	randomRequests = flag.Uint64("random", defaultRandom, "how many random requests go through both chains")
	randomFrom     = flag.Uint64("random.from", 1, "the seed of the first")
)

// both is what one trial came to on both sides, theirs first.
type both struct {
	answers [2]answer
	fields  [2]map[string]string // of one event
	ran     bool                 // the trial's script, on our side
}

// compare is in what both chains differ about a trial but for what is explained, and counts the explanations.
func (c *chains) compare(t *testing.T, x *trial, explained map[string]int) (differs map[string][2]string, events int) {
	t.Helper()
	c.use(x.policy)
	c.script.Store(&x.script)
	call := x.call()
	var b both
	b.answers[0] = c.theirs.send(t, call)
	c.ran.Store(false)
	b.answers[1] = c.ours.send(t, call)
	b.ran = c.ran.Load()
	theirs, ours := c.theirs.take(t), c.ours.take(t)
	events = len(theirs)
	differs = map[string][2]string{}
	hold := func(where, field, theirs, ours string) {
		if theirs == ours {
			return
		}
		if why := x.explain(&b, field); why != "" {
			explained[why]++
			return
		}
		differs[where+field] = [2]string{theirs, ours}
	}
	hold("", "answer", fmt.Sprintf("%q", b.answers[0]), fmt.Sprintf("%q", b.answers[1]))
	theirs, ours, why := x.even(theirs, ours)
	if why != "" {
		explained[why]++
	}
	if a, b := stagesOf(theirs), stagesOf(ours); a != b {
		differs["stages"] = [2]string{a, b}
		return differs, events
	}
	for i := range theirs {
		b.fields = [2]map[string]string{fields(t, call, theirs[i]), fields(t, call, ours[i])}
		all := maps.Clone(b.fields[0])
		maps.Copy(all, b.fields[1])
		for k := range all {
			hold(stagesOf(theirs[i:i+1])+" ", k, b.fields[0][k], b.fields[1][k])
		}
	}
	return differs, events
}

// even leaves out a ResponseStarted that one side alone has, and names the difference that this is.
func (x *trial) even(theirs, ours []event) (_, _ []event, why string) {
	started := func(e event) bool { return e["stage"] == "ResponseStarted" }
	a, b := slices.ContainsFunc(theirs, started), slices.ContainsFunc(ours, started)
	switch {
	case a && !b && x.informs():
		return slices.DeleteFunc(theirs, started), ours, "informational"
	case b && !a && slices.Contains(x.script, "flush") && ours[len(ours)-1]["stage"] == "Panic":
		return theirs, slices.DeleteFunc(ours, started), "flushed"
	}
	return theirs, ours, ""
}

// has is whether an event has a field, or one below it.
func has(flat map[string]string, field string) bool {
	for k := range flat {
		if strings.HasPrefix(k, field) && (k == field || strings.ContainsRune(".[", rune(k[len(field)]))) {
			return true
		}
	}
	return false
}

// within is whether what an event has below a field is what a text says, but for managedFields.
func within(recorded map[string]string, field, text string) bool {
	want := flat(field, text)
	if len(want) == 0 {
		return false
	}
	managed := func(k, _ string) bool { return strings.Contains(k, "managedFields") || want[k] == "{}" }
	got := maps.Clone(recorded)
	maps.DeleteFunc(got, func(k, v string) bool { return !has(map[string]string{k: v}, field) || managed(k, v) || v == "{}" })
	maps.DeleteFunc(want, managed)
	return maps.Equal(got, want)
}

// plain is a body as JSON, or nothing where it is not what it says. Of protobuf it reads a Status.
func plain(contentType, body string) string {
	switch contentType = strings.ToLower(contentType); {
	case strings.Contains(contentType, "yaml"):
		if text, err := yaml.YAMLToJSON([]byte(body)); err == nil {
			return string(text)
		}
	case strings.Contains(contentType, "cbor"):
		var v any
		if cbor.Unmarshal([]byte(body), &v) == nil {
			return jsonText(v)
		}
	case strings.Contains(contentType, "protobuf"):
		var o runtime.Unknown
		var s metav1.Status
		if raw, ok := strings.CutPrefix(body, "k8s\x00"); ok && o.Unmarshal([]byte(raw)) == nil && o.Kind == "Status" && s.Unmarshal(o.Raw) == nil {
			s.TypeMeta = metav1.TypeMeta{Kind: o.Kind, APIVersion: o.APIVersion}
			return jsonText(s)
		}
	default:
		return body
	}
	return ""
}

// informs is whether the handler sends a 1xx before its answer.
func (x *trial) informs() bool {
	return slices.ContainsFunc(x.script, func(step string) bool { return strings.HasPrefix(step, "code 1") })
}

// unseen is whether the trial is for what has no object as its answer: a long-running request, or one outside of the API.
func (x *trial) unseen() bool {
	r := parse(x.method, strings.TrimPrefix(x.call().target, x.method+" "))
	info, err := infoFactory().NewRequestInfo(r)
	return err == nil && (isLongRunning()(r, info) || !info.IsResourceRequest && !strings.HasPrefix(info.Path, "/api"))
}

func (x *trial) contentType() string {
	for _, h := range x.header {
		if kind, ok := strings.CutPrefix(h, "Content-Type: "); ok {
			return kind
		}
	}
	return ""
}

// TestChainRandom has random requests go through both chains under random policies. One that is recorded
// otherwise, and is in no difference of the table, is made as small as it can be and printed.
func TestChainRandom(t *testing.T) {
	const shards = 4 // a request waits more than it works
	var mu sync.Mutex
	var events int
	explained := map[string]int{}
	t.Run("shards", func(t *testing.T) {
		for shard := range uint64(shards) {
			t.Run(strconv.FormatUint(shard, 10), func(t *testing.T) {
				t.Parallel()
				c, mine, n := newChains(t), map[string]int{}, 0
				for seed := *randomFrom + shard; seed < *randomFrom+*randomRequests && !t.Failed(); seed += shards {
					n += c.try(t, seed, mine)
				}
				mu.Lock()
				defer mu.Unlock()
				events += n
				for why, n := range mine {
					explained[why] += n
				}
			})
		}
	})
	if uint64(events) < *randomRequests && *randomRequests >= defaultRandom { //nolint:gosec // a count
		t.Errorf("only %d events of %d requests: the test compares too little", events, *randomRequests)
	}
	for why := range explained {
		if !slices.ContainsFunc(differences, func(d difference) bool { return d.Name == why }) {
			t.Errorf("%q explains, and is not in the table of differences", why)
		}
	}
	t.Logf("%d requests, %d events of the API server compared, explained differences: %v", *randomRequests, events, explained)
}

// try compares the trial of a seed, and returns how many events it had.
func (c *chains) try(t *testing.T, seed uint64, explained map[string]int) (events int) {
	t.Helper()
	x := trialOf(seed)
	differs, events := c.compare(t, x, explained)
	if len(differs) == 0 {
		return events
	}
	for smaller := true; smaller; {
		smaller = false
		for _, less := range x.smaller() {
			if d, _ := c.compare(t, less, map[string]int{}); len(d) > 0 {
				x, differs, smaller = less, d, true
				break
			}
		}
	}
	t.Errorf("go test -run TestChainRandom -random 1 -random.from %d\n%s", seed, x)
	for _, field := range slices.Sorted(maps.Keys(differs)) {
		t.Errorf("%s\n      is %.1000s\nupstream %.1000s", field, differs[field][1], differs[field][0])
	}
	return events
}
