package simulate

import (
	"math"
	"math/bits"
	"strings"
)

// Range is what something is estimated to be: Middle is the best guess, and the truth
// is likely to be between Low and High. The three are equal where it is known.
type Range struct {
	Low    float64 `json:"low"`
	Middle float64 `json:"middle"`
	High   float64 `json:"high"`
}

func exactly(n int64) Range { f := float64(n); return Range{f, f, f} }

func (r Range) plus(o Range) Range { return Range{r.Low + o.Low, r.Middle + o.Middle, r.High + o.High} }

func (r Range) times(f float64) Range { return Range{r.Low * f, r.Middle * f, r.High * f} }

func (r Range) round() Range {
	return Range{math.Round(r.Low), math.Round(r.Middle), math.Round(r.High)}
}

// Exact is whether nothing is estimated.
func (r Range) Exact() bool { return r.Low == r.High }

// histogram is how large bodies of one kind are: what it needs for a mean and for
// quantiles that are at most a fifth too large.
type histogram struct {
	n, sum  int64
	buckets [160]uint32
}

// bucket is four for each power of two.
func bucket(size int) int {
	if size < 4 {
		return size
	}
	top := bits.Len(uint(size)) - 1
	return min((top-1)*4+size>>(top-2)&3, len(histogram{}.buckets)-1)
}

// ceiling is the largest size in a bucket.
func ceiling(b int) int {
	if b < 4 {
		return b
	}
	top := b/4 + 1
	return (5+b%4)<<(top-2) - 1
}

func (h *histogram) add(size int) {
	h.n++
	h.sum += int64(size)
	h.buckets[bucket(size)]++
}

func (h *histogram) merge(o *histogram) {
	h.n += o.n
	h.sum += o.sum
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

func (h *histogram) quantile(q float64) float64 {
	left := int64(math.Ceil(q * float64(h.n)))
	for b, n := range h.buckets {
		if left -= int64(n); left <= 0 {
			return float64(ceiling(b))
		}
	}
	return 0
}

// size is the range of one body: nine of ten are above Low, nine of ten below High.
func (h *histogram) size() Range {
	mean := float64(h.sum) / float64(h.n)
	return Range{min(h.quantile(0.1), mean), mean, max(h.quantile(0.9), mean)}
}

// bodies are the sizes of one kind of request: a resource, a verb, whether it failed.
type bodies struct{ request, response histogram }

// enough is how many recorded bodies of a kind are taken for what the others are like.
const enough = 5

// from is where an estimate is from.
type from uint8

const (
	fromKind    from = iota // the same resource and verb in the log
	fromVerb                // the same verb in the log
	fromTypical             // built in
)

// Typical sizes in bytes of bodies as members of an event: the tenth, the mean and the
// ninetieth percentile of 4,400 requests at level RequestResponse to a kubeadm control
// plane of Kubernetes 1.37, its upper ends widened for clusters with more in them.
var (
	typicalRequest = map[string]Range{
		"create": {300, 700, 5000}, "update": {700, 1300, 6000}, "patch": {30, 200, 2200},
		"delete": {70, 100, 200}, "deletecollection": {70, 110, 200},
	}
	typicalResponse = map[string]Range{
		"create": {700, 1500, 9000}, "update": {750, 2500, 12000}, "patch": {600, 2500, 12000},
		"delete": {200, 3000, 12000}, "deletecollection": {100, 4000, 80000},
		"get": {220, 1800, 12000}, "list": {120, 7500, 100000},
	}
	typicalFailure = Range{170, 300, 450}
	typicalOther   = Range{100, 1500, 10000}

	// A RequestReceived event has no status, annotations nor bodies: its share of
	// what the last event of the request takes at level Metadata, and the other way.
	receivedShare = Range{0.55, 0.72, 0.87}
	startedShare  = Range{0.95, 1, 1.05}
	completeShare = Range{1.15, 1.4, 1.8}
	// managedShare is what managedFields add to a body without them.
	managedShare = Range{0.35, 0.7, 1.2}
)

// hasRequestBody is whether the API server may record a body that came with a request.
func hasRequestBody(verb, subresource string) bool {
	switch verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return !connects(subresource)
	}
	return false
}

// hasResponseBody is whether it may record the answer's.
func hasResponseBody(verb, subresource string) bool {
	return verb != "watch" && verb != "connect" && !connects(subresource) && subresource != "log"
}

// connects is whether a subresource is a stream or another server's answer.
func connects(subresource string) bool {
	switch subresource {
	case "exec", "attach", "portforward", "proxy":
		return true
	}
	return strings.HasPrefix(subresource, "proxy/")
}
