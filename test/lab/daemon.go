package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// daemon is a running pfsyncd.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, after done
}

// StartDaemon starts pfsyncd in the firewall, with its own state directory, and
// returns at once. Its log is appended to what Log returns.
func (f *Firewall) StartDaemon(args ...string) error {
	args = append([]string{"--state-dir", f.StateDir(), "--log-level", "info"}, args...)
	return f.StartOther(exec.Command(f.Program("pfsyncd"), args...))
}

// StartOther starts another daemon in place of pfsyncd; StopDaemon, KillDaemon, Running
// and Log are its then. It must stay in the foreground.
func (f *Firewall) StartOther(cmd *exec.Cmd) error {
	if f.Running() {
		return fmt.Errorf("%s: %s runs already", f.Name, f.daemon.name())
	}
	log, err := os.OpenFile(f.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d := &daemon{cmd: cmd, done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := f.Start(d.cmd); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	f.daemon = d
	return nil
}

func (d *daemon) name() string { return filepath.Base(d.cmd.Path) }

// Program is the path of one of our programs.
func (f *Firewall) Program(name string) string { return filepath.Join(f.bin, name) }

// StateDir is what the firewall's pfsyncd gets as --state-dir; it outlives the daemon.
func (f *Firewall) StateDir() string { return filepath.Join(f.dir, "state") }

func (f *Firewall) logFile() string { return filepath.Join(f.dir, "pfsyncd.log") }

// Log is all that the firewall's daemons have logged so far.
func (f *Firewall) Log() string {
	b, err := os.ReadFile(f.logFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Running tells whether the firewall's pfsyncd was started and has not ended.
func (f *Firewall) Running() bool {
	if f.daemon == nil {
		return false
	}
	select {
	case <-f.daemon.done:
		return false
	default:
		return true
	}
}

// Pid is the process id of the firewall's pfsyncd, which must have been started.
func (f *Firewall) Pid() int { return f.daemon.cmd.Process.Pid }

// KillDaemon is kill -9; it returns when the daemon is gone.
func (f *Firewall) KillDaemon() error {
	if err := f.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-f.daemon.done
	return nil
}

// StopDaemon ends the daemon with SIGTERM and waits; the error is its exit status.
func (f *Firewall) StopDaemon(ctx context.Context) error {
	if err := f.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-f.daemon.done:
		if f.daemon.err != nil {
			return fmt.Errorf("%s: %s: %w; its log: %s", f.Name, f.daemon.name(), f.daemon.err, f.logTail())
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %s does not stop: %w", f.Name, f.daemon.name(), context.Cause(ctx))
	}
}

func (f *Firewall) signal(s syscall.Signal) error {
	if f.daemon == nil {
		return fmt.Errorf("%s: pfsyncd was not started", f.Name)
	}
	if err := f.daemon.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s: %s: %w; its log: %s", f.Name, f.daemon.name(), err, f.logTail())
	}
	return nil
}

// WaitReady waits for pfsync0, which is there once the daemon takes commands.
func (f *Firewall) WaitReady(ctx context.Context) error {
	return f.whileRunning(ctx, "pfsync0", func() error {
		return f.withLink("pfsync0", func(*netlink.Handle, netlink.Link) error { return nil })
	})
}

// Ifconfig runs our ifconfig in the firewall and returns what it printed.
func (f *Firewall) Ifconfig(ctx context.Context, args ...string) (string, error) {
	return f.Run(ctx, f.Program("ifconfig"), args...)
}

// Counters returns what the firewall's pfsyncd has counted since its start, by name.
func (f *Firewall) Counters(ctx context.Context) (map[string]uint64, error) {
	out, err := f.Output(ctx, f.Program("pfsyncctl"), "stats", "-a", "--json")
	if err != nil {
		return nil, err
	}
	var stats struct {
		Counters []struct {
			Name  string
			Value uint64
		}
	}
	if err := json.Unmarshal([]byte(out), &stats); err != nil {
		return nil, fmt.Errorf("%s: pfsyncctl stats: %w", f.Name, err)
	}
	counters := make(map[string]uint64, len(stats.Counters))
	for _, c := range stats.Counters {
		counters[c.Name] = c.Value
	}
	return counters, nil
}

// Netstart writes hostname.if lines for an interface and runs our netstart on them.
func (f *Firewall) Netstart(ctx context.Context, name, lines string) error {
	file := f.HostnameFile(name)
	if err := os.WriteFile(file, []byte(lines+"\n"), 0o640); err != nil {
		return err
	}
	_, err := f.Run(ctx, f.Program("netstart"), "-C", filepath.Dir(file), name)
	return err
}

// HostnameFile is the path of the firewall's hostname.if file of an interface.
func (f *Firewall) HostnameFile(name string) string {
	return filepath.Join(f.dir, "hostname."+name)
}

// WaitSynced waits until ifconfig shows that the bulk update is over: syncok 1.
func (f *Firewall) WaitSynced(ctx context.Context) error {
	return f.whileRunning(ctx, "syncok", func() error {
		out, err := f.Ifconfig(ctx, "pfsync0")
		if err != nil {
			return err
		}
		if !strings.Contains(out, "syncok: 1") {
			return fmt.Errorf("ifconfig pfsync0 shows:\n%s", out)
		}
		return nil
	})
}

// whileRunning is Eventually for a condition that cannot come without the daemon.
func (f *Firewall) whileRunning(ctx context.Context, what string, cond func() error) error {
	d := f.daemon
	if d == nil {
		return fmt.Errorf("%s: %s: pfsyncd was not started", f.Name, what)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-d.done:
			cancel(fmt.Errorf("pfsyncd has ended: %v", d.cmd.ProcessState))
		case <-ctx.Done():
		}
	}()
	err := Eventually(ctx, f.Name+": "+what, cond)
	cancel(nil)
	<-watched
	if err != nil {
		return fmt.Errorf("%w; the daemon's log: %s", err, f.logTail())
	}
	return nil
}

// logTail is the end of the log, for error messages.
func (f *Firewall) logTail() string {
	const lines = 15
	all := strings.Split(strings.TrimSpace(f.Log()), "\n")
	return "\n" + strings.Join(all[max(0, len(all)-lines):], "\n")
}
