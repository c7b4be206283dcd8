package compat

import (
	"net"
	"sync"
)

// wire is a listener whose connections are in memory: a server that closes one before it has read
// all takes nothing from its answer, as TCP would, so both sides' are always whole.
type wire struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), ended: make(chan struct{})} }

// loopback is an address of both ends.
var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443}

type wireConn struct{ net.Conn }

func (wireConn) RemoteAddr() net.Addr { return loopback }
func (wireConn) LocalAddr() net.Addr  { return loopback }

func (w *wire) dial() (net.Conn, error) {
	theirs, ours := net.Pipe()
	select {
	case w.conns <- wireConn{theirs}:
		return ours, nil
	case <-w.ended:
		return nil, net.ErrClosed
	}
}

// Accept implements [net.Listener].
func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.ended:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (w *wire) Close() error {
	w.once.Do(func() { close(w.ended) })
	return nil
}

// Addr implements [net.Listener].
func (*wire) Addr() net.Addr { return loopback }
