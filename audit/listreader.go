package audit

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrItemTooLarge means that a part of a document, mostly an item, is larger than
// [ListOptions.MaxItem].
var ErrItemTooLarge = errors.New("it is larger than allowed")

// ListOptions bound what a [ListReader] holds.
type ListOptions struct {
	// Window is how many bytes of the document are held at a time, and MaxItem how many
	// for one item that is larger; 0 is 1 MiB and 64 MiB.
	Window, MaxItem int
	// Grow is asked before the window becomes n bytes, for an item that is larger. Its
	// error ends the reading. May be nil.
	Grow func(n int) error
}

// ListReader reads an EventList, as the API server's webhook sends it, item by item,
// however long the list is. It holds a window of the document.
//
// The list's apiVersion must stand before its items, as it does wherever it is written in
// the API server's order or in that of the alphabet.
type ListReader struct {
	r       io.Reader
	o       ListOptions
	buf     []byte // padded
	list           // of the window: n bytes from offset base of the document
	at      int    // in the window: what is before it was used
	base    int
	eof     bool
	state   listState
	index   int  // of the next item
	listed  bool // items was there
	kind    string
	version string
	prefix  string
	err     error
}

type listState int

// What a ListReader expects next.
const (
	listStart     listState = iota
	listKeyOrEnd            // behind the opening brace
	listKey                 // behind a comma
	listComma               // behind a member
	listItemOrEnd           // behind the opening bracket of items
	listItem                // behind a comma
	listItemComma           // behind an item
	listRest                // behind the closing brace
)

// NewListReader reads the document in r.
func NewListReader(r io.Reader, o ListOptions) *ListReader {
	if o.Window <= 0 {
		o.Window = 1 << 20
	}
	if o.MaxItem <= 0 {
		o.MaxItem = 64 << 20
	}
	o.Window = min(o.Window, o.MaxItem)
	l := &ListReader{r: r, o: o}
	l.hold(make([]byte, o.Window+pad), 0)
	return l
}

// Window is how many bytes are held.
func (l *ListReader) Window() int { return len(l.buf) - pad }

// Next adds the next item to b, as a line as [Batch.AddList] makes them. Its error is
//   - an *[ItemError] for an item that is no audit event, whose Item is valid until the next
//     call, which goes on behind it;
//   - [io.EOF] behind a whole document;
//   - a *[DecodeError] where the document is no EventList or no JSON, and [ErrItemTooLarge];
//   - what the reader or Grow returned.
//
// After all but the first nothing more is read. Items before were taken.
func (l *ListReader) Next(b *Batch) error {
	if l.err != nil {
		return l.err
	}
	l.batch, l.list.err.Items = b, l.list.err.Items[:0]
	err := l.next()
	if err != nil {
		l.err = err
		return err
	}
	if items := l.list.err.Items; len(items) > 0 {
		items[0].Offset += l.base
		return items[0]
	}
	return nil
}

// next goes on until an item was taken or was bad.
func (l *ListReader) next() error {
	for {
		c, err := l.peek()
		if err != nil {
			return err
		}
		switch {
		case l.state == listRest:
			if l.at < l.n {
				return l.bad(l.at)
			}
			return io.EOF
		case l.at == l.n: // the end of all
			return l.bad(l.at)
		}
		switch l.state {
		case listStart:
			if c != '{' {
				return l.wrong(l.at, "the document is no EventList")
			}
			l.at, l.state = l.at+1, listKeyOrEnd
		case listKeyOrEnd, listKey:
			if c == '}' && l.state == listKeyOrEnd {
				if err := l.end(); err != nil {
					return err
				}
				continue
			}
			if err := l.member(); err != nil {
				return err
			}
		case listComma:
			switch c {
			case ',':
				l.at, l.state = l.at+1, listKey
			case '}':
				if err := l.end(); err != nil {
					return err
				}
			default:
				return l.bad(l.at)
			}
		case listItemComma:
			switch c {
			case ',':
				l.at, l.state = l.at+1, listItem
			case ']':
				l.at, l.state = l.at+1, listComma
			default:
				return l.bad(l.at)
			}
		default:
			if c == ']' && l.state == listItemOrEnd {
				l.at, l.state = l.at+1, listComma
				continue
			}
			end, err := l.scan(func(i int) int { return l.skipValue(i, 2) })
			if err != nil {
				return err
			}
			l.item(l.index, l.at, end, l.prefix)
			l.index++
			l.at, l.state = end, listItemComma
			return nil
		}
	}
}

