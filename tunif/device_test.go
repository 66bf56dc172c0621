package tunif_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif"
)

// openInChild makes this test binary open a device without any capability and print the error.
const openInChild = "TUNIF_TEST_OPEN"

func TestMain(m *testing.M) {
	if name := os.Getenv(openInChild); name != "" {
		runtime.LockOSThread() // capabilities are a thread's
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		_, err := tunif.Open(name, slog.New(slog.DiscardHandler))
		fmt.Print(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOpenIsDownAndCloseRemoves(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	s := d.Status()
	if want := (tunif.Status{Name: "pfsync0", Index: s.Index, MTU: 1500}); s != want || s.Index == 0 {
		t.Errorf("status %+v, want %+v", s, want)
	}
	shown := labtest.Run(t, ns, "ip -d link show pfsync0")
	for _, want := range []string{"state DOWN", "qlen 32", "tun type tun pi off vnet_hdr off persist off"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in %s", want, shown)
		}
	}
	if addrs := labtest.Run(t, ns, "ip addr show pfsync0"); strings.Contains(addrs, "inet") {
		t.Errorf("has an address: %s", addrs)
	}
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	if err != nil || strings.Contains(string(out), "tun") {
		t.Errorf("a child has the device: %v\n%s", err, out)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := ns.Run(t.Context(), "ip", "link", "show", "pfsync0"); err == nil {
		t.Errorf("after Close: %s", out)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := d.SetUp(true); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("SetUp after Close: %v", err)
	}
	if err := d.Write(frame(own, peer, "x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ns := labtest.NewNS(t)
	newDevice(t, ns)
	labtest.Run(t, ns, "ip link add taken type veth peer name far")
	tests := []struct{ name, want string }{
		{"pfsync0", "pfsync0: in use by another process; stop the other pfsyncd first: ioctl: device or resource busy"},
		{"taken", "taken: an interface of this name exists and is no such tun device; delete or rename it first: ioctl: invalid argument"},
		{"", "interface name is empty"},
		{"averyveryverylongname0", `"averyveryverylongname0": interface name is longer than 15 bytes`},
		{"pfsync/0", `"pfsync/0": character '/' cannot be in an interface name`},
		{"pfsync 0", `"pfsync 0": character ' ' cannot be in an interface name`},
		{"pfsync%d", `"pfsync%d": character '%' cannot be in an interface name`},
		{"all", `"all": not an interface name`},
	}
	for _, tt := range tests {
		d, err := open(ns, tt.name, slog.New(slog.DiscardHandler))
		if err == nil {
			d.Close()
			t.Errorf("%q: opened", tt.name)
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, err, tt.want)
		}
	}
}

// Root is not enough.
func TestOpenWithoutPrivilege(t *testing.T) {
	ns := labtest.NewNS(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), openInChild+"=pfsync0")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := "pfsync0: needs CAP_NET_ADMIN: ioctl: operation not permitted"; out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

func TestTakesOverWhatWasLeft(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "ip tuntap add pfsync0 mode tun")
	labtest.Run(t, ns, "ip link set pfsync0 up")
	d := newDevice(t, ns)
	if d.Status().Up || !strings.Contains(labtest.Run(t, ns, "ip link show pfsync0"), "state DOWN") {
		t.Error("is up")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := ns.Run(t.Context(), "ip", "link", "show", "pfsync0"); err == nil {
		t.Errorf("after Close: %s", out)
	}
}

func TestSetUpAndMTU(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	setUp(t, d)
	if !d.Status().Up || !strings.Contains(labtest.Run(t, ns, "ip link show pfsync0"), ",UP,") {
		t.Error("not up")
	}
	for _, mtu := range []int{68, 9000, 65535, 1400} {
		if err := d.SetMTU(mtu); err != nil {
			t.Fatal(err)
		}
		if shown := labtest.Run(t, ns, "ip link show pfsync0"); d.Status().MTU != mtu || !strings.Contains(shown, fmt.Sprintf("mtu %d ", mtu)) {
			t.Errorf("mtu %d: status %+v, %s", mtu, d.Status(), shown)
		}
	}
	for _, mtu := range []int{67, 65536, -1} {
		want := fmt.Sprintf("pfsync0: mtu %d: must be from 68 to 65535", mtu)
		if err := d.SetMTU(mtu); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := d.SetUp(false); err != nil {
		t.Fatal(err)
	}
	if s := d.Status(); s.Up || s.MTU != 1400 {
		t.Errorf("%+v", s)
	}
	if got := <-d.Events(); got != d.Status() {
		t.Errorf("the latest event is %+v, want %+v", got, d.Status())
	}
}

func TestOthersChangeIt(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	stop := labtest.Background(t, d.Run)
	labtest.Run(t, ns, "ip link set pfsync0 up")
	await(t, d, "up", func(s tunif.Status) bool { return s.Up })
	labtest.Run(t, ns, "ip link set pfsync0 mtu 1400")
	await(t, d, "mtu 1400", func(s tunif.Status) bool { return s.MTU == 1400 })
	labtest.Run(t, ns, "ip link set pfsync0 down")
	await(t, d, "down", func(s tunif.Status) bool { return !s.Up })
	labtest.Run(t, ns, "ip link set pfsync0 name other0")
	await(t, d, "renamed", func(s tunif.Status) bool { return s.Name == "other0" })
	setUp(t, d)
	if err := d.Write(frame(peer, own, "x")); err != nil {
		t.Errorf("Write after a rename: %v", err)
	}

	labtest.Run(t, ns, "ip link del other0")
	await(t, d, "gone", func(s tunif.Status) bool { return s.Gone && !s.Up })
	if err := d.Write(frame(peer, own, "x")); err != tunif.ErrGone || counter(d, "tun_write_gone") != 1 {
		t.Errorf("Write: %v, want %v, counted %d", err, tunif.ErrGone, counter(d, "tun_write_gone"))
	}
	if err := d.SetUp(true); !errors.Is(err, tunif.ErrGone) {
		t.Errorf("SetUp: %v, want %v", err, tunif.ErrGone)
	}
	stop()
}

func TestRunEnds(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	setUp(t, d)
	labtest.Background(t, d.Run)()
	labtest.Background(t, d.Run)() // and may be run again
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run when the device was closed: %v", err)
	}
}

func TestWarnsOfLooseReversePathFilter(t *testing.T) {
	ns := labtest.NewNS(t)
	for value, warned := range map[string]bool{"0": false, "1": false, "2": true} {
		if err := ns.Sysctl("net/ipv4/conf/all/rp_filter", value); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		d, err := open(ns, "pfsync0", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		if got := strings.Contains(log.String(), "level=WARN"); got != warned {
			t.Errorf("all.rp_filter=%s: logged %q", value, &log)
		}
	}
}

func TestSysctls(t *testing.T) {
	ns := labtest.NewNS(t)
	for _, s := range []string{"ipv4/ip_forward", "ipv4/conf/default/accept_local", "ipv4/conf/default/log_martians"} {
		if err := ns.Sysctl("net/"+s, "1"); err != nil {
			t.Fatal(err)
		}
	}
	newDevice(t, ns)
	for name, want := range map[string]string{
		"ipv6/conf/pfsync0/disable_ipv6": "1", "ipv4/conf/pfsync0/rp_filter": "1", "ipv4/conf/pfsync0/forwarding": "0",
		"ipv4/conf/pfsync0/accept_local": "0", "ipv4/conf/pfsync0/log_martians": "0",
		"ipv4/conf/default/forwarding": "1", // the others stay as they are
	} {
		var got []byte
		err := ns.Do(func() error {
			var err error
			got, err = os.ReadFile("/proc/sys/net/" + name)
			return err
		})
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %q, %v; want %s", name, got, err, want)
		}
	}
}
