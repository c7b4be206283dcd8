package webhook

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

// TestReceiveUnreadAnswer: who does not read its answer holds nothing for long.
func TestReceiveUnreadAnswer(t *testing.T) {
	list := eventList(events(t, 1, 10))
	synctest.Test(t, func(t *testing.T) {
		r := receiver(t, ReceiverOptions{Append: (&memory{}).append})
		client, server := net.Pipe() // what is written waits until it is read
		defer func() { _ = client.Close() }()
		began := time.Now()
		gone := make(chan struct{})
		s := &http.Server{Handler: r, ReadHeaderTimeout: time.Second, ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(gone)
			}
		}}
		go func() { _ = s.Serve(&only{server}) }()
		if _, err := fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(list), list); err != nil {
			t.Fatal(err)
		}
		select {
		case <-gone:
			if d := time.Since(began); d != timeout {
				t.Errorf("the connection is closed after %v", d)
			}
		case <-time.After(time.Hour):
			t.Error("the answer is still being written")
		}
	})
}

// only is a listener of one connection.
type only struct{ c net.Conn }

func (o *only) Accept() (net.Conn, error) {
	if o.c == nil {
		return nil, net.ErrClosed
	}
	c := o.c
	o.c = nil
	return c, nil
}

func (o *only) Close() error   { return nil }
func (o *only) Addr() net.Addr { return &net.TCPAddr{} }
