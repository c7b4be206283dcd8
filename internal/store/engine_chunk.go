//go:build cgo

package store

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// chunk is a window on up to 2048 rows of a result, read in place: its strings
// are valid until the next one is set. A getter's type must be the column's.
type chunk struct {
	n     int
	cols  []vector
	heads []string
	types []duckdb.LogicalType
}

// vector is DuckDB's memory of one column of a chunk.
type vector struct {
	vec   duckdb.Vector
	data  unsafe.Pointer
	valid *uint64 // bit mask; nil: all are
	child *vector // of a list
}

// stringT is duckdb_string_t: 12 bytes or less stand inside it.
type stringT struct {
	length uint32
	prefix [4]byte
	ptr    *byte
}

type listEntry struct{ offset, length uint64 }

func newChunk(res *duckdb.Result) *chunk {
	n := int(duckdb.ColumnCount(res))
	c := &chunk{cols: make([]vector, n), heads: make([]string, n), types: make([]duckdb.LogicalType, n)}
	for i := range n {
		c.heads[i] = duckdb.ColumnName(res, duckdb.IdxT(i))
		c.types[i] = duckdb.ColumnLogicalType(res, duckdb.IdxT(i))
	}
	return c
}

func (c *chunk) destroy() {
	for i := range c.types {
		duckdb.DestroyLogicalType(&c.types[i])
	}
}

func (c *chunk) set(data duckdb.DataChunk) {
	c.n = int(duckdb.DataChunkGetSize(data))
	for i := range c.cols {
		c.cols[i] = viewVector(duckdb.DataChunkGetVector(data, duckdb.IdxT(i)))
		if duckdb.GetTypeId(c.types[i]) == duckdb.TypeList {
			child := viewVector(duckdb.ListVectorGetChild(c.cols[i].vec))
			c.cols[i].child = &child
		}
	}
}

func viewVector(v duckdb.Vector) vector {
	return vector{vec: v, data: duckdb.VectorGetData(v), valid: (*uint64)(duckdb.VectorGetValidity(v))}
}

func (v *vector) null(row int) bool {
	if v.valid == nil {
		return false
	}
	word := *(*uint64)(unsafe.Add(unsafe.Pointer(v.valid), row/64*8))
	return word>>(row%64)&1 == 0
}

func cell[T any](v *vector, row int) T {
	var zero T
	return *(*T)(unsafe.Add(v.data, uintptr(row)*unsafe.Sizeof(zero)))
}

func (v *vector) text(row int) string {
	s := (*stringT)(unsafe.Add(v.data, uintptr(row)*unsafe.Sizeof(stringT{})))
	if s.length <= 12 {
		return unsafe.String(&s.prefix[0], int(s.length))
	}
	return unsafe.String(s.ptr, int(s.length))
}

func (c *chunk) names() []string          { return c.heads }
func (c *chunk) flag(col, row int) bool   { return cell[bool](&c.cols[col], row) }
func (c *chunk) int32(col, row int) int32 { return cell[int32](&c.cols[col], row) }
func (c *chunk) text(col, row int) string { return c.cols[col].text(row) }

// integer reads a BIGINT or a timestamp's microseconds.
func (c *chunk) integer(col, row int) int64 { return cell[int64](&c.cols[col], row) }

// number reads an INTEGER or a BIGINT.
func (c *chunk) number(col, row int) int64 {
	if duckdb.GetTypeId(c.types[col]) == duckdb.TypeInteger {
		return int64(c.int32(col, row))
	}
	return c.integer(col, row)
}

// texts appends the members of a list of strings to to.
func (c *chunk) texts(col, row int, to []string) []string {
	v := &c.cols[col]
	e := cell[listEntry](v, row)
	for i := range e.length {
		to = append(to, v.child.text(int(e.offset+i)))
	}
	return to
}

// value is a cell of any type as query.SQLRow describes, copied.
func (c *chunk) value(col, row int) (any, error) {
	v, err := valueOf(&c.cols[col], c.types[col], row)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.heads[col], err)
	}
	return v, nil
}

