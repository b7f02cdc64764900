package pgwire

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
)

// terminate is the protocol's Terminate message.
var terminate = []byte{'X', 0, 0, 0, 4}

// Terminate writes the protocol's Terminate message to w.
func Terminate(w io.Writer) error {
	_, err := w.Write(terminate)
	return err
}

// sender writes to the socket.
type sender struct {
	w     io.Writer
	stuck atomic.Uint32 // something could not be written
}

// send writes b, unless something could not be written before: pgx keeps that, and would
// send it once more with its goodbye, long after its caller was told that it is lost. Then
// only the goodbye is sent or, behind a part of something, the end of our half.
func (s *sender) send(b []byte) (int, error) {
	switch bye := bytes.HasSuffix(b, terminate); s.stuck.Load() {
	case stuckBefore:
		if bye {
			return s.w.Write(terminate)
		}
		return 0, net.ErrClosed
	case stuckInside:
		if half, ok := s.w.(interface{ CloseWrite() error }); bye && ok {
			_ = half.CloseWrite()
		}
		return 0, net.ErrClosed
	}
	n, err := s.w.Write(b)
	switch {
	case err != nil && n == 0:
		s.stuck.Store(stuckBefore)
	case err != nil:
		s.stuck.Store(stuckInside)
	}
	return n, err
}

// Where a write failed.
const (
	stuckBefore uint32 = iota + 1 // nothing of it was written
	stuckInside
)
