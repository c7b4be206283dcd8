package logfile

import "errors"

// window is a sliding view of a stream: buf[start:end] is read and not consumed,
// the tailSize bytes before start are kept for the cursor's tail.
type window struct {
	buf        []byte
	start, end int
	base       int64 // offset of buf[0] in the stream
	max        int   // longest line
	// grow is asked before the buffer becomes larger than windowSize and again
	// before it becomes larger than what was asked for; shrink is told when it is
	// small again. Either may be nil.
	grow   func(size int) error
	shrink func()
	grown  bool
	asked  int // size that grow was asked for
}

// errLong says that the line in the window is longer than max.
var errLong = errors.New("line too long")

func (w *window) offset() int64    { return w.base + int64(w.start) }
func (w *window) readAt() int64    { return w.base + int64(w.end) }
func (w *window) unread() []byte   { return w.buf[w.start:w.end] }
func (w *window) before() []byte   { return w.buf[max(0, w.start-tailSize):w.start] }
func (w *window) lastTail() []byte { return w.buf[max(0, w.end-tailSize):w.end] }

// space returns room to read into.
func (w *window) space() ([]byte, error) {
	if w.buf == nil {
		w.buf = make([]byte, windowSize)
	}
	if w.grown && w.end-w.start <= windowSize/4 {
		w.small()
	}
	if w.end < len(w.buf) && (w.start < len(w.buf)/2 || len(w.buf)-w.end > windowSize/4) {
		return w.buf[w.end:], nil
	}
	if keep := max(0, w.start-tailSize); keep > 0 {
		copy(w.buf, w.buf[keep:w.end])
		w.base += int64(keep)
		w.start -= keep
		w.end -= keep
	}
	if w.end < len(w.buf) {
		return w.buf[w.end:], nil
	}
	if w.end-w.start >= w.max {
		return nil, errLong
	}
	limit := w.asked + tailSize + windowSize
	if !w.grown || len(w.buf) >= limit {
		size := w.max
		if !w.grown {
			size = min(size, longSize)
		}
		if w.grow != nil {
			if err := w.grow(size); err != nil {
				return nil, err
			}
		}
		w.asked, w.grown = size, true
		limit = w.asked + tailSize + windowSize
	}
	bigger := make([]byte, min(2*len(w.buf), limit))
	copy(bigger, w.buf[:w.end])
	w.buf = bigger
	return w.buf[w.end:], nil
}

// small gives back a grown buffer; it keeps what is unread if that fits.
func (w *window) small() {
	if !w.grown {
		return
	}
	b := make([]byte, windowSize)
	keep := max(0, w.start-tailSize)
	w.end = keep + copy(b, w.buf[keep:w.end])
	w.base += int64(keep)
	w.start -= keep
	w.end -= keep
	w.buf, w.grown, w.asked = b, false, 0
	if w.shrink != nil {
		w.shrink()
	}
}

// forget drops what is read and not consumed.
func (w *window) forget() { w.end = w.start; w.small() }
