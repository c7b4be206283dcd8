package logfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// head is the beginning of a file: up to headSize bytes after skip NUL bytes (the
// hole that copytruncate leaves before a writer that does not append).
type head struct {
	skip int64
	b    []byte
	full string // sum of b if it is complete, to compare with many marks
}

// readHead reads r's head.
func readHead(r io.Reader) (head, error) {
	var h head
	buf := make([]byte, headSize)
	n := 0
	for {
		m, err := r.Read(buf[n:])
		n += m
		if len(h.b) == 0 { // still in the hole
			text := bytes.TrimLeft(buf[:n], "\x00")
			h.skip += int64(n - len(text))
			n = copy(buf, text)
			h.b = buf[:n]
		}
		h.b = buf[:n]
		switch {
		case n == headSize:
			h.full = sum(h.b, 9)
			return h, nil
		case errors.Is(err, io.EOF):
			return h, nil
		case err != nil:
			return h, err
		}
	}
}

// grow takes what was read at offset at into a head that is not complete.
func (h *head) grow(b []byte, at int64) {
	have := h.skip + int64(len(h.b))
	if len(h.b) == headSize || have < at || have >= at+int64(len(b)) {
		return
	}
	b = b[have-at:]
	if len(h.b) == 0 {
		text := bytes.TrimLeft(b, "\x00")
		h.skip += int64(len(b) - len(text))
		b = text
	}
	h.b = append(h.b, b[:min(len(b), headSize-len(h.b))]...)
	if len(h.b) == headSize {
		h.full = sum(h.b, 9)
	}
}

// print returns the fingerprint of the head's first n bytes.
func (h head) print(n int) fingerprint {
	n = min(n, len(h.b))
	if n == headSize {
		return fingerprint{skip: h.skip, n: n, sum: h.full}
	}
	return fingerprint{skip: h.skip, n: n, sum: sum(h.b[:n], 9)}
}

// fingerprint names a file by the hash of its first n bytes after skip NULs.
type fingerprint struct {
	skip int64
	n    int
	sum  string
}

func sum(b []byte, size int) string {
	s := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(s[:size])
}

func tailSum(b []byte) string { return sum(b, 6) }

// matches reports whether a file that begins with h can be the one.
func (f fingerprint) matches(h head) bool {
	if f.n == 0 || f.skip != h.skip || f.n > len(h.b) {
		return false
	}
	return h.print(f.n) == f
}

// mark is how far a file is read.
type mark struct {
	fp   fingerprint
	off  int64
	tail string // tailSum of the up to tailSize bytes before off
	// open is whether more is expected: the file was the live one.
	open bool
}

// String packs m: skip.n.sum.off.tail, and "+" if it is open.
func (m mark) String() string {
	s := fmt.Sprintf("%d.%d.%s.%d.%s", m.fp.skip, m.fp.n, m.fp.sum, m.off, m.tail)
	if m.open {
		s += "+"
	}
	return s
}

func parseMark(s string) (mark, error) {
	var m mark
	t, open := strings.CutSuffix(s, "+")
	p := strings.Split(t, ".")
	if len(p) != 5 {
		return m, fmt.Errorf("mark %q: want 5 parts", s)
	}
	var errs [3]error
	m.open = open
	m.fp.skip, errs[0] = strconv.ParseInt(p[0], 10, 64)
	m.fp.n, errs[1] = strconv.Atoi(p[1])
	m.fp.sum = p[2]
	m.off, errs[2] = strconv.ParseInt(p[3], 10, 64)
	m.tail = p[4]
	if err := errors.Join(errs[:]...); err != nil {
		return m, fmt.Errorf("mark %q: %w", s, err)
	}
	if m.fp.skip < 0 || m.fp.n < 0 || m.fp.n > headSize || m.off < 0 {
		return m, fmt.Errorf("mark %q: number out of range", s)
	}
	return m, nil
}