func valueOf(v *vector, t duckdb.LogicalType, row int) (any, error) {
	if v.null(row) {
		return nil, nil
	}
	switch id := duckdb.GetTypeId(t); id {
	case duckdb.TypeSQLNull:
		return nil, nil
	case duckdb.TypeBoolean:
		return cell[bool](v, row), nil
	case duckdb.TypeTinyInt:
		return int64(cell[int8](v, row)), nil
	case duckdb.TypeSmallInt:
		return int64(cell[int16](v, row)), nil
	case duckdb.TypeInteger:
		return int64(cell[int32](v, row)), nil
	case duckdb.TypeBigInt:
		return cell[int64](v, row), nil
	case duckdb.TypeUTinyInt:
		return uint64(cell[uint8](v, row)), nil
	case duckdb.TypeUSmallInt:
		return uint64(cell[uint16](v, row)), nil
	case duckdb.TypeUInteger:
		return uint64(cell[uint32](v, row)), nil
	case duckdb.TypeUBigInt:
		return cell[uint64](v, row), nil
	case duckdb.TypeHugeInt, duckdb.TypeUHugeInt:
		return number(wide(v, row, id == duckdb.TypeHugeInt)), nil
	case duckdb.TypeDecimal:
		return decimal(v, t, row), nil
	case duckdb.TypeFloat:
		return float64(cell[float32](v, row)), nil
	case duckdb.TypeDouble:
		return cell[float64](v, row), nil
	case duckdb.TypeVarchar:
		return strings.Clone(v.text(row)), nil
	case duckdb.TypeBlob:
		return []byte(v.text(row)), nil
	case duckdb.TypeTimestamp, duckdb.TypeTimestampTZ:
		return instant(cell[int64](v, row), time.Microsecond), nil
	case duckdb.TypeTimestampS:
		return instant(cell[int64](v, row), time.Second), nil
	case duckdb.TypeTimestampMS:
		return instant(cell[int64](v, row), time.Millisecond), nil
	case duckdb.TypeTimestampNS:
		return instant(cell[int64](v, row), time.Nanosecond), nil
	case duckdb.TypeDate:
		return time.Unix(int64(cell[int32](v, row))*86400, 0).UTC().Format(time.DateOnly), nil
	case duckdb.TypeTime:
		return time.UnixMicro(cell[int64](v, row)).UTC().Format("15:04:05.999999"), nil
	case duckdb.TypeInterval:
		return interval(v, row), nil
	case duckdb.TypeUUID:
		u := cell[[2]uint64](v, row)
		hi, lo := u[1]^1<<63, u[0]
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff), nil
	case duckdb.TypeEnum:
		return enum(v, t, row), nil
	case duckdb.TypeList:
		e := cell[listEntry](v, row)
		item := duckdb.ListTypeChildType(t)
		defer duckdb.DestroyLogicalType(&item)
		return items(duckdb.ListVectorGetChild(v.vec), item, int(e.offset), int(e.length))
	case duckdb.TypeArray:
		n := int(duckdb.ArrayTypeArraySize(t))
		item := duckdb.ArrayTypeChildType(t)
		defer duckdb.DestroyLogicalType(&item)
		return items(duckdb.ArrayVectorGetChild(v.vec), item, row*n, n)
	case duckdb.TypeStruct:
		return structure(v, t, row)
	case duckdb.TypeMap:
		return mapping(v, t, row)
	}
	return nil, sqlMistake("its type cannot be shown; CAST it AS VARCHAR")
}

// wide reads a 128-bit integer.
func wide(v *vector, row int, signed bool) *big.Int {
	w := cell[[2]uint64](v, row)
	n := new(big.Int)
	if signed {
		n.SetInt64(int64(w[1]))
	} else {
		n.SetUint64(w[1])
	}
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(w[0]))
}

// number is n as the smallest type that holds it; beyond 64 bits it is text.
func number(n *big.Int) any {
	switch {
	case n.IsInt64():
		return n.Int64()
	case n.IsUint64():
		return n.Uint64()
	}
	return n.String()
}

