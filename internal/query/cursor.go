package query

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// A cursor is a [Position] that a client carries from one page to the next:
//
//	1 byte   format, 1
//	1 byte   order: 0 newest first, 1 oldest first
//	varint   time in microseconds
//	varint   ID
//	varint   when the first page was asked, in microseconds: what now means
//	4 bytes  CRC-32 of what stands before, big endian
//
// in base64url without padding. The CRC keeps a cut or mistyped one from
// skipping events silently; it is no protection against forgery and needs none,
// for a cursor grants nothing.
const cursorFormat = 1

func formatCursor(p Position, asked audit.Time, ascending bool) string {
	b := []byte{cursorFormat, byte(bit(ascending))}
	b = binary.AppendVarint(b, int64(p.Time))
	b = binary.AppendVarint(b, p.ID)
	b = binary.AppendVarint(b, int64(asked))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// AskedAt is when the first page of a cursor's search was asked; now if the
// cursor is "" or damaged. A time that is meant from now, such as "2h ago", is
// to be read with it: the pages together are one answer only if now stands still.
func AskedAt(cursor string, now time.Time) time.Time {
	for _, ascending := range []bool{false, true} {
		if _, asked, err := parseCursor(cursor, ascending); err == nil && cursor != "" {
			return asked.Std()
		}
	}
	return now
}

// parseCursor reads a cursor, "" being the beginning.
func parseCursor(s string, ascending bool) (p Position, asked audit.Time, err error) {
	if s == "" {
		return Position{}, audit.TimeOf(time.Now()), nil
	}
	bad := usagef("cursor %s is damaged; use the next of an answer as it is, or leave it out to begin anew", quoteShort(s))
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 8 || len(b) > 42 {
		return Position{}, 0, bad
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum || body[0] != cursorFormat || body[1] > 1 {
		return Position{}, 0, bad
	}
	t, n := binary.Varint(body[2:])
	if n <= 0 {
		return Position{}, 0, bad
	}
	id, m := binary.Varint(body[2+n:])
	if m <= 0 {
		return Position{}, 0, bad
	}
	at, k := binary.Varint(body[2+n+m:])
	if k <= 0 || 2+n+m+k != len(body) {
		return Position{}, 0, bad
	}
	if (body[1] == 1) != ascending {
		return Position{}, 0, usagef("the cursor belongs to the other order; ask with the order that it came from")
	}
	return Position{Time: audit.Time(t), ID: id}, audit.Time(at), nil
}
