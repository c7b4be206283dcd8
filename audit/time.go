package audit

import "time"

// parseTime reads an RFC 3339 time with any fraction and offset. It takes what
// time.Time.UnmarshalText takes, which is a little more than RFC 3339 (a comma
// before the fraction). What is finer than a microsecond is dropped. The zero
// time.Time, the first moment of the year 1, is 0.
func parseTime(s string) (Time, bool) {
	if t, ok := parseUsual(s); ok {
		return t, true
	}
	var t time.Time
	if t.UnmarshalText([]byte(s)) != nil {
		return 0, false
	}
	if t.IsZero() {
		return 0, true
	}
	return TimeOf(t), true
}

// parseUsual is parseTime for all that is strictly RFC 3339, which is much faster.
func parseUsual(s string) (Time, bool) {
	// 2026-11-22T19:44:31.014243Z
	if len(s) < len("2006-01-02T15:04:05Z") ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	year := two(s, 0)*100 + two(s, 2)
	month, day := two(s, 5), two(s, 8)
	hour, minute, second := two(s, 11), two(s, 14), two(s, 17)
	if two(s, 0)|two(s, 2)|month|day|hour|minute|second < 0 ||
		month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	s = s[19:]
	micros := int64(0)
	if s[0] == '.' {
		k := 1
		for unit := int64(100_000); k < len(s) && s[k]-'0' <= 9; k++ {
			micros += int64(s[k]-'0') * unit
			unit /= 10
		}
		if k == 1 || k == len(s) {
			return 0, false
		}
		s = s[k:]
	}
	secs := days(year, month, day)*86400 + int64(hour*3600+minute*60+second)
	if s != "Z" {
		if len(s) != len("+00:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
			return 0, false
		}
		h, m := two(s, 1), two(s, 4)
		if h|m < 0 || h > 23 || m > 59 {
			return 0, false
		}
		offset := int64(h*3600 + m*60)
		if s[0] == '-' {
			offset = -offset
		}
		secs -= offset
	}
	t := Time(secs*1_000_000 + micros)
	if t == yearOne {
		t = 0
	}
	return t, true
}

// yearOne is the zero time.Time, 0001-01-01T00:00:00Z.
const yearOne Time = -62_135_596_800_000_000

// appendTime appends t in quotes as [Time.String] has it, unless its year has not four digits.
func appendTime(dst []byte, t Time) (_ []byte, ok bool) {
	secs, micros := int64(t)/1_000_000, int64(t)%1_000_000
	if micros < 0 {
		secs, micros = secs-1, micros+1_000_000
	}
	// The inverse of days, for years from 0: day 0 is the first of March of the year -400.
	const (
		era    = 146097
		yearM4 = 719468 + era
	)
	day, sec := secs/86400, secs%86400
	if sec < 0 {
		day, sec = day-1, sec+86400
	}
	if day += yearM4; day < 0 {
		return dst, false
	}
	inEra := day % era
	y := (inEra - inEra/1460 + inEra/36524 - inEra/146096) / 365
	inYear := inEra - (365*y + y/4 - y/100)
	m := (5*inYear + 2) / 153
	d := inYear - (153*m+2)/5 + 1
	y += day/era*400 - 400
	if m += 3; m > 12 {
		m, y = m-12, y+1
	}
	if y < 0 || y > 9999 {
		return dst, false
	}
	const form = `"0000-00-00T00:00:00.000000Z"`
	n := len(dst)
	dst = append(dst, form...)
	b := dst[n : n+len(form)]
	put2(b[1:], y/100)
	put2(b[3:], y%100)
	put2(b[6:], m)
	put2(b[9:], d)
	put2(b[12:], sec/3600)
	put2(b[15:], sec/60%60)
	put2(b[18:], sec%60)
	put2(b[21:], micros/10_000)
	put2(b[23:], micros/100%100)
	put2(b[25:], micros%100)
	return dst, true
}

func put2(b []byte, n int64) {
	b[0], b[1] = '0'+byte(n/10), '0'+byte(n%10)
}

// two is the number in the two digits at k, or negative.
func two(s string, k int) int {
	a, b := s[k]-'0', s[k+1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

func daysIn(year, month int) int {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	}
	return 31
}

// days counts from 1970-01-01. It takes years as beginning in March, so that a
// leap day is a year's last, in eras of 400 years (146,097 days).
func days(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	year += 400 // no era is negative
	era, y := year/400, year%400
	inYear := (153*(month-3)+2)/5 + day - 1
	return int64(era*146097 + y*365 + y/4 - y/100 + inYear - 719468 - 146097)
}
