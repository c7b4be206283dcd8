package store

import (
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/klauspost/compress/zstd"
	"github.com/ktrail/ktrail/audit"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"
)

// column is one column of a segment: how it is typed and encoded, and how an
// event's value becomes a Parquet one.
type column struct {
	name string
	node parquet.Node
	enc  encoding.Encoding
	// bounds: whether pages and row groups carry the least and greatest value.
	// Not for text of any length that a client chooses, which would stand in the footer.
	bounds bool
	bloom  bool
	list   bool
	// Exactly one is set.
	text    func(*audit.Event) string
	texts   func(*audit.Event) []string
	integer func(*audit.Event) int64
	flag    func(*audit.Event) bool
}

// The positions that the code needs by number.
const (
	colID   = 0
	colTime = 1
)

// columns returns the schema in its order on disk: the json tags of audit.Event.
func columns() []column {
	micros := parquet.Timestamp(parquet.Microsecond)
	long := parquet.Leaf(parquet.Int64Type)
	boolean := parquet.Leaf(parquet.BooleanType)
	text := func(name string, get func(*audit.Event) string) column {
		return column{name: name, node: parquet.String(), enc: &parquet.RLEDictionary, bounds: true, text: func(e *audit.Event) string { return validText(get(e)) }}
	}
	free := func(name string, get func(*audit.Event) string) column {
		c := text(name, get)
		c.bounds = false
		return c
	}
	list := func(name string, get func(*audit.Event) []string) column {
		return column{name: name, node: parquet.String(), enc: &parquet.RLEDictionary, list: true, texts: get}
	}
	delta := func(name string, node parquet.Node, get func(*audit.Event) int64) column {
		return column{name: name, node: node, enc: &parquet.DeltaBinaryPacked, bounds: true, integer: get}
	}
	bloom := func(c column) column { c.bloom = true; return c }
	plain := func(c column) column {
		c.enc, c.node = &parquet.Plain, parquet.Leaf(unhurried{parquet.String().Type()})
		return c
	}
	return []column{
		delta("id", long, func(e *audit.Event) int64 { return e.ID }),
		delta("time", micros, func(e *audit.Event) int64 { return int64(e.Time) }),
		delta("received", micros, func(e *audit.Event) int64 { return int64(e.Received) }),
		text("cluster", func(e *audit.Event) string { return e.Cluster }),
		text("source", func(e *audit.Event) string { return e.Source }),
		// A dictionary of values that hardly repeat would only cost time and space.
		plain(bloom(free("audit_id", func(e *audit.Event) string { return e.AuditID }))),
		text("stage", func(e *audit.Event) string { return e.Stage }),
		text("level", func(e *audit.Event) string { return e.Level }),
		text("verb", func(e *audit.Event) string { return e.Verb }),
		bloom(free("user", func(e *audit.Event) string { return e.User })),
		free("user_uid", func(e *audit.Event) string { return e.UserUID }),
		list("groups", func(e *audit.Event) []string { return e.Groups }),
		free("as_user", func(e *audit.Event) string { return e.AsUser }),
		list("as_groups", func(e *audit.Event) []string { return e.AsGroups }),
		list("source_ips", func(e *audit.Event) []string { return e.SourceIPs }),
		free("agent", func(e *audit.Event) string { return e.Agent }),
		free("uri", func(e *audit.Event) string { return e.URI }),
		text("api_group", func(e *audit.Event) string { return e.APIGroup }),
		text("api_version", func(e *audit.Event) string { return e.APIVersion }),
		text("resource", func(e *audit.Event) string { return e.Resource }),
		text("subresource", func(e *audit.Event) string { return e.Subresource }),
		bloom(text("namespace", func(e *audit.Event) string { return e.Namespace })),
		bloom(free("name", func(e *audit.Event) string { return e.Name })),
		bloom(free("object_uid", func(e *audit.Event) string { return e.ObjectUID })),
		{name: "code", node: parquet.Leaf(parquet.Int32Type), enc: &parquet.RLEDictionary, bounds: true, integer: func(e *audit.Event) int64 { return int64(e.Code) }},
		free("reason", func(e *audit.Event) string { return e.Reason }),
		free("message", func(e *audit.Event) string { return e.Message }),
		text("decision", func(e *audit.Event) string { return e.Decision }),
		free("decision_reason", func(e *audit.Event) string { return e.DecisionReason }),
		delta("latency_us", long, func(e *audit.Event) int64 { return e.LatencyUS }),
		free("credential_id", func(e *audit.Event) string { return e.CredentialID }),
		free("pod", func(e *audit.Event) string { return e.Pod }),
		{name: "truncated", node: boolean, enc: &parquet.Plain, bounds: true, flag: func(e *audit.Event) bool { return e.Truncated }},
		{name: "final", node: boolean, enc: &parquet.Plain, bounds: true, flag: func(e *audit.Event) bool { return e.Final }},
		// Bytes, not text: a line may be no UTF-8, and readers refuse a whole column for one such STRING.
		{name: "raw", node: parquet.Leaf(unhurried{parquet.ByteArrayType}), enc: &parquet.Plain, text: func(e *audit.Event) string { return e.Raw }},
	}
}

