package netfault

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

const (
	chunk  = 64 << 10 // bytes that are read at once
	window = 256      // chunks that may be under way in one direction; when they are, the proxy stops reading from the sender
)

// link is one forwarded connection: the client's and the server's side of it.
type link struct {
	client, server net.Conn

	end  sync.Once
	done chan struct{} // closed when the link is to end

	lose sync.Once
	lost chan struct{} // closed when the link is to forward nothing any more
}

func newLink(client, server net.Conn) *link {
	return &link{client: client, server: server, done: make(chan struct{}), lost: make(chan struct{})}
}

func (l *link) forget() { l.lose.Do(func() { close(l.lost) }) }

// run forwards until both directions have ended or the link is ended.
func (l *link) run(d *delay, g *gate) {
	var pumps sync.WaitGroup
	for _, way := range []pipe{
		{link: l, from: l.client, to: l.server},
		{link: l, from: l.server, to: l.client},
	} {
		way.credit = make(chan struct{}, window)
		way.out = make(chan parcel, window)
		pumps.Go(func() { way.read(d) })
		pumps.Go(func() { way.write(g) })
	}
	pumps.Wait()
	l.close()
}

func (l *link) close() {
	l.end.Do(func() {
		close(l.done)
		l.client.Close()
		l.server.Close()
	})
}

func (l *link) reset() {
	l.end.Do(func() {
		close(l.done)
		for _, c := range []net.Conn{l.client, l.server} {
			_ = c.(*net.TCPConn).SetLinger(0) // makes Close send a RST
			c.Close()
		}
	})
}

// parcel travels in one direction of a link: it has bytes, or says that there are no more.
type parcel struct {
	bytes []byte
	end   error // io.EOF, or why from could not be read
}

// pipe is one direction of a link: read → delay → write. At most window parcels are between read and write, so a send to
// out never blocks. Otherwise one slow link would block the delay, which all links share.
type pipe struct {
	*link
	from, to net.Conn
	credit   chan struct{}
	out      chan parcel
}

func (w *pipe) read(d *delay) {
	buf := make([]byte, chunk)
	for {
		select {
		case w.credit <- struct{}{}:
		case <-w.done:
			return
		}
		n, err := w.from.Read(buf)
		if n > 0 {
			d.send(w.out, parcel{bytes: bytes.Clone(buf[:n])})
			continue // after an error the next read returns it again
		}
		if err != nil {
			d.send(w.out, parcel{end: err})
			return
		}
	}
}

func (w *pipe) write(g *gate) {
	for {
		var p parcel
		select {
		case p = <-w.out:
		case <-w.done:
			return
		}
		select {
		case <-g.pass():
		case <-w.done:
			return
		}
		select {
		case <-w.lost:
			<-w.done
			return
		default:
		}
		switch {
		case errors.Is(p.end, io.EOF):
			_ = w.to.(*net.TCPConn).CloseWrite() // the other direction may go on
			return
		case p.end != nil:
			w.reset()
			return
		}
		if _, err := w.to.Write(p.bytes); err != nil {
			w.reset()
			return
		}
		<-w.credit
	}
}
