// Package lab builds firewalls out of network namespaces: the one way in which
// tests, the demo and the benchmarks get hosts, links and traffic. It needs root.
package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netns"
)

// NS is a named network namespace: a host of the lab. `ip netns exec NAME` reaches it.
type NS struct {
	Name   string
	handle netns.NsHandle
}

// NewNS makes a namespace with its loopback interface up. Close removes it.
func NewNS(name string) (*NS, error) {
	n := &NS{Name: name, handle: netns.None()}
	err := onThread(func() error {
		h, err := netns.NewNamed(name)
		if err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
		n.handle = h
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := n.linkUp("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Close removes the namespace; what still runs in it keeps it alive unnamed.
func (n *NS) Close() error {
	n.handle.Close()
	if err := netns.DeleteNamed(n.Name); err != nil {
		return fmt.Errorf("namespace %s: %w", n.Name, err)
	}
	return nil
}

// Fd is the namespace's file descriptor, for sockets that are opened by handle.
func (n *NS) Fd() int { return int(n.handle) }

// Do runs f on a thread that is in the namespace: sockets opened, processes
// started and /proc/sys/net files touched by f itself belong there. Goroutines
// started by f do not.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// Start starts cmd in the namespace. It is killed when this process dies.
func (n *NS) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return n.Do(cmd.Start)
}

// Run runs a program in the namespace and returns what it printed; the error names the command.
func (n *NS) Run(ctx context.Context, name string, args ...string) (string, error) {
	var out []byte
	err := n.Do(func() error {
		var err error
		out, err = exec.CommandContext(ctx, name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		return string(out), fmt.Errorf("%s: %s %v: %w: %s", n.Name, name, args, err, out)
	}
	return string(out), nil
}

// Output is Run for what a program prints on stdout alone.
func (n *NS) Output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := n.Do(func() error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		return cmd.Run()
	})
	if err != nil {
		return stdout.String(), fmt.Errorf("%s: %s %v: %w: %s", n.Name, name, args, err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// Sysctl writes a sysctl by its path below /proc/sys.
func (n *NS) Sysctl(path, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
}

// onThread runs f in a goroutine whose thread is locked and back in its own
// namespace afterwards. A thread that cannot return is thrown away.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
