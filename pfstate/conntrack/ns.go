package conntrack

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// home is the namespace of a table, for sockets that are opened later.
type home struct{ file *os.File }

// keep takes a copy of a namespace's descriptor; 0 is the namespace of the process.
func (h *home) keep(ns int) error {
	if ns == 0 {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(ns), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	h.file = os.NewFile(uintptr(fd), "network namespace")
	return nil
}

// dial opens a socket there.
func (h *home) dial(n, size int) (*socket, error) {
	if h.file == nil {
		return dial(0, n, size)
	}
	raw, err := h.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	var s *socket
	// Within Control the descriptor cannot be closed, and its number not be another file's.
	if outer := raw.Control(func(fd uintptr) { s, err = dial(int(fd), n, size) }); outer != nil {
		return nil, fmt.Errorf("network namespace: %w", outer)
	}
	return s, err
}

func (h *home) close() error {
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}
