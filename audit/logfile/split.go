package logfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Splitter takes a stream apart into events: lines of JSON, EventList objects,
// arrays, on one line or printed over many, one after the other. Memory is bounded
// by the longest event, not by the document.
type Splitter struct {
	window
	r      io.Reader
	name   string
	decode func([]byte) error
	ctx    []container
	queue  []Record // found in a piece that was torn
	err    error    // of r; io.EOF at the end
	eof    bool
	buf2   []byte // for events made compact or complete
	first  bool
	hole   int64 // NUL bytes skipped from holeAt on and not told yet
	holeAt int64
}

// container is a list that the stream is in.
type container struct {
	outer *scanner // of the object around an EventList's items; nil for an array
	// typed is what items that do not say what they are begin with: as the
	// events of the log do, in the version that stands before the items.
	typed string
}

const typedStart = `{"kind":"Event","apiVersion":"audit.k8s.io/`

func typed(header []byte) string {
	for _, old := range []string{"v1beta1", "v1alpha1"} {
		if bytes.Contains(header, []byte(`"audit.k8s.io/`+old+`"`)) {
			return typedStart + old + `",`
		}
	}
	return typedStart + `v1",`
}

// SplitOptions say how to split.
type SplitOptions struct {
	Name    string // for Record.File
	MaxLine int    // longest event in bytes, 0 for DefaultMaxLine
	// Grow and Shrink are as in Options.
	Grow   func(size int) error
	Shrink func()
	// Decode takes an event. It is called once with success for each Line record.
	Decode func([]byte) error
}

// NewSplitter splits r, which is uncompressed: see Decompress.
func NewSplitter(r io.Reader, opt SplitOptions) *Splitter {
	if opt.MaxLine <= 0 {
		opt.MaxLine = DefaultMaxLine
	}
	return &Splitter{
		window: window{max: opt.MaxLine, grow: opt.Grow, shrink: opt.Shrink},
		r:      r, name: opt.Name, decode: opt.Decode, first: true,
	}
}

// Close gives memory back.
func (s *Splitter) Close() { s.forget() }

// Offset is how many bytes are consumed.
func (s *Splitter) Offset() int64 { return s.offset() }

// Next returns the next event, which Decode has taken, or a Bad record. The error
// is io.EOF at the end, or what the stream ended with; all that came before it has
// been returned then.
func (s *Splitter) Next() (Record, error) {
	for {
		if len(s.queue) > 0 {
			rec := s.queue[0]
			s.queue = s.queue[1:]
			return rec, nil
		}
		c, err := s.peek()
		if err != nil {
			if len(s.ctx) > 0 && errors.Is(err, io.EOF) {
				s.ctx = nil
				return s.bad(s.offset(), nil, "the list is cut off"), nil
			}
			return Record{}, err
		}
		if n := s.hole; n > 0 {
			s.hole = 0
			if s.holeAt > 0 { // one at the beginning hides nothing, see file.reportHole
				return s.bad(s.holeAt, nil, lostInHole(n)), nil
			}
		}
		rec, ok, err := s.value(c)
		if err != nil {
			return Record{}, err
		}
		if ok {
			return rec, nil
		}
	}
}

