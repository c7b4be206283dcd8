package app

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// How many connections the webhook has at most, and how many of them from one address. An API
// server has one, or one for each batch that is under way where it cannot speak HTTP/2. Anybody can
// open more, before showing a certificate or a token, and each takes 40 KB and a file descriptor,
// which the store needs, too.
const (
	mostConns = 500
	mostFrom  = 100
)

// fewConns is a listener that closes connections over a number.
type fewConns struct {
	net.Listener
	most, mostFrom int
	log            *slog.Logger

	mu      sync.Mutex
	open    int
	from    map[netip.Addr]int
	refused int64
	logged  time.Time
}

// Accept implements [net.Listener].
func (l *fewConns) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		var peer netip.Addr
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			peer = a.AddrPort().Addr().Unmap()
		}
		if l.enter(peer) {
			return &fewConn{TCPConn: tcp, leave: sync.OnceFunc(func() { l.leave(peer) })}, nil
		}
		_ = c.Close() // whoever it is gets an error of its own
	}
}

func (l *fewConns) enter(peer netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open < l.most && l.from[peer] < l.mostFrom {
		l.open++
		l.from[peer]++
		return true
	}
	l.refused++
	if now := time.Now(); now.Sub(l.logged) >= time.Minute {
		l.logged = now
		l.log.Warn("webhook: too many connections, a new one is closed", slog.String("from", peer.String()),
			slog.Int("from_there", l.from[peer]), slog.Int("open", l.open), slog.Int64("closed_since_start", l.refused))
	}
	return false
}

func (l *fewConns) leave(peer netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[peer]--; l.from[peer] == 0 {
		delete(l.from, peer)
	}
}

// state tells the open connections, and how many were closed for being too many.
func (l *fewConns) state() (open int, refused int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.refused
}

// fewConn is one of few. It keeps the methods of its kind, of which the server uses CloseWrite.
type fewConn struct {
	*net.TCPConn
	leave func()
}

// Close implements [net.Conn].
func (c *fewConn) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}
