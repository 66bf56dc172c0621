package vm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/vm"
	"github.com/pfsync-linux/pfsync/test/vm/guest"
)

// root is this repository.
const root = "../.."

// newMachine has Debian's kernel, a shell and what else is named.
func newMachine(t *testing.T, programs ...string) vm.Machine {
	t.Helper()
	if err := lab.Require(append([]string{"qemu-system-x86_64", "depmod"}, programs...)...); err != nil {
		t.Fatal(err)
	}
	k, err := vm.Debian(t.Context(), filepath.Join(root, ".build", "vm"))
	if err != nil {
		t.Fatal(err)
	}
	return vm.Machine{Kernel: k, Programs: append([]string{"sh"}, programs...)}
}

// sh is a command for the shell of the machine.
func sh(line string) guest.Command { return guest.Command{Args: []string{"sh", "-c", line}} }

// Commands run one after the other on another kernel; what they print, how they end and what they leave is brought back.
func TestCommandsAndFiles(t *testing.T) {
	m := newMachine(t, "ip")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "given"), []byte("a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Files = map[string]string{"/data": dir}
	m.Modules = []string{"dummy"}
	var live strings.Builder
	m.Output = &live
	done, err := m.Run(t.Context(), vm.Work{
		Commands: []guest.Command{
			{Args: []string{"sh", "-c", `read x < given; echo "$x, $Y"; echo "$x" > made; exit 3`}, Dir: "/data", Env: []string{"Y=why"}},
			sh("kill -9 $$"),
			{Args: []string{"nobody"}},
			sh("read x < /proc/sys/kernel/osrelease; echo $x"),
			{Args: []string{"ip", "link", "add", "dummy7", "type", "dummy"}},
			{Args: []string{"ip", "link", "add", "wg0", "type", "wireguard"}}, // the kernel loads the module itself
		},
		Fetch: []string{"/data"},
	})
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Base(m.Kernel.Modules)
	type result struct {
		code        int
		output, err string
	}
	want := []result{
		{3, "a file, why\n", "exit status 3"},
		{-1, "", "signal: killed"},
		{-1, "", `exec: "nobody": executable file not found in $PATH`},
		{0, release + "\n", ""},
		{0, "", ""},
		{0, "", ""},
	}
	var got []result
	for _, r := range done.Results {
		got = append(got, result{r.Code, r.Output, r.Error})
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("results: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"/data/given": []byte("a file\n"), "/data/made": []byte("a file\n")}, done.Files); diff != "" {
		t.Errorf("files: -want +got:\n%s", diff)
	}
	if done.Release != release || live.String() != "a file, why\n"+release+"\n" {
		t.Errorf("kernel %s, want %s; while it ran it printed %q", done.Release, release, live.String())
	}
}

// What goes wrong with the machine itself is named, with the end of its console.
func TestMachinesThatFail(t *testing.T) {
	const stuck = `echo -1 > /proc/sys/kernel/sched_rt_runtime_us; exec chrt -f 99 sh -c 'while :; do :; done'`
	impatient := errors.New("impatient")
	for _, c := range []struct {
		name    string
		machine vm.Machine
		line    string
		want    error
		text    string
	}{
		{"panic", vm.Machine{}, "echo begun; sleep 1; echo c > /proc/sysrq-trigger", vm.ErrPanic, "Kernel panic - not syncing: sysrq triggered crash"},
		{"nothing is heard", vm.Machine{CPUs: 1, Patience: 15 * time.Second}, "echo begun; " + stuck, vm.ErrHang, "nothing was heard for 15s"},
		{"it takes too long", vm.Machine{}, "echo begun; echo impatient > /dev/console; exec sleep 1000", impatient, "its console ends with:\nimpatient"},
		{"no such module", vm.Machine{Modules: []string{"nosuch"}}, "", nil, "Module nosuch not found in directory /lib/modules/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, "chrt", "sleep")
			m.CPUs, m.Patience, m.Modules = c.machine.CPUs, c.machine.Patience, c.machine.Modules
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var live strings.Builder
			m.Output = writerFunc(func(b []byte) {
				live.Write(b)
				if c.want == impatient {
					time.AfterFunc(time.Second, func() { cancel(impatient) })
				}
			})
			done, err := m.Run(ctx, vm.Work{Commands: []guest.Command{sh(c.line), sh("echo never")}})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v: %s", err, c.want, c.text)
			}
			if len(done.Results) > 0 || c.want != nil && live.String() != "begun\n" {
				t.Errorf("it went on: printed %q, %+v", live.String(), done.Results)
			}
		})
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

// A file that is no kernel, or that does nothing, is no machine.
func TestNoBoot(t *testing.T) {
	m := newMachine(t)
	kernel, err := os.ReadFile(m.Kernel.Image)
	if err != nil {
		t.Fatal(err)
	}
	setup := (int(kernel[0x1f1]) + 1) * 512 // the boot protocol's setup_sects
	for i := setup; i < len(kernel); i++ {
		kernel[i] = []byte{0xeb, 0xfe}[i%2] // a jump to itself
	}
	m.Kernel.Image, m.Patience = filepath.Join(t.TempDir(), "vmlinuz"), 3*time.Second
	for _, c := range []struct {
		name, text string
		image      []byte
	}{
		{"text", "its console ends with:\nqemu: ", []byte("not a kernel\n")},
		{"silent", "nothing was heard for 3s", kernel},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(m.Kernel.Image, c.image, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Run(t.Context(), vm.Work{}); !errors.Is(err, vm.ErrNoBoot) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v: %s", err, vm.ErrNoBoot, c.text)
			}
		})
	}
}
