package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lmipool/lmipool/internal/netfault"
)

// envLink makes this program the link to the address that it names.
const envLink = "LMIPOOL_BENCH_LINK"

const roundTrip = time.Millisecond

// link is a TCP proxy that delays. It is a process of its own, so that its CPU time and garbage do not count as the client's. The process writes its
// address in one line, and then its CPU time for each line that it reads. It ends when its input ends, so it ends with its parent.
type link struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func startLink(target string) (*link, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &link{cmd: exec.Command(self)}
	l.cmd.Env = append(os.Environ(), envLink+"="+target)
	l.cmd.Stderr = os.Stderr
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.out = bufio.NewReader(out)
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	if l.addr, err = l.line(); err != nil {
		l.stop()
		return nil, fmt.Errorf("the link: %w", err)
	}
	return l, nil
}

func (l *link) line() (string, error) {
	s, err := l.out.ReadString('\n')
	return strings.TrimSpace(s), err
}

// cpu returns the CPU time that the link's process has used so far. It is not safe for concurrent use.
func (l *link) cpu() (time.Duration, error) {
	if _, err := io.WriteString(l.in, "\n"); err != nil {
		return 0, err
	}
	s, err := l.line()
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(s, 10, 64)
	return time.Duration(ns), err
}

func (l *link) stop() {
	l.in.Close()
	_ = l.cmd.Wait() // the process has written its error to stderr
}

// serveLink is what the link's process runs. It returns the exit code.
func serveLink(target string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // a terminal sends ^C to this process, too, and the parent still has connections through it
	p, err := netfault.Listen(target)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: link:", err)
		return 1
	}
	defer p.Close()
	p.SetRoundTrip(roundTrip)
	fmt.Println(p.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		used, err := ownCPU()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: link:", err)
			return 1
		}
		fmt.Println(used.Nanoseconds())
	}
	return 0
}
