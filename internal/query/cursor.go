package query

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/ktrail/ktrail/audit"
)

// A cursor is a [Position] that a client carries from one page to the next:
//
//	1 byte   format, 1
//	1 byte   order: 0 newest first, 1 oldest first
//	varint   time in microseconds
//	varint   ID
//	4 bytes  CRC-32 of what stands before, big endian
//
// in base64url without padding. The CRC keeps a cut or mistyped one from
// skipping events silently; it is no protection against forgery and needs none,
// for a cursor grants nothing.
const cursorFormat = 1

func formatCursor(p Position, ascending bool) string {
	b := []byte{cursorFormat, byte(bit(ascending))}
	b = binary.AppendVarint(b, int64(p.Time))
	b = binary.AppendVarint(b, p.ID)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads a cursor, "" being the beginning.
func parseCursor(s string, ascending bool) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	bad := usagef("cursor %s is damaged; use the next of an answer as it is, or leave it out to begin anew", quoteShort(s))
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 8 || len(b) > 32 {
		return Position{}, bad
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum || body[0] != cursorFormat || body[1] > 1 {
		return Position{}, bad
	}
	t, n := binary.Varint(body[2:])
	if n <= 0 {
		return Position{}, bad
	}
	id, m := binary.Varint(body[2+n:])
	if m <= 0 || 2+n+m != len(body) {
		return Position{}, bad
	}
	if (body[1] == 1) != ascending {
		return Position{}, usagef("the cursor belongs to the other order; ask with the order that it came from")
	}
	return Position{Time: audit.Time(t), ID: id}, nil
}
