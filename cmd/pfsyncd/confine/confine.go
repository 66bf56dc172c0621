// Package confine takes from the daemon what it does not need once its sockets are
// open, before it parses bytes from the network: capabilities, new privileges, files.
package confine

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// kept are the capabilities of sockets that are opened later: NET_ADMIN for pfsync0,
// carp interfaces, their sysctls, ctnetlink, nftables and SO_RCVBUFFORCE, NET_RAW for the
// sync link and adverts.
var kept = [...]cap.Value{cap.NET_ADMIN, cap.NET_RAW}

// sysctls are all the process may touch of /proc. CAP_NET_ADMIN rules over them anyway.
const sysctls = "/proc/sys/net"

// What may be done to files below a path. Nothing is executed.
const (
	use    landlock.AccessFSSet = landlocksys.AccessFSReadFile | landlocksys.AccessFSWriteFile | landlocksys.AccessFSTruncate
	device landlock.AccessFSSet = landlocksys.AccessFSReadFile | landlocksys.AccessFSWriteFile | landlocksys.AccessFSIoctlDev
	keep   landlock.AccessFSSet = use | landlocksys.AccessFSReadDir | landlocksys.AccessFSMakeReg | landlocksys.AccessFSRemoveFile
)

// Process confines all threads of the process, those of the future too, for good. Left
// are the capabilities NET_ADMIN and NET_RAW, as far as they were there, and the files
// below stateDir, /proc/sys/net and /dev/net; files that are open stay so. What it can
// reach by the network is not limited. It may be called once.
//
// abi is the version of Landlock that guards the files: below 3 they can still be
// truncated, below 5 ioctls of devices are free, and 0 is no guard. The error names each
// thing that the kernel or the surroundings did not allow; all others are done.
func Process(stateDir string) (abi int, err error) {
	_, _ = time.Now().Zone() // reads /etc/localtime at its first use, for the log's times
	// Files last: libcap's psx looks for the threads in /proc, if built with cgo.
	errCaps := capabilities()
	errPrivs := noNewPrivs()
	abi, errFiles := files(stateDir)
	return abi, errors.Join(errCaps, errPrivs, errFiles)
}

// capabilities leaves nothing but kept in any set; the ambient one empties itself with
// the inheritable one.
func capabilities() error {
	errBound := bound()
	have, want := cap.GetProc(), cap.NewSet()
	for _, c := range kept {
		permitted, err := have.GetFlag(cap.Permitted, c)
		if err != nil {
			return fmt.Errorf("capability %v: %w", c, err)
		}
		if err := errors.Join(want.SetFlag(cap.Permitted, permitted, c), want.SetFlag(cap.Effective, permitted, c)); err != nil {
			return fmt.Errorf("capability %v: %w", c, err)
		}
	}
	if err := want.SetProc(); err != nil {
		return errors.Join(errBound, fmt.Errorf("capabilities: %w", err))
	}
	return errBound
}

// bound limits what any program could ever get.
func bound() error {
	var surplus []cap.Value
	for c := range cap.MaxBits() {
		there, err := cap.GetBound(c)
		if err != nil {
			return fmt.Errorf("capability bounding set: %v: %w", c, err)
		}
		if there && !slices.Contains(kept[:], c) {
			surplus = append(surplus, c)
		}
	}
	err := cap.DropBound(surplus...)
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("capability bounding set: needs CAP_SETPCAP; give it, or limit the set from outside: %w", err)
	}
	if err != nil {
		return fmt.Errorf("capability bounding set: %w", err)
	}
	return nil
}

// noNewPrivs makes set-user-id bits and file capabilities worthless.
func noNewPrivs() error {
	const prSetNoNewPrivs = 38 // linux/prctl.h
	if _, err := cap.Prctlw(prSetNoNewPrivs, 1); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

func files(stateDir string) (abi int, err error) {
	if abi, err = landlocksys.LandlockGetABIVersion(); err != nil {
		return 0, fmt.Errorf("file access is not limited: the kernel has no Landlock, or does not use it (lsm=landlock): %w", err)
	}
	// A rule is about an inode, and those of /proc are made anew after the kernel has
	// forgotten them for want of memory. Open until the process ends, it is remembered.
	pin, err := syscall.Open(sysctls, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("file access is not limited: %s: %w", sysctls, err)
	}
	// V5 is all that is about files; V9 adds sockets in the file system, like sd_notify's.
	// The folder of tun, not the file, which the module makes anew when loaded again.
	err = landlock.V5.BestEffort().RestrictPaths(
		landlock.PathAccess(keep, stateDir),
		landlock.PathAccess(use, sysctls),
		landlock.PathAccess(device, "/dev/net").IgnoreIfMissing(),
	)
	if err != nil {
		syscall.Close(pin)
		return 0, fmt.Errorf("file access is not limited: %w", err)
	}
	return abi, nil
}
