// Command init is the first program of a virtual machine of test/vm. It makes a
// usable system of a kernel and an initramfs, does what the Order says and powers off.
package main

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/test/vm/guest"
)

func main() {
	if os.Getpid() == 1 {
		first()
	}
	if err := work(); err != nil {
		fmt.Println("init:", err)
		os.Exit(1)
	}
}

// first is process 1: it waits for whatever loses its parent, while a process of its own works.
func first() {
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	os.Setenv("HOME", "/root")
	err := mount()
	if err == nil {
		var worker *os.Process
		worker, err = os.StartProcess(guest.Init, []string{guest.Init}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
		for pid := 0; err == nil && pid != worker.Pid; {
			if pid, err = syscall.Wait4(-1, nil, 0, nil); err == syscall.EINTR {
				err = nil
			}
		}
	}
	if err != nil {
		fmt.Println("init:", err)
	}
	// QEMU is told to take a reset for the end; it needs no ACPI in the guest.
	fmt.Println("init:", syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART))
	select {}
}

func mount() error {
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"devtmpfs", "/dev", ""}, {"devpts", "/dev/pts", ""},
		{"tmpfs", "/dev/shm", ""}, {"tmpfs", "/run", "mode=755"}, {"tmpfs", "/tmp", ""},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for _, dir := range []string{"/root", "/var/lib", "/usr/local"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// What other systems have by udev.
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	return nil
}

// reporter tells the host. Its methods may be called by any goroutine.
type reporter struct {
	mu  sync.Mutex
	enc *gob.Encoder
}

func (r *reporter) tell(report guest.Report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enc.Encode(report)
}

// Write makes the reporter a command's output.
func (r *reporter) Write(b []byte) (int, error) { return len(b), r.tell(guest.Report{Output: b}) }

func work() error {
	text, err := os.ReadFile(guest.OrderFile)
	if err != nil {
		return err
	}
	var order guest.Order
	if err := json.Unmarshal(text, &order); err != nil {
		return fmt.Errorf("%s: %w", guest.OrderFile, err)
	}
	if err := load("virtio_pci", "virtio_console"); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	r := &reporter{enc: gob.NewEncoder(port)}
	if err := carryOut(order, r); err != nil {
		return errors.Join(err, r.tell(guest.Report{Error: err.Error()}))
	}
	return r.tell(guest.Report{Done: true})
}

// load loads modules; those that are in the kernel's image are no error.
func load(modules ...string) error {
	if len(modules) == 0 {
		return nil
	}
	if out, err := exec.Command("modprobe", append([]string{"-a"}, modules...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe %s: %w: %s", strings.Join(modules, " "), err, out)
	}
	return nil
}

// openPort waits for the port: a device is there some time after its module.
func openPort() (*os.File, error) {
	const patience = 10 * time.Second
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			name, err := os.ReadFile(n)
			if err == nil && strings.TrimSpace(string(name)) == guest.Port {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(n)), os.O_WRONLY, 0)
			}
		}
		if time.Since(start) > patience {
			return nil, fmt.Errorf("no virtio port %s", guest.Port)
		}
	}
}

func carryOut(order guest.Order, r *reporter) error {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	if err := r.tell(guest.Report{Kernel: strings.TrimSpace(string(release))}); err != nil {
		return err
	}
	go func() {
		for range time.Tick(guest.Beat) {
			if r.tell(guest.Report{}) != nil {
				return
			}
		}
	}()
	// The kernel finds modules by itself only through a program.
	if modprobe, err := exec.LookPath("modprobe"); err == nil {
		if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte(modprobe), 0); err != nil {
			return err
		}
	}
	if err := load(order.Modules...); err != nil {
		return err
	}
	for _, c := range order.Commands {
		if err := r.tell(guest.Report{Exit: run(c, r)}); err != nil {
			return err
		}
	}
	return fetch(order.Fetch, r)
}

func run(c guest.Command, r *reporter) *guest.Exit {
	start := time.Now()
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = r, r
	cmd.WaitDelay = time.Second // what it has left running holds its output open
	err := cmd.Run()
	exit := &guest.Exit{Code: -1, Took: time.Since(start)}
	if cmd.ProcessState != nil {
		exit.Code = cmd.ProcessState.ExitCode()
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		exit.Error = err.Error()
	}
	return exit
}

func fetch(names []string, r *reporter) error {
	for _, name := range names {
		err := filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return r.tell(guest.Report{File: &guest.File{Name: file, Data: data}})
		})
		if err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
	}
	return nil
}
