package capture

import (
	"bytes"
	"encoding/json"
)

// The walker goes through JSON without building it. It holds what it reads to be JSON
// as far as it looks, and never reads past the end; a position of -1 is "not JSON".
// What is recorded is checked whole when the event is written.

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the offset behind the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// skipValue returns the offset behind the value that begins at i.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
	default:
		start := i
		for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
			i++
		}
		if i == start {
			return -1
		}
		return i
	}
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// members calls f with every member of the object that begins at i: its key without
// quotes, and where its value stands. It returns the offset behind the object.
func members(b []byte, i int, f func(key []byte, start, end int)) int {
	if i >= len(b) || b[i] != '{' {
		return -1
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for i < len(b) && b[i] == '"' {
		keyEnd := skipString(b, i)
		if keyEnd < 0 {
			return -1
		}
		key := plainKey(b[i:keyEnd])
		if i = skipSpace(b, keyEnd); i >= len(b) || b[i] != ':' {
			return -1
		}
		start := skipSpace(b, i+1)
		if i = skipValue(b, start); i < 0 {
			return -1
		}
		f(key, start, i)
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = skipSpace(b, i+1)
	}
	return -1
}

// plainKey is a quoted key without quotes and escapes.
func plainKey(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return quoted
	}
	return []byte(s)
}

// text is the string that a value is, "" for one that is none.
func text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	return string(plainKey(value))
}

// objectMeta is what of an object's metadata completes the reference to it.
type objectMeta struct{ name, namespace, uid, resourceVersion string }

// metaOfJSON reads the metadata of an object; false if it is not JSON.
func metaOfJSON(b []byte) (m objectMeta, ok bool) {
	i := members(b, skipSpace(b, 0), func(key []byte, start, end int) {
		if string(key) != "metadata" {
			return
		}
		members(b[:end], start, func(key []byte, start, end int) {
			if b[start] != '"' {
				return // null leaves what an earlier one said, as in the API server
			}
			switch string(key) {
			case "name":
				m.name = text(b[start:end])
			case "namespace":
				m.namespace = text(b[start:end])
			case "uid":
				m.uid = text(b[start:end])
			case "resourceVersion":
				m.resourceVersion = text(b[start:end])
			}
		})
	})
	return m, i >= 0 && skipSpace(b, i) == len(b)
}

// withoutManagedFields is b without the managedFields of the object that it is, of the
// items of the list, or of the objects in the rows of the table. What cannot be
// read stays as it is. b is not changed.
func withoutManagedFields(b []byte) []byte {
	if !bytes.Contains(b, []byte("managedFields")) && bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	e := editor{in: b}
	start := skipSpace(b, 0)
	table := kindOf(b) == "Table"
	members(b, start, func(key []byte, start, end int) {
		switch string(key) {
		case "metadata":
			e.dropIn(start, end)
		case "items":
			e.each(start, end, e.dropInMetadata)
		case "rows":
			if !table {
				return
			}
			e.each(start, end, func(start, end int) {
				members(b[:end], start, func(key []byte, start, end int) {
					if string(key) == "object" {
						e.dropInMetadata(start, end)
					}
				})
			})
		}
	})
	return e.done()
}

// kindOf is the kind of the object that b is, "" if it has none.
func kindOf(b []byte) (kind string) {
	members(b, skipSpace(b, 0), func(key []byte, start, end int) {
		if string(key) == "kind" {
			kind = text(b[start:end])
		}
	})
	return kind
}

// editor copies a text without some parts of it, which come in their order.
type editor struct {
	in, out []byte
	copied  int
}

func (e *editor) cut(from, to int) {
	if from < e.copied {
		from = e.copied
	}
	if e.out == nil {
		e.out = make([]byte, 0, len(e.in))
	}
	e.out = append(e.out, e.in[e.copied:from]...)
	e.copied = to
}

func (e *editor) done() []byte {
	if e.copied == 0 {
		return e.in
	}
	return append(e.out, e.in[e.copied:]...)
}

// each calls f with every element of the array at start.
func (e *editor) each(start, end int, f func(start, end int)) {
	if start >= end || e.in[start] != '[' {
		return
	}
	for i := skipSpace(e.in, start+1); i < end && e.in[i] != ']'; {
		stop := skipValue(e.in[:end], i)
		if stop < 0 {
			return
		}
		f(i, stop)
		if i = skipSpace(e.in, stop); i >= end || e.in[i] != ',' {
			return
		}
		i = skipSpace(e.in, i+1)
	}
}

// dropInMetadata cuts managedFields from the metadata of the object at start.
func (e *editor) dropInMetadata(start, end int) {
	members(e.in[:end], start, func(key []byte, start, end int) {
		if string(key) == "metadata" {
			e.dropIn(start, end)
		}
	})
}

// dropIn cuts managedFields from the object at start, with the comma before it, or,
// where no member that stays is before it, the one behind. What is not JSON stays, and is found when the event is written.
func (e *editor) dropIn(start, end int) {
	last := 0         // behind the last member that stays, 0 for none
	next := start + 1 // where the next member may begin
	members(e.in[:end], start, func(key []byte, value, stop int) {
		from := next
		if next = skipSpace(e.in, stop); e.in[next] == ',' {
			next++
		}
		switch {
		case string(key) != "managedFields" || !json.Valid(e.in[value:stop]):
			last = stop
		case last > 0:
			e.cut(last, stop)
		default:
			e.cut(from, next)
		}
	})
}
