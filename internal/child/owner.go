package child

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Unprivileged returns who runs a program that refuses root, as PostgreSQL and PgBouncer do: nobody if we are root, and
// otherwise nil, we ourselves.
func Unprivileged() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	c := &syscall.Credential{Uid: 65534, Gid: 65534} // nobody, by convention, in a tree that has no /etc/passwd
	if u, err := user.Lookup("nobody"); err == nil {
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			c.Uid, c.Gid = uint32(uid), uint32(gid)
		}
	}
	return c
}
