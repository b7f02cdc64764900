package main

import (
	"context"
	"syscall"
)

// freeze stops s until thaw is called. It stops the process that accepts connections and all backends, except that of the benchmark's own watch.
func (s *server) freeze(ctx context.Context) (thaw func(), err error) {
	stopped := []int{s.pg.Pid()}
	thaw = func() {
		for _, pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT) // a process that has ended needs no signal
		}
	}
	if err := syscall.Kill(stopped[0], syscall.SIGSTOP); err != nil {
		return nil, err
	}
	rows, err := s.watch.Query(ctx, "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()")
	if err != nil {
		thaw()
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			thaw()
			return nil, err
		}
		if syscall.Kill(pid, syscall.SIGSTOP) == nil {
			stopped = append(stopped, pid)
		}
	}
	if err := rows.Err(); err != nil {
		thaw()
		return nil, err
	}
	return thaw, nil
}
