package query

import (
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// acceptedTimes is the end of every complaint about a time.
const acceptedTimes = `write 2h, 7d or 2w (ago), 2026-11-22T10:00, 2026-11-22T10:00:00Z, 2026-11-22, now, today or yesterday`

// dateLayouts are tried in order, read in the caller's location where they have no zone.
var dateLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04Z07:00",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02T15:04",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04",
	"2006-01-02",
}

// ParseTime reads a time as people write it: a duration ago (90s, 15m, 2h30m, 7d,
// 2w, "2h ago"), a date or time (RFC 3339; without a zone it is in loc), now, today
// or yesterday (their beginning in loc). "" is zero, which means unbounded.
// The error is a [*UsageError] that says what is accepted.
func ParseTime(s string, now time.Time, loc *time.Location) (audit.Time, error) {
	text := strings.TrimSpace(s)
	if loc == nil {
		loc = time.UTC
	}
	today := func(days int) audit.Time {
		y, m, d := now.In(loc).Date()
		return audit.TimeOf(time.Date(y, m, d+days, 0, 0, 0, 0, loc))
	}
	switch strings.ToLower(text) {
	case "":
		return 0, nil
	case "now":
		return audit.TimeOf(now), nil
	case "today":
		return today(0), nil
	case "yesterday":
		return today(-1), nil
	}
	if d, ok := parseAgo(text); ok {
		return audit.TimeOf(now.Add(-d)), nil
	}
	for _, layout := range dateLayouts {
		if t, err := time.ParseInLocation(layout, text, loc); err == nil {
			if t.Year() < 1970 {
				return 0, usagef("time %s is before 1970", quoteShort(s))
			}
			return audit.TimeOf(t), nil
		}
	}
	return 0, usagef("time %s is not understood: %s", quoteShort(s), acceptedTimes)
}

// units are those of [time.ParseDuration] that make sense here, and days and weeks.
var units = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// parseAgo reads 2h, 1d12h, -30m, "2h ago". A fraction is not accepted.
func parseAgo(s string) (time.Duration, bool) {
	s = strings.TrimSpace(strings.TrimSuffix(s, "ago"))
	s = strings.TrimPrefix(s, "-")
	var sum time.Duration
	if s == "" {
		return 0, false
	}
	for s != "" {
		i := 0
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
		}
		if i == 0 || i == len(s) {
			return 0, false
		}
		n, err := strconv.ParseInt(s[:i], 10, 32)
		unit := units[s[i]]
		if err != nil || unit == 0 {
			return 0, false
		}
		// A hundred years is more than any log has, and keeps the sum from overflowing.
		const most = 100 * 365 * 24 * time.Hour
		if time.Duration(n) > most/unit {
			return 0, false
		}
		sum += time.Duration(n) * unit
		if sum > most {
			return 0, false
		}
		s = s[i+1:]
	}
	return sum, true
}

// NewRange reads since and until, and refuses a range that ends before it begins.
func NewRange(since, until string, now time.Time, loc *time.Location) (Range, error) {
	from, err := ParseTime(since, now, loc)
	if err != nil {
		return Range{}, of("since", err)
	}
	to, err := ParseTime(until, now, loc)
	if err != nil {
		return Range{}, of("until", err)
	}
	r := Range{From: from, To: to}
	return r, of("until", r.validate())
}

func (r Range) validate() error {
	if r.From < 0 || r.To < 0 {
		return usagef("the range of time begins or ends before 1970")
	}
	if r.To != 0 && r.From >= r.To {
		return usagef("the range of time is empty: since %s is not before until %s", r.From, r.To)
	}
	return nil
}
