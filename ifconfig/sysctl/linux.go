package sysctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Daemon keeps the values that Linux does not: pfsyncd, reached by a control.Client.
type Daemon interface {
	SetSysctl(context.Context, Setting) (old int64, err error)
}

// Apply sets a variable and returns what it was: in the kernel, in the caller's network namespace, if Linux has
// it, else by the daemon.
func Apply(ctx context.Context, d Daemon, s Setting) (old int64, err error) {
	if err := s.Validate(); err != nil {
		return 0, err
	}
	if v, _ := Lookup(s.Name); v.Linux != "" {
		return v.WriteLinux(s.Value)
	}
	return d.SetSysctl(ctx, s)
}

// ReadLinux reads the variable of Linux's own that v stands for, in the caller's network namespace.
func (v Variable) ReadLinux() (int64, error) {
	text, err := os.ReadFile(v.file())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", v.Name, cause(err))
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", v.Name, err)
	}
	return n, nil
}

// WriteLinux sets the variable of Linux's own that v stands for, in the caller's network namespace. What is so
// already is not written: forwarding resets other settings when it is.
func (v Variable) WriteLinux(n int64) (old int64, err error) {
	if old, err = v.ReadLinux(); err != nil || old == n {
		return old, err
	}
	if err := os.WriteFile(v.file(), []byte(strconv.FormatInt(n, 10)), 0o600); err != nil {
		if errors.Is(err, os.ErrPermission) {
			return old, fmt.Errorf("%s: Operation not permitted (needs root)", v.Name)
		}
		return old, fmt.Errorf("%s: %w", v.Name, cause(err))
	}
	return old, nil
}

// file is where the kernel has the variable: an interface's name would be the only part with a dot, and none has one.
func (v Variable) file() string { return "/proc/sys/" + strings.ReplaceAll(v.Linux, ".", "/") }

// cause is an error without the name of the file, which is not what the operator wrote.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
