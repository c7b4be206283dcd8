package compat

import (
	"encoding/json"
	"flag"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

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
}

// compare is in what both chains differ about a trial but for what is explained, and counts the explanations.
func (c *chains) compare(t *testing.T, x *trial, explained map[string]int) (differs map[string][2]string, events int) {
	t.Helper()
	c.use(x.policy)
	c.script.Store(&x.script)
	call := x.call()
	var b both
	b.answers = [2]answer{c.theirs.send(t, call), c.ours.send(t, call)}
	theirs, ours := c.theirs.take(t), c.ours.take(t)
	differs = map[string][2]string{}
	if x.informs() && x.unseen() && stagesOf(theirs) != stagesOf(ours) {
		explained["informational"]++ // ResponseStarted is made at the 1xx
		return differs, len(theirs)
	}
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
	hold("", "answer", jsonText(b.answers[0]), jsonText(b.answers[1]))
	if a, b := stagesOf(theirs), stagesOf(ours); a != b {
		differs["stages"] = [2]string{a, b}
		return differs, len(theirs)
	}
	for i := range theirs {
		b.fields = [2]map[string]string{fields(t, call, theirs[i]), fields(t, call, ours[i])}
		all := maps.Clone(b.fields[0])
		maps.Copy(all, b.fields[1])
		for k := range all {
			hold(stagesOf(theirs[i:i+1])+" ", k, b.fields[0][k], b.fields[1][k])
		}
	}
	return differs, len(theirs)
}

// explain is the difference of the table that a field shows, "" for none. It looks at what both recorded,
// not at what the trial is made to be.
func (x *trial) explain(b *both, field string) string {
	theirs, ours := b.fields[0], b.fields[1]
	switch {
	case field == "answer":
		var theirStatus, ourStatus struct{ Message, Reason string }
		same := strings.HasPrefix(b.answers[1].head, b.answers[0].head[:strings.IndexByte(b.answers[0].head, '\n')])
		if same && json.Unmarshal([]byte(b.answers[1].body), &ourStatus) == nil && ourStatus.Reason == "Unauthorized" {
			if json.Unmarshal([]byte(b.answers[0].body), &theirStatus) != nil || ourStatus == theirStatus {
				return "refusal"
			}
		}
	case x.informs() && (strings.HasPrefix(field, "responseStatus.") || x.unseen() && strings.HasPrefix(field, "annotations.b.example/")):
		return "informational"
	case strings.HasPrefix(field, "response"), field == "annotations.capture.ktrail.io/response-body":
		code := ours["responseStatus.code"]
		switch {
		case strings.Contains(ours["responseStatus.message"]+ours["responseObject.message"], "cannot be encoded to a protobuf message"):
			return "unencoded answer"
		case theirs["responseStatus.message"] == `"Connection closed early"` && ours["responseStatus.code"] == "200":
			return "flushed"
		case has(ours, "responseObject") && x.method != "HEAD" && ours["stage"] != `"Panic"` && !strings.Contains(b.answers[1].head, "no answer") && !strings.Contains(b.answers[1].head, "broken off") && !within(ours, "responseObject", plain(b.answers[1].contentType, b.answers[1].body)):
		case x.unseen() && !has(ours, "responseObject") && (code < "400" || ours["stage"] == `"Panic"`):
			return "long-running object"
		case strings.HasPrefix(b.answers[1].contentType, "application/vnd.kubernetes.protobuf") && has(theirs, "responseObject") && !has(ours, "responseObject"):
			return "protobuf answer"
		case strings.HasPrefix(field, "responseStatus.") && !has(theirs, "responseStatus.status"), !strings.HasPrefix(field, "responseStatus.") && !has(theirs, "responseObject"):
			return "own answer"
		}
	case strings.HasPrefix(field, "requestObject"), field == "annotations.capture.ktrail.io/request-body", strings.HasPrefix(field, "objectRef."):
		sent := plain(x.contentType(), x.body)
		note := ours["annotations.capture.ktrail.io/request-body"]
		switch {
		case has(ours, "requestObject") && !within(ours, "requestObject", sent):
		case x.method == "DELETE" && has(theirs, "requestObject") && has(ours, "requestObject"):
			return "delete options"
		case has(theirs, "requestObject") && has(ours, "requestObject") && (x.method == "POST" || x.method == "PUT"):
			return "sent body"
		case has(theirs, "requestObject") && strings.Contains(note, "protobuf"):
			return "protobuf request"
		case !has(theirs, "requestObject"):
			return "refused body"
		}
	}
	return ""
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
func within(flat map[string]string, field, text string) bool {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return false
	}
	want := map[string]string{}
	flatten(want, field, v)
	managed := func(k, _ string) bool { return strings.Contains(k, "managedFields") || want[k] == "{}" }
	got := maps.Clone(flat)
	maps.DeleteFunc(got, func(k, v string) bool { return !has(map[string]string{k: v}, field) || managed(k, v) || v == "{}" })
	maps.DeleteFunc(want, managed)
	return maps.Equal(got, want)
}

// plain is a body as JSON.
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
	}
	return body
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
