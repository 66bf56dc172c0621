package conntrack

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Limit is how many entries the namespace's table may hold (nf_conntrack_max when
// it was opened), 0: unknown.
func (t *Table) Limit() int { return t.limit }

// Incarnation names this very table of this very kernel: the boot and the network
// namespace it belongs to. A daemon that finds the name of before finds the table
// of before, changed by traffic and programs only. (A reload of the module
// nf_conntrack, for which no rule may use it, is not noticed.)
func (t *Table) Incarnation() string { return t.incarnation }

// name must run on a thread that is in the namespace.
func (t *Table) name() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	cookie, err := t.events.cookie()
	if errors.Is(err, unix.ENOPROTOOPT) { // before Linux 5.14; an inode may serve a second namespace
		var s unix.Stat_t
		if err = unix.Stat("/proc/thread-self/ns/net", &s); err == nil {
			return fmt.Sprintf("%s inode %d", strings.TrimSpace(string(boot)), s.Ino), nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("name of the network namespace: %w", err)
	}
	return fmt.Sprintf("%s netns %d", strings.TrimSpace(string(boot)), cookie), nil
}

// cookie is the kernel's name of the socket's network namespace, never used again
// until the next boot.
func (s *socket) cookie() (cookie uint64, err error) {
	failed := s.raw.Control(func(fd uintptr) {
		cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	})
	return cookie, errors.Join(failed, err)
}
