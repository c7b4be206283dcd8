package logfile

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ktrail/ktrail/audit"
)

// TestBadItems: an item that is no event does not keep out those behind it, however
// the stream comes.
func TestBadItems(t *testing.T) {
	event := func(i int) string {
		return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%d"}`, i)
	}
	for _, c := range []struct{ name, doc, want string }{
		{"null in an array", "[null," + event(1) + "," + event(2) + "]", "bad null|1|2"},
		{"null in an EventList", `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[null,{"auditID":"1"},null,{"auditID":"2"}]}`, "bad null|1|bad null|2"},
		{"text, a number, a list of texts", `["a]\",{",-1.5e3,["x"],` + event(1) + "]" + event(2), `bad "a]\",{"|bad -1.5e3|bad "x"|1|2`},
		{"deep arrays", strings.Repeat("[", 9) + event(1) + strings.Repeat("]", 9) + event(2), "bad [" + event(1) + "]|2"},
		{"no JSON in a list", "[\x01," + event(1) + "]\n" + event(2), "bad \x01," + event(1) + "]|2"},
	} {
		for _, slow := range []bool{false, true} {
			var r io.Reader = strings.NewReader(c.doc)
			if slow {
				r = iotest.OneByteReader(r)
			}
			var e audit.Event
			s := NewSplitter(r, SplitOptions{Decode: func(b []byte) error { return audit.Decode(b, &e) }})
			var got []string
			for {
				rec, err := s.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(c.name, err)
				}
				if rec.Kind == Bad {
					got = append(got, "bad "+string(rec.Line))
				} else {
					got = append(got, e.AuditID)
				}
			}
			if got := strings.Join(got, "|"); got != c.want {
				t.Errorf("%s, slow %v: got %s\nwant %s", c.name, slow, got, c.want)
			}
		}
	}
}