// member takes a key and its value, or the bracket that opens the items.
func (l *ListReader) member() error {
	var name string
	mem := arena{size: 256}
	d := decoder{mem: &mem}
	end, err := l.scan(func(i int) (end int) {
		d.src = l.src
		name, end = d.key(i)
		return end
	})
	if err != nil {
		return err
	}
	name = strings.Clone(name) // the window moves
	l.at = end
	if name == "items" {
		switch c, err := l.peek(); {
		case err != nil:
			return err
		case l.listed:
			return l.wrong(l.at, "items is there twice")
		case c == '[':
			return l.items()
		case c != 'n' && c != 0:
			return l.wrong(l.at, "items is not an array")
		}
	}
	if end, err = l.scan(func(i int) int { return l.skipValue(i, 1) }); err != nil {
		return err
	}
	var to *string
	switch name {
	case "kind":
		to = &l.kind
	case "apiVersion":
		to = &l.version
	}
	if to != nil {
		d.src = l.src
		if d.text(l.at, to, name); d.err != nil {
			d.err.Offset += l.base
			return d.err
		}
		*to = strings.Clone(*to)
	}
	l.at, l.state = end, listComma
	return nil
}

// items begins the array of the items.
func (l *ListReader) items() error {
	if l.kind != "" && l.kind != "EventList" {
		return &DecodeError{Reason: fmt.Sprintf("kind is %q, not EventList", clip(l.kind))}
	}
	head, ok := itemHead(l.version)
	if !ok {
		return l.wrong(l.at, fmt.Sprintf("apiVersion before the items is %q, not audit.k8s.io/v1", clip(l.version)))
	}
	l.prefix = head
	l.listed = true
	l.at, l.state = l.at+1, listItemOrEnd
	return nil
}

// end is behind the last member.
func (l *ListReader) end() error {
	if l.kind != "EventList" {
		return &DecodeError{Reason: fmt.Sprintf("kind is %q, not EventList", clip(l.kind))}
	}
	l.at, l.state = l.at+1, listRest
	return nil
}

// wrong is an error of the document at i in the window.
func (l *ListReader) wrong(i int, reason string) error {
	return &DecodeError{Offset: l.base + i, Reason: reason}
}

// bad is the error of a byte that cannot stand at i in the window.
func (l *ListReader) bad(i int) error {
	switch {
	case i < l.n:
		return l.wrong(i, l.unexpected(i, l.n))
	case l.base+i == 0:
		return l.wrong(i, "the document is empty")
	}
	return l.wrong(i, "the document is cut off")
}

// peek returns the next byte that is no space, 0 at the end of the document.
func (l *ListReader) peek() (byte, error) {
	for {
		if l.at = l.space(l.at); l.at < l.n {
			return l.src.at(l.at), nil
		}
		if l.eof {
			return 0, nil
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
}

// scan runs f on the token at l.at, again with more of the document if the window ends in
// it, and returns the offset behind it.
func (l *ListReader) scan(f func(i int) int) (int, error) {
	for {
		end := f(l.at)
		// An error is at the first byte that cannot stand where it is: at the end of the
		// window that is the padding.
		if l.eof || end >= 0 && end < l.n || end < 0 && ^end < l.n {
			if end < 0 {
				return 0, l.bad(^end)
			}
			return end, nil
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
}

// fill reads on. What was used of the window makes room; if all of it is needed it grows.
func (l *ListReader) fill() error {
	keep := l.n - l.at
	buf := l.buf
	if keep == l.Window() {
		if keep >= l.o.MaxItem {
			return fmt.Errorf("the item at byte %d: %w (%d bytes)", l.base+l.at, ErrItemTooLarge, l.o.MaxItem)
		}
		size := min(2*keep, l.o.MaxItem)
		if l.o.Grow != nil {
			if err := l.o.Grow(size); err != nil {
				return err
			}
		}
		buf = make([]byte, size+pad)
	}
	copy(buf, l.buf[l.at:l.n])
	l.base, l.at = l.base+l.at, 0
	// As much again as there is: the token is scanned from its beginning each time.
	room := buf[keep : len(buf)-pad]
	want, n, idle := min(len(room), max(keep, 1)), 0, 0
	var err error
	for n < want && err == nil {
		var m int
		m, err = l.r.Read(room[n:])
		if n += m; m > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	l.hold(buf, keep+n)
	if err == io.EOF { // only this one, unwrapped, is the end
		l.eof, err = true, nil
	}
	return err
}

// hold makes n bytes of buf the window.
func (l *ListReader) hold(buf []byte, n int) {
	*(*[pad]byte)(buf[n:]) = [pad]byte{}
	l.buf, l.n, l.doc, l.src = buf, n, buf[:n], srcOf(buf)
}
