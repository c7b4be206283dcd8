package capture

import (
	"bytes"
	"encoding/binary"

	"github.com/ktrail/ktrail/audit/internal/status"
)

// The wire format of protocol buffers, as far as the audit log needs it: what the metadata
// of an object says, and what a Status says. Objects are not turned into JSON: that takes
// the schema of every type.

// protobufMagic begins every object in protobuf: then follows a runtime.Unknown
// (k8s.io/apimachinery/pkg/runtime/generated.proto).
var protobufMagic = []byte("k8s\x00")

// field is one field of a message: a number, or the bytes of a string or a message.
type field struct {
	id   int
	num  uint64
	data []byte
}

// fields calls f with every field of the message b, and is false if b is none.
func fields(b []byte, f func(field)) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
			return false
		}
		b = b[n:]
		v := field{id: int(tag >> 3)} //nolint:gosec // at most 2^29
		switch tag & 7 {
		case 0:
			if v.num, n = binary.Uvarint(b); n <= 0 {
				return false
			}
		case 1:
			n = 8
		case 5:
			n = 4
		case 2:
			size, head := binary.Uvarint(b)
			if head <= 0 || size > uint64(len(b)-head) {
				return false
			}
			n = head + int(size) //nolint:gosec // within b
			v.data = b[head:n]
		default:
			return false
		}
		if n > len(b) {
			return false
		}
		b = b[n:]
		f(v)
	}
	return true
}

// unknown splits what follows the magic: the type, and the object itself.
func unknown(b []byte) (apiVersion, kind string, raw []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, protobufMagic)
	if !ok {
		return "", "", nil, false
	}
	ok = fields(b, func(f field) {
		switch f.id {
		case 1: // typeMeta
			fields(f.data, func(f field) {
				switch f.id {
				case 1:
					apiVersion = string(f.data)
				case 2:
					kind = string(f.data)
				}
			})
		case 2:
			raw = f.data
		}
	})
	return apiVersion, kind, raw, ok
}

// metaOfProtobuf reads the metadata of an object, which is field 1 of all that have any;
// false if b is no object.
func metaOfProtobuf(b []byte) (m objectMeta, ok bool) {
	_, _, raw, ok := unknown(b)
	if !ok {
		return m, false
	}
	ok = fields(raw, func(f field) {
		if f.id != 1 {
			return
		}
		fields(f.data, func(f field) {
			switch f.id {
			case 1:
				m.name = string(f.data)
			case 3:
				m.namespace = string(f.data)
			case 5:
				m.uid = string(f.data)
			case 6:
				m.resourceVersion = string(f.data)
			}
		})
	})
	return m, ok
}

// statusOfProtobuf reads a Status (k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto); false if b is none.
func statusOfProtobuf(b []byte) (s status.Status, ok bool) {
	apiVersion, kind, raw, ok := unknown(b)
	if !ok || apiVersion != "v1" || kind != "Status" {
		return s, false
	}
	s.APIVersion, s.Kind = apiVersion, kind
	ok = fields(raw, func(f field) {
		switch f.id {
		case 1:
			s.Metadata = listMetaOf(f.data)
		case 2:
			s.Status = string(f.data)
		case 3:
			s.Message = string(f.data)
		case 4:
			s.Reason = string(f.data)
		case 5:
			s.Details = detailsOf(f.data)
		case 6:
			s.Code = int32(f.num) //nolint:gosec // an int32 on the wire
		}
	})
	return s, ok
}

func listMetaOf(b []byte) (m status.ListMeta) {
	fields(b, func(f field) {
		switch f.id {
		case 2:
			m.ResourceVersion = string(f.data)
		case 3:
			m.Continue = string(f.data)
		case 4:
			n := int64(f.num) //nolint:gosec // an int64 on the wire
			m.RemainingItemCount = &n
		}
	})
	return m
}

func detailsOf(b []byte) *status.Details {
	d := &status.Details{}
	fields(b, func(f field) {
		switch f.id {
		case 1:
			d.Name = string(f.data)
		case 2:
			d.Group = string(f.data)
		case 3:
			d.Kind = string(f.data)
		case 4:
			var c status.Cause
			fields(f.data, func(f field) {
				switch f.id {
				case 1:
					c.Reason = string(f.data)
				case 2:
					c.Message = string(f.data)
				case 3:
					c.Field = string(f.data)
				}
			})
			d.Causes = append(d.Causes, c)
		case 5:
			d.RetryAfterSeconds = int32(f.num) //nolint:gosec // an int32 on the wire
		case 6:
			d.UID = string(f.data)
		}
	})
	return d
}
