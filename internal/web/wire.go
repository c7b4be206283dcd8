package web

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// wireEvent is an event in an answer. JSON cannot carry a line that is not
// UTF-8; such a line is sent as base64 so that it arrives byte for byte.
type wireEvent struct {
	*audit.Event
	RawBase64 []byte `json:"raw_base64,omitempty"`
}

func sendable(e *audit.Event) wireEvent {
	if utf8.ValidString(e.Raw) {
		return wireEvent{Event: e}
	}
	bare := *e
	bare.Raw = ""
	return wireEvent{Event: &bare, RawBase64: []byte(e.Raw)}
}

func (w *wireEvent) event() *audit.Event {
	if w.Event == nil {
		w.Event = &audit.Event{}
	}
	if len(w.RawBase64) > 0 {
		w.Raw = string(w.RawBase64)
	}
	return w.Event
}

// eventLine is one line of a streamed search: exactly one field is set.
type eventLine struct {
	Event *wireEvent          `json:"event,omitempty"`
	End   *query.SearchAnswer `json:"end,omitempty"`
	Error *wireError          `json:"error,omitempty"`
}

// sqlLine is one line of a streamed SQL answer: exactly one field is set, and
// columns come before the first row.
type sqlLine struct {
	Columns []string   `json:"columns,omitempty"`
	Row     []sqlValue `json:"row,omitempty"`
	End     *sqlEnd    `json:"end,omitempty"`
	Error   *wireError `json:"error,omitempty"`
}

type sqlEnd struct {
	Warnings query.Warnings `json:"warnings,omitempty"`
}

// sqlValue is one value of an SQL row, so that its type survives JSON:
//
//	null, true, "text", [list]   as they are
//	12                           int64 up to 2^53, {"int": "9007199254740993"} beyond
//	1.5, 2.0                     float64, always with a point or an exponent
//	{"uint": "7"}                uint64
//	{"float": "NaN"}             float64 that JSON has no number for
//	{"time": "2026-11-22T..."}   RFC 3339 with nanoseconds
//	{"bytes": "base64"}
//	{"map": {...}}               its values are sqlValues
//	{"text": "..."}              any other type, printed
type sqlValue struct{ v any }

// exact is the largest integer that every JSON reader keeps.
const exact = 1 << 53

// MarshalJSON implements [json.Marshaler].
func (s sqlValue) MarshalJSON() ([]byte, error) {
	tagged := func(key, text string) ([]byte, error) { return json.Marshal(map[string]string{key: text}) }
	switch v := s.v.(type) {
	case nil, bool:
		return json.Marshal(v)
	case string:
		if !utf8.ValidString(v) {
			return json.Marshal(map[string][]byte{"raw": []byte(v)})
		}
		return json.Marshal(v)
	case int64:
		return marshalInt(v)
	case int32:
		return marshalInt(int64(v))
	case int16:
		return marshalInt(int64(v))
	case int8:
		return marshalInt(int64(v))
	case int:
		return marshalInt(int64(v))
	case uint64:
		return tagged("uint", strconv.FormatUint(v, 10))
	case float64:
		return marshalFloat(v)
	case float32:
		return marshalFloat(float64(v))
	case time.Time:
		return tagged("time", v.Format(time.RFC3339Nano))
	case []byte:
		return json.Marshal(map[string][]byte{"bytes": v})
	case []any:
		list := make([]sqlValue, len(v))
		for i := range v {
			list[i] = sqlValue{v[i]}
		}
		return json.Marshal(list)
	case map[string]any:
		m := make(map[string]sqlValue, len(v))
		for k := range v {
			m[k] = sqlValue{v[k]}
		}
		return json.Marshal(map[string]any{"map": m})
	default:
		return tagged("text", fmt.Sprint(v))
	}
}

func marshalInt(v int64) ([]byte, error) {
	if v > exact || v < -exact {
		return json.Marshal(map[string]string{"int": strconv.FormatInt(v, 10)})
	}
	return strconv.AppendInt(nil, v, 10), nil
}

func marshalFloat(v float64) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(map[string]string{"float": strconv.FormatFloat(v, 'g', -1, 64)})
	}
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return []byte(text), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *sqlValue) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case 'n':
		s.v = nil
		return nil
	case 't', 'f':
		s.v = data[0] == 't'
		return nil
	case '"':
		var text string
		err := json.Unmarshal(data, &text)
		s.v = text
		return err
	case '[':
		var list []sqlValue
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		values := make([]any, len(list))
		for i := range list {
			values[i] = list[i].v
		}
		s.v = values
		return nil
	case '{':
		return s.unmarshalTagged(data)
	}
	text := string(data)
	var err error
	if strings.ContainsAny(text, ".eE") {
		s.v, err = strconv.ParseFloat(text, 64)
	} else {
		s.v, err = strconv.ParseInt(text, 10, 64)
	}
	return err
}

func (s *sqlValue) unmarshalTagged(data []byte) error {
	var tagged struct {
		Int, Uint, Float, Text *string
		Time                   *time.Time
		Bytes, Raw             *[]byte
		Map                    map[string]sqlValue
	}
	if err := json.Unmarshal(data, &tagged); err != nil {
		return err
	}
	var err error
	switch {
	case tagged.Int != nil:
		s.v, err = strconv.ParseInt(*tagged.Int, 10, 64)
	case tagged.Uint != nil:
		s.v, err = strconv.ParseUint(*tagged.Uint, 10, 64)
	case tagged.Float != nil:
		s.v, err = strconv.ParseFloat(*tagged.Float, 64)
	case tagged.Time != nil:
		s.v = *tagged.Time
	case tagged.Bytes != nil:
		s.v = *tagged.Bytes
	case tagged.Raw != nil:
		s.v = string(*tagged.Raw)
	case tagged.Text != nil:
		s.v = *tagged.Text
	case tagged.Map != nil:
		m := make(map[string]any, len(tagged.Map))
		for k, v := range tagged.Map {
			m[k] = v.v
		}
		s.v = m
	default:
		err = fmt.Errorf("decode value %.40s: unknown type", data)
	}
	return err
}

// wireRow is a row's values.
func wireRow(values []any) []sqlValue {
	out := make([]sqlValue, len(values))
	for i, v := range values {
		out[i] = sqlValue{v}
	}
	return out
}
