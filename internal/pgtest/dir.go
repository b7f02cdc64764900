package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lmipool/lmipool/internal/child"
)

// place is where servers keep their files. It is not os.TempDir, since $TMPDIR may be too long for the socket's path (107
// bytes), or closed to the user as whom the server runs.
const place = "/tmp"

// makeDir makes a server's directory: lmipool-pg-<pid of the owner>-<random>.
func makeDir() (string, error) {
	dir, err := os.MkdirTemp(place, fmt.Sprintf("lmipool-pg-%d-", os.Getpid()))
	if err != nil {
		return "", err
	}
	if c := child.Unprivileged(); c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			return "", errors.Join(err, os.Remove(dir))
		}
	}
	return dir, nil
}

// sweep removes the directories of processes that were killed before they could do so. A directory that belongs to another
// user, or to which a server still writes while it ends, stays for a later sweep.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(place, "lmipool-pg-*"))
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "lmipool-pg-"), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}