// fill appends the column's Parquet values of e to v.
func (c *column) fill(v []parquet.Value, e *audit.Event, index int) []parquet.Value {
	switch {
	case c.text != nil:
		return append(v, textValue(c.text(e)))
	case c.integer != nil:
		n := c.integer(e)
		if c.node.Type().Kind() == parquet.Int32 {
			return append(v, parquet.Int32Value(int32(n)))
		}
		return append(v, parquet.Int64Value(n))
	case c.flag != nil:
		return append(v, parquet.BooleanValue(c.flag(e)))
	}
	list := c.texts(e)
	if len(list) == 0 {
		return append(v, parquet.Value{}.Level(0, 0, index))
	}
	for i, s := range list {
		v = append(v, textValue(validText(s)).Level(min(i, 1), 1, index))
	}
	return v
}

// validText is s as a STRING may hold it. Columns are valid already but for what
// a person or a path named, such as the source.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// textValue borrows s: the column buffers copy it.
func textValue(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// schemaOf builds the schema. Unlike parquet.Group it keeps the order of columns.
func schemaOf(cols []column, codec func(name string) compress.Codec) *parquet.Schema {
	root := make(parquet.Group, len(cols))
	order := make([]string, len(cols))
	for i := range cols {
		c := &cols[i]
		n := parquet.Encoded(c.node, c.enc)
		n = parquet.Compressed(n, codec(c.name))
		if c.list {
			n = parquet.List(n)
		}
		root[c.name], order[i] = n, c.name
	}
	return parquet.NewSchema("event", &orderedGroup{root, order})
}

type orderedGroup struct {
	parquet.Group
	order []string
}

func (g *orderedGroup) Fields() []parquet.Field {
	by := make(map[string]parquet.Field, len(g.order))
	for _, f := range g.Group.Fields() {
		by[f.Name()] = f
	}
	fields := make([]parquet.Field, len(g.order))
	for i, name := range g.order {
		fields[i] = by[name]
	}
	return fields
}

// unhurried is a type whose column buffers do not say how full they are, so that
// pages are cut where segmentWriter wants them. The writer's own limit cannot be
// set for one column, and each column would allocate as much up front.
type unhurried struct{ parquet.Type }

func (t unhurried) NewColumnBuffer(index, values int) parquet.ColumnBuffer {
	return unhurriedBuffer{t.Type.NewColumnBuffer(index, values)}
}

type unhurriedBuffer struct{ parquet.ColumnBuffer }

func (unhurriedBuffer) Size() int64 { return 0 }

// leafPath is a column's path inside the file.
func (c *column) leafPath() []string {
	if c.list {
		return []string{c.name, "list", "element"}
	}
	return []string{c.name}
}

// zstdCodec is zstd at a level of our choice; encoders and decoders are kept for reuse.
type zstdCodec struct {
	level    zstd.EncoderLevel
	window   int
	pool     sync.Pool
	decoders sync.Pool
}

func (c *zstdCodec) String() string                            { return "ZSTD" }
func (c *zstdCodec) CompressionCodec() format.CompressionCodec { return format.Zstd }

func (c *zstdCodec) Encode(dst, src []byte) ([]byte, error) {
	e, _ := c.pool.Get().(*zstd.Encoder)
	if e == nil {
		opts := []zstd.EOption{
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(c.level),
			zstd.WithZeroFrames(true), zstd.WithEncoderCRC(true), zstd.WithLowerEncoderMem(true),
		}
		if c.window > 0 {
			opts = append(opts, zstd.WithWindowSize(c.window))
		}
		var err error
		if e, err = zstd.NewWriter(nil, opts...); err != nil {
			return nil, err
		}
	}
	dst = e.EncodeAll(src, dst[:0])
	c.pool.Put(e)
	return dst, nil
}

// Decode is used while writing: Bloom filters are made of pages that are encoded already.
func (c *zstdCodec) Decode(dst, src []byte) ([]byte, error) {
	d, _ := c.decoders.Get().(*zstd.Decoder)
	if d == nil {
		var err error
		if d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	defer c.decoders.Put(d)
	return d.DecodeAll(src, dst[:0])
}
