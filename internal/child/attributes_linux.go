package child

import "syscall"

func attributes(signal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: Unprivileged(), Setpgid: true, Pdeathsig: signal}
}
