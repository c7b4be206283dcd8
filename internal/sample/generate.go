// Package sample owns the load generator of benchmarks and tests: it makes a log
// of any size out of a small one by varying what differs between real events.
//
// A request of the small log becomes a template: its lines cut at audit IDs, UIDs,
// times, resource versions, addresses, credentials and the names of namespaces, objects
// and people. Each new request takes a template and fills the gaps, so that lines
// keep the shape, size and bodies of real ones, and compress about as well.
package sample

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// Options says what to generate. The same options give the same bytes.
type Options struct {
	// Log is the path of the log to vary, plain, .gz or .zst.
	Log string
	// Events is how many lines to write.
	Events int
	Seed   uint64
	// Days is the time that the events spread over, 30 if 0, busier by day than by
	// night and on working days, and End the time of the last request;
	// 2026-11-22T20:00:00Z if zero.
	Days int
	End  time.Time
	// Namespaces (400 if 0) and Users (2,000 if 0) are how many there are to choose
	// from; a few are chosen very often (Zipf).
	Namespaces, Users int
}

func (o Options) withDefaults() (Options, error) {
	if o.Days == 0 {
		o.Days = 30
	}
	if o.End.IsZero() {
		o.End = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	}
	if o.Namespaces == 0 {
		o.Namespaces = 400
	}
	if o.Users == 0 {
		o.Users = 2000
	}
	switch {
	case o.Log == "":
		return o, errors.New("generate log: Log, the log to vary, is not set")
	case o.Events < 0 || o.Days < 0 || o.Namespaces < 0 || o.Users < 0:
		return o, errors.New("generate log: a number is negative")
	}
	return o, nil
}

// Generate writes o.Events lines to w, in the order of their stage timestamps. The
// stages of a request share its audit ID and are in order. All lines differ.
// The last request may lack its last stages, as in a log that is cut.
func Generate(w io.Writer, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	requests, err := load(o.Log)
	if err != nil {
		return err
	}
	if o.Events == 0 {
		return nil
	}
	g := generator{o: o, rand: rand.New(rand.NewPCG(o.Seed, 0x6b747261696c)), out: w}
	// The exponents make the most frequent user stand for about a tenth of all
	// requests by people, and the most frequent namespace likewise.
	g.namespaces = rand.NewZipf(g.rand, 1.1, 3, uint64(o.Namespaces-1))
	g.users = rand.NewZipf(g.rand, 1.1, 3, uint64(o.Users-1))
	g.variants = rand.NewZipf(g.rand, 1.3, 2, 199)
	return g.run(requests)
}

type generator struct {
	o                           Options
	rand                        *rand.Rand
	namespaces, users, variants *rand.Zipf
	pending                     pending
	out                         io.Writer
	buf                         []byte
	written                     int
	clock                       clock
}

// flushAt is how much is written at a time, in bytes.
const flushAt = 1 << 20

func (g *generator) run(requests []request) error {
	events := 0
	for _, r := range requests {
		events += len(r.stages)
	}
	// Choosing at random gives the sample's mean number of stages, but not exactly.
	total := max(1, g.o.Events*len(requests)/events)
	starts := newCalendar(g.o)
	begun := 0 // events of the requests so far
	for n := 0; begun < g.o.Events; n++ {
		v := g.vary(&requests[g.rand.IntN(len(requests))])
		v.start = starts.at((float64(n) + g.rand.Float64()) / float64(total))
		v.version = int64(n) * 3
		if err := g.until(v.start); err != nil {
			return err
		}
		for k := range v.request.stages {
			begun++
			heap.Push(&g.pending, event{v.start + v.request.stages[k].offset, begun, v, k})
		}
	}
	if err := g.until(math.MaxInt64); err != nil {
		return err
	}
	return g.flush()
}

// until writes the events before t.
func (g *generator) until(t int64) error {
	for len(g.pending) > 0 && g.pending[0].at < t && g.written < g.o.Events {
		e := heap.Pop(&g.pending).(event)
		g.buf = e.values.append(g.buf, &e.values.request.stages[e.stage], &g.clock)
		g.buf = append(g.buf, '\n')
		g.written++
		if len(g.buf) >= flushAt {
			if err := g.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *generator) flush() error {
	if _, err := g.out.Write(g.buf); err != nil {
		return fmt.Errorf("write generated log: %w", err)
	}
	g.buf = g.buf[:0]
	return nil
}

// vary chooses the values of a new request.
func (g *generator) vary(r *request) *values {
	return &values{
		request:   r,
		auditID:   [2]uint64{g.rand.Uint64(), g.rand.Uint64()},
		namespace: int(g.namespaces.Uint64()),
		user:      int(g.users.Uint64()),
		variant:   int(g.variants.Uint64()),
	}
}

// event is a stage of a request that is not written yet.
type event struct {
	at     int64 // microseconds since 1970
	seq    int   // order of those at the same time
	values *values
	stage  int
}

// pending is a heap: the earliest event first.
type pending []event

func (p pending) Len() int { return len(p) }
func (p pending) Less(i, j int) bool {
	return p[i].at < p[j].at || p[i].at == p[j].at && p[i].seq < p[j].seq
}
func (p pending) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pending) Push(e any)   { *p = append(*p, e.(event)) }
func (p *pending) Pop() any {
	last := len(*p) - 1
	e := (*p)[last]
	*p = (*p)[:last]
	return e
}

// calendar maps 0..1 to a time, so that more falls into busy hours.
type calendar struct {
	start int64
	sum   []float64 // up to the end of each hour
	hour  int
}

func newCalendar(o Options) *calendar {
	hours := max(1, o.Days*24)
	start := o.End.Add(-time.Duration(hours) * time.Hour).UTC()
	c := &calendar{start: start.UnixMicro()}
	sum := 0.0
	for h := range hours {
		t := start.Add(time.Duration(h) * time.Hour)
		busy := 1 + 0.8*math.Sin(float64(t.Hour()-8)/24*2*math.Pi) // most at 14:00, least at 02:00
		if d := t.Weekday(); d == time.Saturday || d == time.Sunday {
			busy *= 0.4
		}
		sum += busy
		c.sum = append(c.sum, sum)
	}
	return c
}

// at is the time in microseconds for x, which must not become smaller. Above 1 it
// is the end.
func (c *calendar) at(x float64) int64 {
	x = min(x, 1) * c.sum[len(c.sum)-1]
	for c.hour < len(c.sum)-1 && c.sum[c.hour] <= x {
		c.hour++
	}
	before := 0.0
	if c.hour > 0 {
		before = c.sum[c.hour-1]
	}
	part := min(1, (x-before)/(c.sum[c.hour]-before))
	return c.start + int64((float64(c.hour)+part)*3600e6)
}
