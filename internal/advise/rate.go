package advise

import (
	"errors"
	"fmt"
	"io"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/logfile"
)

// Meter measures the traffic in audit logs.
type Meter struct {
	events, bytes, largest int64
	first, last            audit.Time
	// second and minute count the events of each; what is far behind is folded
	// into the busiest, so that a long log takes no more memory than a short one.
	second, minute map[int64]int64
	busiest        [2]int64
}

// behind is how many seconds and minutes may still get events: logs are not quite in order.
const behind = 7200

// Read takes in a log: JSON lines, lists or arrays, plain or compressed. What is
// no event is passed over.
func (m *Meter) Read(r io.Reader) error {
	if m.second == nil {
		m.second, m.minute = map[int64]int64{}, map[int64]int64{}
	}
	content, _, err := logfile.Decompress(r)
	if err != nil {
		return err
	}
	defer content.Close()
	var one audit.Batch // reused, so that an event costs no allocation
	s := logfile.NewSplitter(content, logfile.SplitOptions{Decode: func(line []byte) error {
		one.Reset()
		return one.Add(line)
	}})
	defer s.Close()
	for {
		rec, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Kind == logfile.Line {
			m.add(one.Events[0].Time, int64(len(rec.Line))+1)
		}
	}
}

func (m *Meter) add(t audit.Time, size int64) {
	if m.events == 0 || t < m.first {
		m.first = t
	}
	m.last = max(m.last, t)
	m.events++
	m.bytes += size
	m.largest = max(m.largest, size)
	for i, by := range []struct {
		counts map[int64]int64
		unit   int64
	}{{m.second, 1e6}, {m.minute, 60e6}} {
		at := int64(t) / by.unit
		by.counts[at]++
		m.busiest[i] = max(m.busiest[i], by.counts[at])
		if len(by.counts) > 2*behind {
			for k := range by.counts {
				if k < at-behind {
					delete(by.counts, k)
				}
			}
			if len(by.counts) > 2*behind { // not in order at all
				clear(by.counts)
			}
		}
	}
}

// Rate is the traffic that was read. A log of one moment has no rate.
func (m *Meter) Rate() (flags.Rate, error) {
	if m.events == 0 {
		return flags.Rate{}, errors.New("holds no audit event")
	}
	seconds := float64(m.last-m.first) / 1e6
	if m.events < 2 || seconds < 1 {
		return flags.Rate{}, fmt.Errorf("covers less than a second: too little for a rate")
	}
	return flags.Rate{
		PerSecond:     float64(m.events) / seconds,
		BusiestSecond: m.busiest[0], BusiestMinute: m.busiest[1],
		EventBytes: m.bytes / m.events, LargestEvent: m.largest,
	}, nil
}

// Events is how many events were read.
func (m *Meter) Events() int64 { return m.events }
