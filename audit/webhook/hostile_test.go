package webhook

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// TestReceiveReservesForLargeItems: the room for an item that is larger than a window comes on top
// of the room for what is before it, never instead of it.
func TestReceiveReservesForLargeItems(t *testing.T) {
	for _, size := range []int{1 << 20, 3 << 20} {
		var least int64 = 1 << 60
		var r *Receiver
		r = receiver(t, ReceiverOptions{Append: func(ctx context.Context, p Piece) (Taken, error) {
			least = min(least, r.Stats().InFlight)
			return (&memory{}).append(ctx, p)
		}})
		list := eventList(append(events(t, 20, size), events(t, 20_000, 1000)...))
		if w := post(r, list); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if want := int64(windowBytes + 2*pieceBytes); least < want {
			t.Errorf("items of %d bytes: %d bytes are reserved, it holds %d and more", size, least, want)
		}
		if n := r.Stats().InFlight; n != 0 {
			t.Errorf("%d bytes are never given back", n)
		}
	}
}

// TestReceiveLongVersion: each item gets the list's apiVersion, which therefore must be short.
func TestReceiveLongVersion(t *testing.T) {
	r := receiver(t, ReceiverOptions{Append: (&memory{}).append})
	w := post(r, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1`+strings.Repeat("1", 8<<20)+`","items":[`+strings.Repeat("{},", 900)+`{}]}`)
	s := statusIn(t, w)
	if w.Code != http.StatusBadRequest || r.Stats().Bad > 0 || !strings.Contains(s.Message, "apiVersion") || len(s.Message) > 1000 {
		t.Errorf("%d, %d bad items, %d bytes of message", w.Code, r.Stats().Bad, len(s.Message))
	}
}
