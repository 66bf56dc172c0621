package vm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/test/vm/guest"
)

// These say what became of a machine; the error's text has the end of its console.
var (
	ErrNoBoot = errors.New("the machine does not boot")
	ErrPanic  = errors.New("the machine's kernel panicked")
	ErrHang   = errors.New("the machine hangs")
	ErrEnded  = errors.New("the machine has ended before its work")
)

// Machine is a virtual machine. It has a network of its own, which leads nowhere.
type Machine struct {
	Kernel   Kernel
	Modules  []string          // to load at first; others are loaded when the kernel or a program wants them
	Programs []string          // of this machine, as found in PATH; their libraries go along
	Packages []string          // of this machine's Debian: what dpkg has installed of them, but for their documents
	Files    map[string]string // files and folders of this machine, by their paths in the virtual one
	CPUs     int               // 0: 2
	Memory   int               // in MiB, 0: 2048

	// Patience is how long the machine may say nothing, booting or at work. 0: one minute.
	Patience time.Duration
	Output   io.Writer // gets what the commands print while they run; nil: nobody
}

// Result is how a command ended.
type Result struct {
	guest.Exit
	Output string // what it printed on stdout and stderr
}

// Work is what a machine has to do.
type Work struct {
	Commands []guest.Command // one after the other, whatever becomes of them
	Fetch    []string        // files and folders to bring back at the end
}

// Done is what it has done.
type Done struct {
	Release string   // of its kernel
	Results []Result // one for each command that has ended
	Files   map[string][]byte
	Console string // what its kernel said
}

// Run boots the machine, has the work done and ends it. It returns what has been done with an error too.
func (m Machine) Run(ctx context.Context, w Work) (done Done, err error) {
	done.Files = map[string][]byte{}
	dir, err := os.MkdirTemp("", "pfsync-vm-")
	if err != nil {
		return done, err
	}
	defer os.RemoveAll(dir)
	init := filepath.Join(dir, "init")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", init, "github.com/pfsync-linux/pfsync/test/vm/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return done, fmt.Errorf("go build test/vm/init: %w: %s", err, out)
	}
	initramfs := filepath.Join(dir, "initramfs")
	order := guest.Order{Modules: m.Modules, Commands: w.Commands, Fetch: w.Fetch}
	if err := writeInitramfs(ctx, initramfs, m, init, order); err != nil {
		return done, fmt.Errorf("initramfs: %w", err)
	}
	socket := filepath.Join(dir, "report")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return done, err
	}
	defer l.Close()

	console := &console{}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(initramfs, socket)...)
	qemu.Stdout, qemu.Stderr = console, console
	if err := qemu.Start(); err != nil {
		return done, err
	}
	reports := make(chan guest.Report)
	ended := make(chan error, 1)
	go func() {
		ended <- receive(ctx, l, reports)
	}()
	exited := make(chan error, 1)
	go func() {
		exited <- qemu.Wait()
		l.Close()
	}()
	err = m.follow(ctx, &done, reports, ended)
	if err != nil && !errors.Is(err, ErrEnded) {
		stop()
	}
	exit := <-exited // after its work, and after a panic, it ends by itself
	if err == nil && exit != nil {
		err = fmt.Errorf("qemu: %w", exit)
	}
	done.Console = console.String()
	if err != nil {
		err = fmt.Errorf("%w; its console ends with:\n%s", verdict(err, done.Console, done.Release != ""), console.tail())
	}
	return done, err
}

// verdict is what the console tells of an end.
func verdict(err error, console string, booted bool) error {
	switch {
	case strings.Contains(console, "Kernel panic"):
		return fmt.Errorf("%w (%w)", ErrPanic, err)
	case !booted:
		return fmt.Errorf("%w (%w)", ErrNoBoot, err)
	}
	return err
}

func (m Machine) arguments(initramfs, socket string) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(cmp.Or(m.CPUs, 2)), "-m", strconv.Itoa(cmp.Or(m.Memory, 2048)),
		"-kernel", m.Kernel.Image, "-initrd", initramfs,
		"-append", "console=ttyS0 panic=-1 quiet loglevel=4",
		"-serial", "stdio",
		"-chardev", "socket,id=report,path=" + socket,
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=report,name=" + guest.Port,
	}
}

// receive passes on what the machine tells, until it ends.
func receive(ctx context.Context, l net.Listener, to chan<- guest.Report) error {
	c, err := l.Accept()
	if err != nil {
		return ErrEnded
	}
	defer c.Close()
	for in := gob.NewDecoder(c); ; {
		var r guest.Report
		if err := in.Decode(&r); err != nil {
			return ErrEnded
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow collects what the machine tells until it is done.
func (m Machine) follow(ctx context.Context, d *Done, reports <-chan guest.Report, ended <-chan error) error {
	patience := cmp.Or(m.Patience, time.Minute)
	silence := time.NewTimer(patience)
	defer silence.Stop()
	var output bytes.Buffer
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			return err
		case <-silence.C:
			return fmt.Errorf("%w: nothing was heard for %v", ErrHang, patience)
		case r := <-reports:
			silence.Reset(patience)
			switch {
			case r.Kernel != "":
				d.Release = r.Kernel
			case r.Output != nil:
				output.Write(r.Output)
				if m.Output != nil {
					_, _ = m.Output.Write(r.Output) // it is in the result too
				}
			case r.Exit != nil:
				d.Results = append(d.Results, Result{Exit: *r.Exit, Output: output.String()})
				output.Reset()
			case r.File != nil:
				d.Files[r.File.Name] = r.File.Data
			case r.Error != "":
				return errors.New(r.Error)
			case r.Done:
				return nil
			}
		}
	}
}

// console keeps what the kernel says.
type console struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.Write(bytes.ReplaceAll(b, []byte("\r"), nil))
	return len(b), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// tail is the end of the console, for error messages.
func (c *console) tail() string {
	const lines = 80 // a panic's are 60
	all := strings.Split(strings.TrimSpace(c.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