// decimal is a float64 where that is exact to the last digit, else text.
func decimal(v *vector, t duckdb.LogicalType, row int) any {
	n := new(big.Int)
	switch duckdb.DecimalInternalType(t) {
	case duckdb.TypeSmallInt:
		n.SetInt64(int64(cell[int16](v, row)))
	case duckdb.TypeInteger:
		n.SetInt64(int64(cell[int32](v, row)))
	case duckdb.TypeBigInt:
		n.SetInt64(cell[int64](v, row))
	default:
		n = wide(v, row, true)
	}
	scale := int(duckdb.DecimalScale(t))
	if n.IsInt64() && n.CmpAbs(big.NewInt(1<<53)) <= 0 {
		return float64(n.Int64()) / math.Pow10(scale)
	}
	s := n.String()
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if len(s) <= scale {
		s = strings.Repeat("0", scale+1-len(s)) + s
	}
	if scale == 0 {
		return sign + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

// instant is a timestamp; the two ends of the range stand for infinity.
func instant(n int64, unit time.Duration) any {
	switch n {
	case math.MaxInt64:
		return "infinity"
	case -math.MaxInt64:
		return "-infinity"
	}
	switch unit {
	case time.Second:
		return time.Unix(n, 0).UTC()
	case time.Millisecond:
		return time.UnixMilli(n).UTC()
	case time.Nanosecond:
		return time.Unix(0, n).UTC()
	}
	return time.UnixMicro(n).UTC()
}

func interval(v *vector, row int) string {
	i := cell[struct {
		months, days int32
		micros       int64
	}](v, row)
	var parts []string
	if i.months != 0 {
		parts = append(parts, strconv.Itoa(int(i.months))+" months")
	}
	if i.days != 0 {
		parts = append(parts, strconv.Itoa(int(i.days))+" days")
	}
	if i.micros != 0 || len(parts) == 0 {
		parts = append(parts, (time.Duration(i.micros) * time.Microsecond).String())
	}
	return strings.Join(parts, " ")
}

func enum(v *vector, t duckdb.LogicalType, row int) string {
	var i uint64
	switch duckdb.EnumInternalType(t) {
	case duckdb.TypeUTinyInt:
		i = uint64(cell[uint8](v, row))
	case duckdb.TypeUSmallInt:
		i = uint64(cell[uint16](v, row))
	default:
		i = uint64(cell[uint32](v, row))
	}
	return duckdb.EnumDictionaryValue(t, duckdb.IdxT(i))
}

func items(vec duckdb.Vector, t duckdb.LogicalType, from, n int) (any, error) {
	v := viewVector(vec)
	list := make([]any, n)
	for i := range list {
		x, err := valueOf(&v, t, from+i)
		if err != nil {
			return nil, err
		}
		list[i] = x
	}
	return list, nil
}

func structure(v *vector, t duckdb.LogicalType, row int) (any, error) {
	m := map[string]any{}
	for i := range duckdb.StructTypeChildCount(t) {
		ft := duckdb.StructTypeChildType(t, i)
		f := viewVector(duckdb.StructVectorGetChild(v.vec, i))
		x, err := valueOf(&f, ft, row)
		duckdb.DestroyLogicalType(&ft)
		if err != nil {
			return nil, err
		}
		m[duckdb.StructTypeChildName(t, i)] = x
	}
	return m, nil
}

// mapping reads a MAP, which is a list of structs of a key and a value.
func mapping(v *vector, t duckdb.LogicalType, row int) (any, error) {
	e := cell[listEntry](v, row)
	entries := duckdb.ListVectorGetChild(v.vec)
	keys, values := viewVector(duckdb.StructVectorGetChild(entries, 0)), viewVector(duckdb.StructVectorGetChild(entries, 1))
	kt, vt := duckdb.MapTypeKeyType(t), duckdb.MapTypeValueType(t)
	defer duckdb.DestroyLogicalType(&kt)
	defer duckdb.DestroyLogicalType(&vt)
	m := make(map[string]any, e.length)
	for i := range int(e.length) {
		k, err := valueOf(&keys, kt, int(e.offset)+i)
		if err != nil {
			return nil, err
		}
		x, err := valueOf(&values, vt, int(e.offset)+i)
		if err != nil {
			return nil, err
		}
		m[fmt.Sprint(k)] = x
	}
	return m, nil
}
