package logfile

import "bytes"

// eventStart is how the API server begins each event.
var eventStart = []byte(`{"kind":"Event"`)

// Piece is a part of a line that is not one event.
type Piece struct {
	Offset int // in the line
	Data   []byte
	Event  bool // decode accepted Data; otherwise it is to be quarantined
}

// Recover finds the events in a line that decode refused as a whole: complete
// ones from its beginning on, and one that ends where the line ends, behind the
// torn part that it continues. An object inside a torn event, which a client may
// have put there, ends earlier and is not taken. decode is called on candidates
// and, for each Event piece, succeeded exactly once. The pieces cover the line but
// for white space and NUL bytes around them.
func Recover(line []byte, decode func([]byte) error) []Piece {
	var pieces []Piece
	at := 0
	for at < len(line) {
		at += len(line[at:]) - len(bytes.TrimLeft(line[at:], "\x00 \t\r"))
		n := bytes.IndexByte(line[at:], 0)
		if n < 0 {
			n = len(line) - at
		}
		if n > 0 {
			pieces = recoverPart(pieces, line[at:at+n], at, decode)
		}
		at += n
	}
	return pieces
}

// recoverPart does it for a part without NUL bytes.
func recoverPart(pieces []Piece, part []byte, base int, decode func([]byte) error) []Piece {
	at := 0
	for at < len(part) {
		var s scanner
		n, what := s.scan(part[at:])
		if what != scanEnd || decode(part[at:at+n]) != nil {
			break
		}
		pieces = append(pieces, Piece{base + at, part[at : at+n], true})
		at += n
		at += len(part[at:]) - len(bytes.TrimLeft(part[at:], " \t\r"))
	}
	if at == len(part) {
		return pieces
	}
	rest := part[at:]
	// From the right, so that the shortest candidate is first: a longer one
	// contains torn bytes. The work is bounded, for lines made to be slow.
	work := 16*len(rest) + 1<<20
	for end := len(rest); ; {
		i := bytes.LastIndex(rest[:end], eventStart)
		if i <= 0 || work < 0 {
			break
		}
		work -= len(rest) - i
		if decode(rest[i:]) == nil {
			return append(pieces,
				Piece{base + at, rest[:i], false},
				Piece{base + at + i, rest[i:], true})
		}
		end = i
	}
	return append(pieces, Piece{base + at, rest, false})
}
