package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// confinedStatus is what /proc/PID/status must say of every thread.
const confinedStatus = "CapInh 0 CapPrm 3000 CapEff 3000 CapBnd 3000 CapAmb 0 NoNewPrivs 1"

// privileges returns what /proc tells of the process's threads, without repetition.
func privileges(t *testing.T, pid int) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("threads of %d: %v, %v", pid, files, err)
	}
	found := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if strings.HasPrefix(key, "Cap") {
				value = strings.TrimLeft(value, "0")
			}
			if strings.HasPrefix(key, "Cap") || key == "NoNewPrivs" {
				words = append(words, key, "0"[:max(0, 1-len(value))]+value)
			}
		}
		found[strings.Join(words, " ")] = true
	}
	return found
}

func checkConfined(t *testing.T, pid int) {
	t.Helper()
	if diff := cmp.Diff(map[string]bool{confinedStatus: true}, privileges(t, pid)); diff != "" {
		t.Errorf("privileges of the threads (-want +got):\n%s", diff)
	}
}

// change does what ifconfig with these words would do.
func change(t *testing.T, ns *lab.NS, words ...string) {
	t.Helper()
	cmd, err := ifconfig.Parse(append([]string{"pfsync0"}, words...))
	if err != nil {
		t.Fatal(err)
	}
	if err := controltest.NewClient(ns).Change(t.Context(), *cmd.Change); err != nil {
		t.Fatalf("ifconfig pfsync0 %s: %v", words, err)
	}
}

// cable returns two namespaces whose eth2 are connected.
func cable(t *testing.T) (a, b *lab.NS) {
	t.Helper()
	a, b = labtest.NewNS(t), labtest.NewNS(t)
	labtest.Run(t, a, "ip link add eth2 type veth peer name eth2 netns "+b.Name)
	for i, ns := range []*lab.NS{a, b} {
		labtest.Run(t, ns, fmt.Sprintf("ip addr add 192.168.254.%d/24 dev eth2", i+1))
		labtest.Run(t, ns, "ip link set eth2 up")
	}
	return a, b
}

// track has a namespace track connections from now on.
func track(t *testing.T, ns *lab.NS) {
	t.Helper()
	labtest.Run(t, ns, "nft add table inet filter")
	labtest.Run(t, ns, "nft add chain inet filter input { type filter hook input priority 0 ; }")
	labtest.Run(t, ns, "nft add rule inet filter input ct state established accept")
}

// work has the daemon of a do all that it does after its start: pfsync0 goes and comes
// back, whoever removes it, and a connection reaches the daemon of b, by an insert and,
// after b has forgotten it, by a bulk update; a first packet is held until b knows its state.
func work(t *testing.T, a, b *lab.NS) {
	t.Helper()
	track(t, a)
	track(t, b)
	change(t, a, "destroy")
	change(t, a, "create")
	change(t, a, "up", "syncdev", "eth2", "syncpeer", "192.168.254.2")
	change(t, b, "up", "syncdev", "eth2")
	labtest.Run(t, a, "ip link del pfsync0")
	labtest.Eventually(t, "pfsync0 is missed", func() bool {
		list, err := controltest.NewClient(a).Interfaces(t.Context())
		return err == nil && len(list) == 0
	})
	change(t, a, "create", "up", "syncdev", "eth2", "-syncpeer")
	labtest.Run(t, a, "conntrack -I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 --state ESTABLISHED -t 500 -u SEEN_REPLY,ASSURED")
	arrives := func() bool { return strings.Contains(labtest.Run(t, b, "conntrack -L -p tcp"), "sport=1000") }
	labtest.Eventually(t, "the connection arrives", arrives)
	change(t, b, "destroy")
	labtest.Run(t, b, "conntrack -D -p tcp")
	change(t, b, "create", "up", "syncdev", "eth2")
	labtest.Eventually(t, "the connection arrives by a bulk update", arrives)
	deferred(t, a)
	labtest.Run(t, a, "ip link set pfsync0 mtu 1400")
	labtest.Run(t, a, "ip link set eth2 down")
	labtest.Run(t, a, "ip link set eth2 up")
}

