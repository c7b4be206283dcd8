package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// ItemError is an item of a list that is not an audit event.
type ItemError struct {
	// Index counts the list's items from 0, Offset is the item's position in
	// the document in bytes.
	Index, Offset int
	// Item is the item as it stands in the document, whose memory it shares.
	Item []byte
	Err  error
}

func (e *ItemError) Error() string {
	return fmt.Sprintf("item %d at byte %d: %v", e.Index, e.Offset, e.Err)
}

func (e *ItemError) Unwrap() error { return e.Err }

// ListError says which parts of a document could not be taken; all others were.
type ListError struct {
	Items []*ItemError
	// Doc is what is wrong with the document around the items, or nil. Items before
	// its Offset were taken.
	Doc *DecodeError
}

func (e *ListError) Error() string {
	var s []string
	if e.Doc != nil {
		s = append(s, e.Doc.Error())
	}
	for i, item := range e.Items {
		if i == 3 {
			s = append(s, fmt.Sprintf("and %d more", len(e.Items)-i))
			break
		}
		s = append(s, item.Error())
	}
	return "decode event list: " + strings.Join(s, "; ")
}

// Unwrap gives the single errors.
func (e *ListError) Unwrap() []error {
	var errs []error
	if e.Doc != nil {
		errs = append(errs, e.Doc)
	}
	for _, item := range e.Items {
		errs = append(errs, item)
	}
	return errs
}

// AddList adds the events of doc: an EventList as the API server's webhook sends
// it, a JSON array of events, or one event. Each item becomes a line of its own:
//   - one that spans lines loses the white space between its tokens;
//   - the items of an EventList have no kind and apiVersion, and get the list's
//     in front, where the API server's log has them: the line is then the same as in the log.
//
// It returns how many it added. A bad item does not keep out the others, and of a
// document that is cut off all complete items are added; the error is then a *[ListError].
func (b *Batch) AddList(doc []byte) (added int, err error) {
	scan := arena{size: len(doc) + pad}
	l := list{src: scan.line(doc), n: len(doc), doc: doc, batch: b}
	i := 0
	if bytes.HasPrefix(doc, []byte("\xef\xbb\xbf")) { // a byte order mark
		i = 3
	}
	switch i = l.space(i); {
	case i == l.n:
		l.fail(0, "the document is empty")
	case l.at(i) == '[':
		i = l.items(i, "")
	case l.at(i) == '{':
		i = l.object(i)
	default:
		l.fail(i, "the document is neither an event, an EventList nor an array of events")
	}
	if l.err.Doc == nil {
		if i >= 0 {
			if i = l.space(i); i != l.n {
				i = ^i
			}
		}
		if i < 0 {
			l.fail(^i, l.unexpected(^i, l.n))
		}
	}
	if l.err.Doc != nil || l.err.Items != nil {
		return l.added, &l.err
	}
	return l.added, nil
}

type list struct {
	src
	n     int
	doc   []byte
	batch *Batch
	added int
	full  []byte // for items that get a prefix
	err   ListError
}

func (l *list) fail(offset int, reason string) {
	l.err.Doc = &DecodeError{Offset: offset, Reason: reason}
}

// object takes the document at i, an object.
func (l *list) object(i int) int {
	// One pass to learn what it is: items may stand before kind.
	start, items := i, -1
	var kind, version string
	mem := arena{size: 256}
	d := decoder{src: l.src, mem: &mem}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			break
		}
		switch name {
		case "kind":
			i = d.text(i, &kind, "kind")
		case "apiVersion":
			i = d.text(i, &version, "apiVersion")
		case "items":
			items = i
			i = d.skipValue(i, 1)
		default:
			i = d.skipValue(i, 1)
		}
	}
	if d.err != nil {
		l.err.Doc = d.err
		return i
	}
	switch {
	case kind == "EventList" && items >= 0:
		if l.at(items) == 'n' {
			break
		}
		if l.at(items) != '[' {
			l.fail(items, "items is not an array")
			break
		}
		head, ok := itemHead(version)
		if !ok {
			l.fail(start, fmt.Sprintf("apiVersion is %q, not audit.k8s.io/v1", clip(version)))
			break
		}
		if end := l.items(items, head); i >= 0 && end < 0 {
			i = end
		}
	case kind == "EventList":
	case kind == "Event":
		if i >= 0 {
			l.item(0, start, i, "")
		}
	case i >= 0:
		l.fail(start, fmt.Sprintf("kind is %q, neither Event nor EventList", clip(kind)))
	}
	return i
}

// itemHead is what the items of a list get in front, each of them: of a version that is long
// a short list would make a very long one.
func itemHead(version string) (head string, ok bool) {
	const longest = 64
	if len(version) > longest || !strings.HasPrefix(version, group) {
		return "", false
	}
	text, err := json.Marshal(version)
	return `"kind":"Event","apiVersion":` + string(text), err == nil
}

// items takes the array at i. Members without a kind get prefix.
func (l *list) items(i int, prefix string) int {
	if i = l.space(i + 1); l.at(i) == ']' {
		return i + 1
	}
	for index := 0; ; index++ {
		i = l.space(i)
		end := l.skipValue(i, 2)
		if end < 0 {
			return end
		}
		l.item(index, i, end, prefix)
		switch i = l.space(end); l.at(i) {
		case ',':
			i++
		case ']':
			return i + 1
		default:
			return ^i
		}
	}
}

// item takes the valid JSON value from i to end.
func (l *list) item(index, i, end int, prefix string) {
	item := l.doc[i:end]
	line := item
	if bytes.IndexByte(line, '\n') >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		one := bytes.NewBuffer(make([]byte, 0, len(line)))
		if err := json.Compact(one, line); err != nil {
			l.bad(index, i, item, err)
			return
		}
		line = one.Bytes()
	}
	if prefix != "" && line[0] == '{' && !l.hasKind(i) {
		l.full = append(append(l.full[:0], '{'), prefix...)
		if rest := bytes.TrimLeft(line[1:], " \t"); rest[0] != '}' {
			l.full = append(l.full, ',')
		}
		l.full = append(l.full, line[1:]...)
		line = l.full
	}
	if err := l.batch.Add(line); err != nil {
		l.bad(index, i, item, err)
		return
	}
	l.added++
}

func (l *list) bad(index, offset int, item []byte, err error) {
	l.err.Items = append(l.err.Items, &ItemError{Index: index, Offset: offset, Item: item, Err: err})
}

// hasKind reports whether the object at i says its kind or apiVersion itself.
func (l *list) hasKind(i int) bool {
	mem := arena{size: 256}
	d := decoder{src: l.src, mem: &mem}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); name == "kind" || name == "apiVersion" {
			return true
		}
		i = d.skipValue(i, 2)
	}
	return false
}
