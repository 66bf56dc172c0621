package vm_test

import (
	"cmp"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/vm"
	"github.com/pfsync-linux/pfsync/test/vm/guest"
)

var tests = flag.String("e2e", "", "run the tests of test/e2e that match, in place of those that the kernel matters most to")

// chosen are the tests of test/e2e that the kernel matters most to.
var chosen = []string{
	"TestQueuedConnectionsAreTheTables", "TestDeferBehindTheRules", "TestDeferCarriesAsymmetricConnections",
	"TestOnlyThroughIPsec", "TestOnlyThroughStrongSwan", "TestReplayCountersOfIPsec", "TestOffloadedConnectionsSurvive", "TestPairOnABadLink",
	"TestSyncdevsOfAllKinds", "TestThePairOfTheManual", "TestDocumentsExample/openbsd",
}

// left are tests that do not pass on this kernel or in this machine; README.md says why.
var left = []string{"TestRestartWithManyStates", "TestManyStatesInLittleMemory"}

// Tests that look at what this kernel can do say so: here it can all.
const (
	lacks = "this kernel has no "
	gives = "this kernel gives the connection with its packet"
)

// Where things are in the machine: the tests look for files of the repository.
const (
	guestPrograms = "/opt/pfsync"
	guestTests    = "/src/test/e2e"
)

// packages have what the tests run.
func packages() []string {
	names := []string{"coreutils", "grep", "sed", "findutils", "mount", "procps", "libc-bin"}
	unused := []string{"gcc", "libc6-dev", "prometheus", "qemu-system-x86", "zsh", "fish"}
	for _, p := range lab.Programs() {
		if slices.Contains(p.For, "test") && !slices.Contains(unused, p.Package) {
			names = append(names, p.Package)
		}
	}
	return names
}

// newTestMachine has our programs and the compiled tests, as one without Go needs them, and returns those
// tests too.
func newTestMachine(t *testing.T) (m vm.Machine, e2e string) {
	t.Helper()
	m = newMachine(t)
	dir := t.TempDir()
	programs, e2e := filepath.Join(dir, "bin"), filepath.Join(dir, "e2e.test")
	for _, args := range [][]string{
		{"build", "-buildvcs=false", "-o", programs + "/", "./cmd/..."},
		{"test", "-c", "-tags", "stock", "-o", e2e, "./test/e2e"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	strongSwan, err := vm.Unpacked(t.Context(), filepath.Join(root, ".build", "strongswan"),
		"libstrongswan", "strongswan-libcharon", "strongswan-charon", "strongswan-swanctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LD_LIBRARY_PATH", filepath.Join(strongSwan, "usr/lib/ipsec")) // where else its libraries are looked for
	m.Modules = []string{"tun"}                                             // for /dev/net/tun, which other systems have from the beginning
	m.Packages = packages()
	m.Files = map[string]string{
		guestPrograms: programs, guestTests + "/e2e.test": e2e,
		"/etc/passwd": "/etc/passwd", "/etc/group": "/etc/group", "/etc/nsswitch.conf": "/etc/nsswitch.conf",
		"/usr": filepath.Join(strongSwan, "usr"), "/etc": filepath.Join(strongSwan, "etc"),
	}
	for _, dir := range []string{"cmd", "ifconfig", "man", "pfstate", "share", "sync", "test", "tunif"} { // some tests read sources
		m.Files["/src/"+dir] = filepath.Join(root, dir)
	}
	return m, e2e
}

// The end-to-end tests pass on Debian's kernel too. There are fewer connections in some (-short), for the
// emulated processors.
func TestEndToEnd(t *testing.T) {
	m, e2e := newTestMachine(t)
	m.Output = t.Output()
	out, err := exec.CommandContext(t.Context(), e2e, "-test.list", cmp.Or(*tests, ".")).Output()
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^Test.*$`).FindAllString(string(out), -1)
	if *tests == "" {
		for _, name := range chosen {
			if test, _, _ := strings.Cut(name, "/"); !slices.Contains(names, test) {
				t.Errorf("test/e2e has no %s", test)
			}
		}
		names = chosen
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(left, name) })
	var w vm.Work
	for _, name := range names {
		w.Commands = append(w.Commands, guest.Command{
			Args: []string{"./e2e.test", "-test.v", "-test.short", "-test.timeout=5m", "-test.run=^" + strings.ReplaceAll(name, "/", "$/^") + "$"},
			Dir:  guestTests,
			Env:  []string{labtest.Prebuilt + "=" + guestPrograms},
		})
	}
	done, err := m.Run(t.Context(), w)
	for i, r := range done.Results {
		t.Run(strings.ReplaceAll(names[i], "/", "_"), func(t *testing.T) {
			if r.Code != 0 || !strings.Contains(r.Output, "--- PASS: "+names[i]) {
				t.Errorf("after %v: %s", r.Took.Round(time.Millisecond), cmp.Or(r.Error, "it did not run"))
			}
			if strings.Contains(r.Output, lacks) || names[i] == "TestDeferBehindTheRules" && !strings.Contains(r.Output, gives) {
				t.Error("part of it did not run: the kernel cannot do it")
			}
		})
	}
	if err != nil {
		t.Error(err)
	}
}