// deferred has the daemon of a hold the first packet of a connection of its own, until the peer acknowledges it.
func deferred(t *testing.T, a *lab.NS) {
	t.Helper()
	state := func() ifconfig.DeferState {
		list, err := controltest.NewClient(a).Interfaces(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			if i.PFSync != nil {
				return i.PFSync.DeferState
			}
		}
		return ""
	}
	change(t, a, "defer")
	if _, err := controltest.NewClient(a).SetSysctl(t.Context(), sysctl.Setting{Name: "net.pfsync.defer_delay", Value: 1000}); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "defer is ready", func() bool { return state() == ifconfig.DeferReady })
	labtest.Eventually(t, "a first packet is held until it is acknowledged", func() bool {
		if err := a.Do(func() error {
			c, err := net.Dial("udp", "192.168.254.2:9")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		all, err := controltest.NewClient(a).Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(all, func(c pfstate.Counter) bool { return c.Name == "deferacked" && c.Value > 0 })
	})
	change(t, a, "-defer")
	labtest.Eventually(t, "defer is off", func() bool {
		return state() == "" && !strings.Contains(labtest.Run(t, a, "nft list ruleset"), "ct state new")
	})
}

// terminate ends the daemon and returns its log.
func terminate(t *testing.T, cmd *exec.Cmd, log *bytes.Buffer) string {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// One that does not end says where its goroutines are.
	hangs := time.AfterFunc(labtest.Patience, func() { cmd.Process.Signal(syscall.SIGQUIT) })
	defer hangs.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v: %s", err, log)
	}
	return log.String()
}

func TestItWorksWithTwoCapabilities(t *testing.T) {
	a, b := cable(t)
	cmdA, logA := daemon(t, a, "--state-dir", t.TempDir())
	cmdB, logB := daemon(t, b, "--state-dir", t.TempDir())
	checkConfined(t, cmdA.Process.Pid)
	work(t, a, b)
	checkConfined(t, cmdA.Process.Pid) // threads made since then too
	for _, log := range []string{terminate(t, cmdA, logA), terminate(t, cmdB, logB)} {
		if strings.Contains(log, "denied") || strings.Contains(log, "not permitted") {
			t.Errorf("something was refused:\n%s", log)
		}
	}
}

// What cannot be given up is named, once, and keeps the daemon from nothing.
func TestPrivilegesThatCannotBeGivenUp(t *testing.T) {
	for _, c := range []struct {
		name, bounding string
		status         func(string) bool
		warning        string
	}{
		{"container without SETPCAP", "-setpcap", func(s string) bool {
			return strings.Contains(s, "CapPrm 3000 CapEff 3000 ") && !strings.Contains(s, "CapBnd 3000 ") && strings.HasSuffix(s, "NoNewPrivs 1")
		}, "capability bounding set: needs CAP_SETPCAP"},
		{"limited from outside, as by the unit file", "-all,+net_admin,+net_raw", func(s string) bool { return s == confinedStatus }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := labtest.NewNS(t)
			cmd, log := launch(t, ns, exec.Command("setpriv", "--bounding-set", c.bounding, "--",
				os.Args[0], "--state-dir", t.TempDir(), "--table", "memory"))
			for s := range privileges(t, cmd.Process.Pid) {
				if !c.status(s) {
					t.Errorf("a thread has %s", s)
				}
			}
			said := terminate(t, cmd, log)
			warnings := 0
			if c.warning != "" || !landlocked() {
				warnings = 1
			}
			if got := strings.Count(said, "level=WARN"); got != warnings || !strings.Contains(said, c.warning) {
				t.Errorf("%d warnings, want %d, of %q:\n%s", got, warnings, c.warning, said)
			}
		})
	}
}

// landlocked tells whether this kernel limits the files of those who ask for it.
func landlocked() bool {
	_, err := landlocksys.LandlockGetABIVersion()
	return err == nil
}

// attempt is something that the daemon tries on SIGUSR1.
type attempt struct {
	name    string
	do      func() error
	refused bool
}

