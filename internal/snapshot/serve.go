package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Serve writes what take returns, as JSON, to each client of the Unix socket at path, until the result is closed. If path is a directory, the socket in it has
// a name of its own, so that many processes may have the same path. Only the process's own user may connect.
func Serve(path string, take func() Snapshot) (net.Listener, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		f, err := os.CreateTemp(path, fmt.Sprintf("%d-*.sock", os.Getpid()))
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		path = f.Name()
		_ = os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && gone(path) { // a process that was killed has left it
		_ = os.Remove(path)
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				time.Sleep(time.Second) // out of files
				continue
			}
			go answer(c, take)
		}
	}()
	return l, nil
}

func answer(c net.Conn, take func() Snapshot) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_ = json.NewEncoder(c).Encode(take())
}

// gone reports whether path is a socket that nobody listens on.
func gone(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Read returns the snapshots, still as JSON, of all processes that serve one at path: a socket, or a directory of sockets.
func Read(path string) (all []json.RawMessage, err error) {
	paths := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if paths, err = filepath.Glob(filepath.Join(path, "*.sock")); err != nil {
			return nil, err
		}
	}
	for _, p := range paths {
		c, err := net.DialTimeout("unix", p, time.Second)
		if err != nil {
			continue // it has ended
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		var one json.RawMessage
		if json.NewDecoder(c).Decode(&one) == nil {
			all = append(all, one)
		}
		_ = c.Close()
	}
	return all, nil
}
