package audit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// TestTimes holds stageTimestamp against time.Time.UnmarshalText, for times and for
// texts that are nearly times.
func TestTimes(t *testing.T) {
	texts := []string{
		"2026-11-22T19:44:31.014243Z", "2026-11-22T19:44:31Z", "2026-11-22T19:44:31.9999999Z", "2026-11-22T19:44:31.5-07:30",
		"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000001Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z",
		"1969-12-31T23:59:59.999999Z", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
		"2026-11-22t19:44:31Z", "2026-11-22T19:44:31z", "2026-11-22T19:44:31,5Z", "2026-11-22 19:44:31Z", "2026-11-22T19:44:31.Z",
		"2026-11-22T19:44:60Z", "2026-11-22T24:00:00Z", "2026-13-22T19:44:31Z", "2026-00-22T19:44:31Z", "2026-11-00T19:44:31Z", "2026-11-31T19:44:31Z",
		"2026-11-22T19:44:31+24:00", "2026-11-22T19:44:31+23:60", "2026-11-22T19:44:31+23:59", "2026-11-22T19:44:31", "2026-11-22T19:44:31.5",
		"2026-11-22T9:44:31Z", "2026-11-22T19:44:31ZZ", "2026-11-22T19:44:31+01:00Z", "2026-11-22T19:44:31+0100", "", "Z", "+2026-11-22T19:44:31Z",
		"2026-11-22T19:44:31.123456789012345678901234567890Z",
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		at := time.Unix(r.Int64N(253_402_300_800+62_167_219_200)-62_167_219_200, r.Int64N(1e9)) // the years 0 to 9999
		zone := time.FixedZone("", (r.IntN(2*23*60)-23*60)*60)
		layout := []string{time.RFC3339, time.RFC3339Nano, "2006-01-02T15:04:05.000000Z07:00", "2006-01-02T15:04:05.0Z07:00"}[r.IntN(4)]
		texts = append(texts, at.In(zone).Format(layout), at.UTC().Format(layout))
	}
	good := 0
	for _, text := range texts {
		var want time.Time
		wantErr := want.UnmarshalText([]byte(text))
		var e audit.Event
		err := audit.Decode(fmt.Appendf(nil, `%s"stageTimestamp":%q}`, head, text), &e)
		if (err == nil) != (wantErr == nil) {
			t.Errorf("%q: got error %v, time has %v", text, err, wantErr)
			continue
		}
		if err != nil {
			continue
		}
		good++
		if want.IsZero() {
			if e.Time != 0 {
				t.Errorf("%q: got %d, want 0", text, e.Time)
			}
		} else if e.Time != audit.TimeOf(want) {
			t.Errorf("%q: got %s, want %s", text, e.Time, audit.TimeOf(want))
		}
	}
	if good < 9000 {
		t.Errorf("only %d of %d were times", good, len(texts))
	}
}