// attempts are tried by the daemon and known to the test. Root may do them all, if
// Landlock does not object: state is the state directory, outside another folder.
func attempts(state, outside string) []attempt {
	read := func(name string) func() error {
		return func() error { _, err := os.ReadFile(name); return err }
	}
	write := func(name string) func() error {
		return func() error { return os.WriteFile(name, []byte("1\n"), 0o600) }
	}
	kept := filepath.Join(state, "kept")
	return []attempt{
		{"read the passwords", read("/etc/shadow"), true},
		{"read of a process", read("/proc/self/status"), true},
		{"read another sysctl", read("/proc/sys/kernel/core_pattern"), true},
		{"write elsewhere", write(filepath.Join(outside, "file")), true},
		{"overwrite a file", write(filepath.Join(outside, "old")), true},
		{"list a folder", func() error { _, err := os.ReadDir(outside); return err }, true},
		{"start a program", exec.Command("/bin/true").Run, true},
		{"open a device", read("/dev/null"), true},
		{"write state", write(kept), false},
		{"rename state", func() error { return os.Rename(kept, kept+".new") }, false},
		{"read state", read(kept + ".new"), false},
		{"remove state", func() error { return os.Remove(kept + ".new") }, false},
		{"write a sysctl of the network", write("/proc/sys/net/ipv4/conf/lo/rp_filter"), false},
		{"read a sysctl of the network", read("/proc/sys/net/core/somaxconn"), false},
		{"open tun", func() error {
			f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return f.Close()
		}, false},
	}
}

// outcome is how an attempt is reported.
func outcome(name string, err error) string {
	switch {
	case err == nil:
		return name + ": done"
	case errors.Is(err, syscall.EACCES):
		return name + ": refused"
	}
	return fmt.Sprintf("%s: %v", name, err)
}

// The folders of attempts, told to the daemon.
const (
	stateFolder   = "PFSYNCD_TEST_STATE"
	outsideFolder = "PFSYNCD_TEST_OUTSIDE"
)

// attemptOnSignal makes the daemon try the attempts on SIGUSR1 and report on its
// standard output.
func attemptOnSignal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	go func() {
		for range c {
			for _, a := range attempts(os.Getenv(stateFolder), os.Getenv(outsideFolder)) {
				fmt.Println(outcome(a.name, a.do()))
			}
			fmt.Println("time zone: " + time.Now().Format("MST"))
		}
	}()
}

func TestFilesOutOfReach(t *testing.T) {
	ns := labtest.NewNS(t)
	state, outside := t.TempDir(), t.TempDir()
	zone := filepath.Join(outside, "zone")
	for name, content := range map[string][]byte{zone: zoneFile("ABC", 9*60*60), filepath.Join(outside, "old"): nil} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing is logged, and no time needed, before it is confined.
	cmd := exec.Command(os.Args[0], "--state-dir", state, "--table", "memory", "--log-level", "warn")
	cmd.Env = append(os.Environ(), stateFolder+"="+state, outsideFolder+"="+outside, "TZ="+zone)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	_, log := launch(t, ns, cmd)
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, a := range attempts(state, outside) {
		var err error
		if a.refused && landlocked() {
			err = syscall.EACCES
		}
		want = append(want, outcome(a.name, err))
	}
	want = append(want, "time zone: ABC")
	for lines := bufio.NewScanner(stdout); len(got) < len(want) && lines.Scan(); {
		got = append(got, lines.Text())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the daemon could do (-want +got):\n%s", diff)
	}
	// The kernel makes inodes of /proc anew, and the rule with them would be lost.
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pinned := false
	for _, link := range links {
		name, err := os.Readlink(link)
		pinned = pinned || err == nil && name == "/proc/sys/net"
	}
	if pinned != landlocked() {
		t.Errorf("/proc/sys/net is open: %t, want %t", pinned, landlocked())
	}
	said := terminate(t, cmd, log)
	if warned := strings.Contains(said, "file access is not limited"); warned == landlocked() {
		t.Errorf("warns of missing Landlock: %t; kernel has it: %t:\n%s", warned, landlocked(), said)
	}
}

// zoneFile is a time zone as tzfile(5) has it, version 1: one type, no transitions.
func zoneFile(name string, offset int32) []byte {
	b := append([]byte("TZif"), make([]byte, 16)...)
	for _, count := range []uint32{0, 0, 0, 0, 1, uint32(len(name) + 1)} {
		b = binary.BigEndian.AppendUint32(b, count)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(offset))
	b = append(b, 0, 0)
	return append(b, name+"\x00"...)
}
