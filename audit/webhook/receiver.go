package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// Defaults of ReceiverOptions.
const (
	defaultMaxBytes    = 100 << 20
	defaultMaxItem     = 64 << 20
	defaultMaxInFlight = 128 << 20
	// pieceBytes is how much of a body is handed over at a time, columns included.
	pieceBytes = 8 << 20
	// windowBytes is how much of a body is held before it is decoded.
	windowBytes = 1 << 20
	// leastPiece is what a piece has room for however small the body is.
	leastPiece = 256 << 10
)

// ReceiverOptions are a Receiver's.
type ReceiverOptions struct {
	// Append stores a piece of a body and returns when all of it is durable, or with an error
	// when none of it is. It is called from many goroutines. It must store lines that are
	// equal to the byte once, for whoever gets an error sends the whole again.
	//
	// Events and items are valid until it returns: they live in memory that is used again.
	Append func(ctx context.Context, p Piece) (Taken, error)
	// Authorize says why a request may not post, which the log is told and the sender is not;
	// nil lets everybody.
	Authorize func(*http.Request) error
	// Cluster and Source are set in each event.
	Cluster, Source string
	// MaxBytes is the largest body, unpacked, 100 MiB if 0. MaxItem is the largest item, 64 MiB.
	MaxBytes int64
	MaxItem  int
	// MaxInFlight is how much memory all bodies together may take, 128 MiB if 0. What has no
	// room is answered 429 before it is read.
	MaxInFlight int64
	// ReadTimeout is how long a body may take to come, 30 s if 0: as long as the API server waits
	// for its answer. AppendTimeout is how long a piece may take to be stored, 20 s if 0: less than that.
	ReadTimeout, AppendTimeout time.Duration
	// Log is told of refused requests, of each status once a minute at most; nil is silent.
	Log *slog.Logger
}

func (o *ReceiverOptions) validate() error {
	switch {
	case o.Append == nil:
		return errors.New("make webhook receiver: no Append given")
	case o.MaxBytes < 0, o.MaxItem < 0, o.MaxInFlight < 0, o.ReadTimeout < 0, o.AppendTimeout < 0:
		return errors.New("make webhook receiver: a limit is negative")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxItem == 0 {
		o.MaxItem = defaultMaxItem
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = defaultMaxInFlight
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = timeout
	}
	if o.AppendTimeout == 0 {
		o.AppendTimeout = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Piece is a part of a body that is stored at once.
type Piece struct {
	Events []audit.Event
	// Bad are items that are no audit events. They are to be kept for a person to look at.
	Bad []Bad
	// From is who sent it: an address.
	From string
}

// Bad is an item that is no audit event.
type Bad struct {
	// Index counts the body's items from 0; Offset is the item's position in it in bytes.
	Index, Offset int
	Reason        string
	Item          []byte
}

// Taken counts what became of a piece's events.
type Taken struct {
	Added      int
	Duplicates int // were stored already: equal to the byte
}

// Stats is what a Receiver has done since it was made.
type Stats struct {
	// Requests counts them by the status of their answer.
	Requests map[int]int64
	// Bytes were read of bodies, unpacked. InFlight is the memory that is reserved for bodies now.
	Bytes, InFlight int64
	// Events were added, Duplicates stored before, Bad no audit events.
	Events, Duplicates, Bad int64
	// LastSeen is when the last batch was taken whole. LastEvent is the latest time of an event that was added or known.
	LastSeen  time.Time
	LastEvent audit.Time
	// Refused is why the last batch was not taken, or not whole, at RefusedAt.
	Refused   string
	RefusedAt time.Time
}

// Receiver takes EventLists. It is an [http.Handler] for every path. What it answers:
//
//	200  all events are durable
//	400  the items that Status.details.causes names are no audit events; all others are durable.
//	     Of more than 1000 such items the first 1000 are named and kept. Or the body is no EventList:
//	     the complete items before the place that is named are durable
//	401  not authorized
//	403  a browser asks
//	405  not POST
//	408  the body did not come in time
//	413  the body is over MaxBytes, or an item over MaxItem
//	415  not application/json, or packed otherwise than with gzip
//	429  no memory for another body now, or the store is slow or full: Retry-After
//	503  the store failed, or the server stops: Retry-After
//
// The API server tries again after each of them but 200, four times, and after 429 and 503 up
// to ten times more in each try, for Retry-After; then it drops the batch.
type Receiver struct {
	o       ReceiverOptions
	batches sync.Pool // of *audit.Batch

	mu       sync.Mutex
	stopping bool
	stats    Stats
	logged   map[int]*logged // by status
}

// logged is when a status was logged last, and how often it was not since.
type logged struct {
	at     time.Time
	silent int
}

// NewReceiver makes a Receiver.
func NewReceiver(o ReceiverOptions) (*Receiver, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Receiver{o: o, stats: Stats{Requests: map[int]int64{}}, logged: map[int]*logged{}}, nil
}

// Stop has every request from now on answered 503. Those that are being read go on.
func (r *Receiver) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopping = true
}

// Stats tells what was done.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Requests = make(map[int]int64, len(r.stats.Requests))
	for status, n := range r.stats.Requests {
		s.Requests[status] = n
	}
	return s
}

// reserve takes n bytes of the memory for bodies for a request that has held of it. It reports
// whether there are so many: one that is alone may have all there is.
func (r *Receiver) reserve(held *int64, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, r.o.MaxInFlight-*held)
	if r.stats.InFlight+n > r.o.MaxInFlight {
		return false
	}
	r.stats.InFlight += n
	*held += n
	return true
}

func (r *Receiver) release(held int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.InFlight -= held
}

// took counts a piece that is durable.
func (r *Receiver) took(p *Piece, t Taken) {
	var last audit.Time
	for i := range p.Events {
		last = max(last, p.Events[i].Time)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.stats
	s.Events += int64(t.Added)
	s.Duplicates += int64(t.Duplicates)
	s.Bad += int64(len(p.Bad))
	s.LastEvent = max(s.LastEvent, last)
}

// logEvery is the least time between two lines of the log about the same status.
const logEvery = time.Minute

// done counts a request that is answered, and tells of one that was refused.
func (r *Receiver) done(req *http.Request, a *answer, bytes int64) {
	now := time.Now()
	r.mu.Lock()
	r.stats.Requests[a.code]++
	r.stats.Bytes += bytes
	switch a.code {
	case http.StatusOK:
		r.stats.LastSeen = now
		r.mu.Unlock()
		return
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed: // not those who post events
	default:
		r.stats.Refused, r.stats.RefusedAt = a.message, now
	}
	l := r.logged[a.code]
	if l == nil {
		l = &logged{}
		r.logged[a.code] = l
	}
	if !l.at.IsZero() && now.Sub(l.at) < logEvery {
		l.silent++
		r.mu.Unlock()
		return
	}
	silent := l.silent
	l.at, l.silent = now, 0
	r.mu.Unlock()
	attrs := []slog.Attr{slog.Int("status", a.code), slog.String("from", req.RemoteAddr), slog.String("reason", a.message), slog.Int("others_not_logged", silent)}
	if a.err != nil {
		attrs = append(attrs, slog.String("error", a.err.Error()))
	}
	r.o.Log.LogAttrs(req.Context(), slog.LevelWarn, "webhook: a request was not taken, or not whole", attrs...)
}
