package app

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
)

// TestFewConns: what is over the number is closed, and one that leaves makes room.
func TestFewConns(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &fewConns{Listener: inner, most: 5, mostFrom: 2, log: slog.New(slog.DiscardHandler), from: map[netip.Addr]int{}}
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	closed := func(c net.Conn) {
		t.Helper()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("it is not closed")
		}
	}
	dial("127.0.0.1")
	first := <-accepted
	dial("127.0.0.1")
	<-accepted
	closed(dial("127.0.0.1"))
	for _, from := range []string{"127.0.0.2", "127.0.0.2", "127.0.0.3"} {
		dial(from)
		<-accepted
	}
	closed(dial("127.0.0.3"))
	if open, refused := l.state(); open != 5 || refused != 2 {
		t.Errorf("%d are open, %d were closed", open, refused)
	}
	for range 2 {
		_ = first.Close() // twice counts once
	}
	if _, ok := first.(interface{ CloseWrite() error }); !ok {
		t.Error("the server cannot close one half, and answers get lost")
	}
	dial("127.0.0.1")
	if c := <-accepted; c == nil {
		t.Fatal("there is no room again")
	}
	if open, _ := l.state(); open != 5 || len(l.from) != 3 {
		t.Errorf("%d are open, from %v", open, l.from)
	}
}
