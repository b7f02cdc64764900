package pool

import (
	"bytes"
	"net"
)

// send writes b, unless something could not be written before: pgx keeps that, and would
// send it once more with its goodbye, long after its caller was told that it is lost. Then
// only the goodbye is sent or, behind a part of something, the end of our half.
func (w *wire) send(b []byte) (int, error) {
	switch bye := bytes.HasSuffix(b, terminate); w.stuck.Load() {
	case stuckBefore:
		if bye {
			return w.w.Write(terminate)
		}
		return 0, net.ErrClosed
	case stuckInside:
		if half, ok := w.w.(interface{ CloseWrite() error }); bye && ok {
			_ = half.CloseWrite()
		}
		return 0, net.ErrClosed
	}
	n, err := w.w.Write(b)
	switch {
	case err != nil && n == 0:
		w.stuck.Store(stuckBefore)
	case err != nil:
		w.stuck.Store(stuckInside)
	}
	return n, err
}

// Where a write failed.
const (
	stuckBefore uint32 = iota + 1 // nothing of it was written
	stuckInside
)