// peek skips what stands between values and returns the byte after it.
func (s *Splitter) peek() (byte, error) {
	for {
		for s.start < s.end {
			c := s.buf[s.start]
			if s.first {
				if c == 0xef && s.end-s.start < 3 && !s.eof {
					break
				}
				s.first = false
				if bytes.HasPrefix(s.unread(), []byte("\xef\xbb\xbf")) {
					s.start += 3
					continue
				}
			}
			if isSpace(c) || c == 0 || c == 0x1e { // 0x1e: RFC 7464
				if c == 0 {
					if s.hole == 0 {
						s.holeAt = s.offset()
					}
					s.hole++
				}
				s.start++
				continue
			}
			return c, nil
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

// fill reads more; the error is errLong, that of Grow, or the end of the stream.
func (s *Splitter) fill() error {
	if s.eof {
		return s.err
	}
	room, err := s.space()
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		n, err := s.r.Read(room)
		s.end += n
		if err != nil {
			s.eof, s.err = true, err
		}
		switch {
		case n > 0:
			return nil
		case err != nil:
			return err
		case tries == 100:
			return io.ErrNoProgress
		}
	}
}

// value takes what begins with c. ok is false if there is nothing to return for it.
func (s *Splitter) value(c byte) (rec Record, ok bool, err error) {
	in := len(s.ctx) > 0
	switch {
	case c == '[' && len(s.ctx) < 8:
		s.start++
		s.ctx = append(s.ctx, container{})
		return Record{}, false, nil
	case c == ']' && in:
		s.start++
		return s.leave()
	case c == ',' && in:
		s.start++
		return Record{}, false, nil
	case in:
		if strings.IndexByte(`{["-0123456789tfn`, c) < 0 {
			return s.tornLine(0, "no JSON value begins here")
		}
	case c != '{':
		return s.tornLine(0, "no JSON object begins here")
	default:
		// The usual case: one event, one line. What is read seldom ends with a line.
		i := bytes.IndexByte(s.unread(), '\n')
		for i < 0 && !s.eof && s.end-s.start < windowSize/2 {
			seen := s.end - s.start
			if err := s.fill(); err != nil && !s.eof {
				return Record{}, false, err
			}
			if i = bytes.IndexByte(s.unread()[seen:], '\n'); i >= 0 {
				i += seen
			}
		}
		if i > 0 && i <= s.max {
			at, line := s.offset(), trim(s.buf[s.start:s.start+i], -1)
			if s.decode(line) == nil {
				s.start += i + 1
				return Record{Kind: Line, File: s.name, Offset: at, Line: line}, true, nil
			}
		}
	}
	return s.object()
}

// object takes the object that begins here, whatever lines it spans, or in a list
// whatever value stands there instead.
func (s *Splitter) object() (Record, bool, error) {
	sc := scanner{lists: len(s.ctx) < 8}
	done := 0
	for {
		n, what := sc.scan(s.buf[s.start+done : s.end])
		done += n
		switch what {
		case scanEnd:
			if done > s.max {
				return s.tooLong(&sc, done, true)
			}
			at, text := s.offset(), s.buf[s.start:s.start+done]
			s.start += done
			return s.event(at, text)
		case scanItems:
			s.ctx = append(s.ctx, container{outer: &sc, typed: typed(s.buf[s.start : s.start+done])})
			s.start += done
			return Record{}, false, nil
		case scanBad:
			return s.tornLine(done, "")
		}
		err := s.fill()
		switch {
		case errors.Is(err, errLong):
			return s.tooLong(&sc, done, false)
		case err != nil && s.eof:
			return s.tornLine(s.end-s.start, "cut off")
		case err != nil:
			return Record{}, false, err
		}
	}
}

// event decodes a complete object.
func (s *Splitter) event(at int64, text []byte) (Record, bool, error) {
	line := text
	if hasNewline(text) {
		var b bytes.Buffer
		if json.Compact(&b, text) == nil {
			line = b.Bytes()
		}
	}
	err := s.decode(line)
	if n := len(s.ctx); err != nil && n > 0 && s.ctx[n-1].typed != "" && len(line) > 2 && line[0] == '{' && !bytes.HasPrefix(line, eventStart) {
		// The items of a webhook's EventList have no kind; the log's lines do.
		s.buf2 = append(append(s.buf2[:0], s.ctx[n-1].typed...), line[1:]...)
		if s.decode(s.buf2) == nil {
			line, err = s.buf2, nil
		}
	}
	if err != nil {
		return s.bad(at, text, err.Error()), true, nil
	}
	return Record{Kind: Line, File: s.name, Offset: at, Line: line}, true, nil
}

// leave goes out of a list and over what is left of the EventList.
func (s *Splitter) leave() (Record, bool, error) {
	c := s.ctx[len(s.ctx)-1]
	s.ctx = s.ctx[:len(s.ctx)-1]
	if c.outer == nil {
		return Record{}, false, nil
	}
	c.outer.afterItems()
	c.outer.lists = false
	for {
		n, what := c.outer.scan(s.unread())
		s.start += n
		switch what {
		case scanEnd:
			return Record{}, false, nil
		case scanBad:
			return s.tornLine(0, "the end of the list is torn")
		}
		if err := s.fill(); err != nil {
			if s.eof {
				return s.bad(s.offset(), nil, "the list is cut off"), true, nil
			}
			return Record{}, false, err
		}
	}
}

// tornLine gives up on the lines from here to the one with the byte at off: it
// quarantines them but for the events that can be found in them. If that byte
// begins a line, this line is not torn but the next beginning.
func (s *Splitter) tornLine(off int, reason string) (Record, bool, error) {
	s.ctx = nil
	end := off
	if i := bytes.LastIndexByte(s.buf[s.start:s.start+off], '\n'); i >= 0 && len(bytes.TrimSpace(s.buf[s.start+i:s.start+off])) == 0 {
		end = i + 1
	} else {
		for {
			if i := bytes.IndexByte(s.buf[s.start+end:s.end], '\n'); i >= 0 {
				end += i + 1
				break
			}
			end = s.end - s.start
			err := s.fill()
			if errors.Is(err, errLong) {
				return s.skipLine()
			}
			if err != nil && !s.eof {
				return Record{}, false, err
			}
			if err != nil {
				break
			}
		}
	}
	at, text := s.offset(), s.buf[s.start:s.start+end]
	s.start += end
	for line := range bytes.Lines(text) {
		s.pieces(at, line, reason)
		at += int64(len(line))
	}
	return Record{}, false, nil
}

// pieces queues what is in a torn line. Its events are decoded here, in order.
func (s *Splitter) pieces(at int64, line []byte, reason string) {
	line = trim(bytes.TrimRight(line, "\n"), -1)
	if len(line) == 0 {
		return
	}
	err := s.decode(line)
	if err == nil {
		s.queue = append(s.queue, Record{Kind: Line, File: s.name, Offset: at, Line: line})
		return
	}
	if reason == "" || reason == "cut off" && !s.eof {
		reason = err.Error()
	}
	for _, p := range Recover(line, s.decode) {
		if p.Event {
			s.queue = append(s.queue, Record{Kind: Line, File: s.name, Offset: at + int64(p.Offset), Line: p.Data})
		} else {
			s.queue = append(s.queue, s.bad(at+int64(p.Offset), p.Data, reason))
		}
	}
}

func (s *Splitter) bad(at int64, text []byte, reason string) Record {
	return Record{Kind: Bad, File: s.name, Offset: at, Line: text[:min(len(text), badSize)], Reason: reason}
}

// skipLine drops the rest of a line that is too long and no JSON.
func (s *Splitter) skipLine() (Record, bool, error) {
	at, head := s.offset(), bytes.Clone(s.buf[s.start:min(s.end, s.start+badSize)])
	for {
		if i := bytes.IndexByte(s.unread(), '\n'); i >= 0 {
			s.start += i + 1
			break
		}
		s.start = s.end
		if err := s.fill(); err != nil {
			break
		}
	}
	return s.bad(at, head, fmt.Sprintf("line of %d bytes is longer than %d; its first %d bytes are kept", s.offset()-at, s.max, len(head))), true, nil
}

// tooLong drops an object that is too long: up to its end, which the scanner
// finds without keeping it, or the end of the line where it is torn.
func (s *Splitter) tooLong(sc *scanner, done int, ended bool) (Record, bool, error) {
	at, head := s.offset(), bytes.Clone(s.buf[s.start:min(s.end, s.start+badSize)])
	s.start += done
	for !ended {
		n, what := sc.scan(s.unread())
		s.start += n
		switch what {
		case scanEnd:
			ended = true
			continue
		case scanItems:
			s.ctx = append(s.ctx, container{outer: sc, typed: typed(head)})
			return Record{}, false, nil
		case scanBad:
			s.ctx = nil
			_, _, err := s.skipLine()
			ended = true
			if err != nil {
				return Record{}, false, err
			}
			continue
		}
		if err := s.fill(); err != nil {
			if !s.eof {
				return Record{}, false, err
			}
			break
		}
	}
	return s.bad(at, head, fmt.Sprintf("event of %d bytes is longer than %d; its first %d bytes are kept", s.offset()-at, s.max, len(head))), true, nil
}
