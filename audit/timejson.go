package audit

import (
	"fmt"
	"strconv"
)

// MarshalJSON writes t as [Time.String] does, and as a number of microseconds
// since 1970 if RFC 3339 has no form for its year: in 9999-12-31T23:59:59-12:00
// the offset leads beyond it.
func (t Time) MarshalJSON() ([]byte, error) {
	if year := t.Std().Year(); t != 0 && (year < 0 || year > 9999) {
		return strconv.AppendInt(nil, int64(t), 10), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes, any other RFC 3339 time, or a
// number of microseconds since 1970.
func (t *Time) UnmarshalJSON(b []byte) error {
	s := string(b)
	switch {
	case s == "null" || s == `""`:
		*t = 0
		return nil
	case len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"':
		v, ok := parseTime(s[1 : len(s)-1])
		if !ok {
			return fmt.Errorf("decode time: %s is no RFC 3339 time", s)
		}
		*t = v
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("decode time: %s is neither a string nor a number of microseconds", s)
	}
	*t = Time(n)
	return nil
}
