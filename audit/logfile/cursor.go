package logfile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// cursor is where a log is read up to, as JSON:
//
//	v     1
//	file  base name of the file when it was last seen, for people
//	at    mark of that file: skip.n.sum.offset.tail[+], see mark.String
//	time  stageTimestamp of the last event before, RFC 3339; absent if none
//	done  marks of other files that are finished ("+": to be continued)
//	old   fingerprint sums, 12 characters each, of finished files further back
//
// done and old list only files that were still in the directory when they were
// last looked at, and at most maxDone.
type cursor struct {
	V    int      `json:"v"`
	File string   `json:"file,omitempty"`
	At   string   `json:"at,omitempty"`
	Time string   `json:"time,omitempty"`
	Done []string `json:"done,omitempty"`
	Old  string   `json:"old,omitempty"`
}

const (
	cursorVersion = 1
	// maxDone bounds the cursor; the API server keeps 100 files by default.
	maxDone = 1000
	// fullDone is how many finished files keep a whole mark, by which one that
	// still grows is noticed.
	fullDone = 4
	sumSize  = 12
)

// Cursor returns the place after the last record handed out. last is the time of
// the last event up to there, 0 if none is known; a later gap begins with it.
func (r *Reader) Cursor(last audit.Time) json.RawMessage {
	c := cursor{V: cursorVersion, File: r.prevName}
	at, ok := r.prev, r.hasPrev
	if r.cur != nil && (r.cur.used || !ok) && r.cur.consumed() > 0 {
		at, ok = r.cur.mark(), true
		c.File = baseName(r.cur.path)
	}
	if !ok {
		return nil
	}
	c.At = at.String()
	if last != 0 {
		c.Time = last.String()
	}
	for _, m := range r.done {
		if m.fp != at.fp {
			c.Done = append(c.Done, m.String())
		}
	}
	c.Old = strings.Join(r.old, "")
	b, err := json.Marshal(c)
	if err != nil {
		return nil // strings and ints only: cannot be
	}
	return b
}

// LastEvent is the time that the cursor given to NewReader carried.
func (r *Reader) LastEvent() audit.Time { return r.lastEvent }

func (r *Reader) restore(raw json.RawMessage) error {
	var c cursor
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("read cursor of %s: %w", r.path, err)
	}
	if c.V != cursorVersion {
		return fmt.Errorf("read cursor of %s: its version is %d, this program knows %d: use a newer ktrail", r.path, c.V, cursorVersion)
	}
	at, err := parseMark(c.At)
	if err != nil {
		return fmt.Errorf("read cursor of %s: %w", r.path, err)
	}
	if c.Time != "" {
		t, err := time.Parse(time.RFC3339, c.Time)
		if err != nil {
			return fmt.Errorf("read cursor of %s: %w", r.path, err)
		}
		r.lastEvent = audit.TimeOf(t)
	}
	for _, s := range c.Done {
		m, err := parseMark(s)
		if err != nil {
			return fmt.Errorf("read cursor of %s: %w", r.path, err)
		}
		r.done = append(r.done, m)
	}
	for s := c.Old; len(s) >= sumSize; s = s[sumSize:] {
		r.old = append(r.old, s[:sumSize])
	}
	r.prev, r.hasPrev, r.prevName = at, true, c.File
	return nil
}

// finish notes that m is read. Of files further back only the sum is kept.
func (r *Reader) finish(m mark) {
	r.done = slices.DeleteFunc(r.done, func(d mark) bool { return d.fp == m.fp })
	if m.off > 0 {
		r.done = append(r.done, m)
	}
	for i := 0; len(r.done) > fullDone && i < len(r.done)-fullDone; {
		d := r.done[i]
		if d.open || d.fp.skip != 0 || d.fp.n != headSize {
			i++
			continue
		}
		r.old = append(r.old, d.fp.sum)
		r.done = slices.Delete(r.done, i, i+1)
	}
	r.old = r.old[max(0, len(r.old)-maxDone):]
	r.done = r.done[max(0, len(r.done)-maxDone):]
}

// forget drops what is known of files that are no longer in set, but for the last ones.
func (r *Reader) forget(set []member) {
	r.old = slices.DeleteFunc(r.old, func(s string) bool {
		return !slices.ContainsFunc(set, func(m member) bool { return m.head.full == s })
	})
	if n := len(r.done) - fullDone; n > 0 {
		kept := slices.DeleteFunc(slices.Clone(r.done[:n]), func(d mark) bool {
			return !slices.ContainsFunc(set, func(m member) bool { return d.fp.matches(m.head) })
		})
		r.done = append(kept, r.done[n:]...)
	}
}
