package e2e_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// What is typed wrong is answered by the program, with the place, what is wrong, and what would be
// right; the status is 1, and nothing is changed: not by the words before, nor by the other lines.
func TestWhatIsTypedWrongChangesNothing(t *testing.T) {
	l := newLab(t)
	b := newBox(t, l.A)
	defer b.stop(t)
	b.stays(t, "pfsyncd")
	b.until(t, "ifconfig pfsync0 up syncdev sis2")
	b.write(t, "/etc/hostname.sis0", "inet 10.0.0.9 255.255.255.0 NONE\nmtuu 1400\n")
	b.write(t, "/etc/hostname.pfsync0", "maxupd 7\n\nmaxupd 300\n")
	b.write(t, "/etc/pf.conf", "pass proto udp keep state (no-sync)\npass proto tpc keep state (no-sync)\n")
	b.write(t, "/etc/rc.conf", "ifconfig_sis0=\"mtu 1300\"\nifconfig_sis1=$(reboot)\n")
	const look = "ip address; ip route; ifconfig pfsync0 | grep -v -e status: -e syncok: -e peer:; pfctl -sr; pfsyncctl sysctl -a | grep -v demotion=; cat /proc/sys/net/ipv4/ip_forward"
	before, err := b.run(t, look, "")
	if err != nil {
		t.Fatalf("%v: %s", err, before)
	}
	for _, c := range []struct{ command, place, remedy string }{
		{"ifconfig sis0 mtu 1400 upp", "ifconfig: upp: ", "did you mean 'up'?"},
		{"ifconfig sis0 mtu 1400 trunkport sis1", "ifconfig: trunkport: ", "use ip link"},
		{"ifconfig sis0 inet 10.0.0.9/33", "ifconfig: 10.0.0.9/33: ", "32"},
		{"ifconfig sis9 mtu 1400", "ifconfig: sis9: ", "no such interface"},
		{"ifconfig pfsync0 maxupd 64 synccdev sis1", "ifconfig: synccdev: ", "did you mean 'syncdev'?"},
		{"ifconfig pfsync0 maxupd 64 syncdev sis9", "ifconfig: pfsync0: ", "sis9: no such interface"},
		{"ifconfig pfsync0 maxupd 300", "ifconfig: maxupd 300: ", "0 to 255"},
		{"ifconfig pfsync0 syncpeer syncdev sis1", "ifconfig: 'syncpeer' ", "syncdev"},
		{"ifconfig -x", "ifconfig: -x: ", "usage:"},
		{"netstart sis0", "netstart: /etc/hostname.sis0:2: mtuu: ", "did you mean 'mtu'?"},
		{"netstart pfsync0", "netstart: /etc/hostname.pfsync0:3: maxupd 300: ", "0 to 255"},
		{"netstart -f /etc/rc.conf", "netstart: /etc/rc.conf:2: ", "write the value itself"},
		{"netstart -q", "netstart: ", "[-n]"},
		{"pfctl -f /etc/pf.conf", "/etc/pf.conf:2:12: ", "write one of /etc/protocols"},
		{"pfctl -k nosuchhost", "pfctl: ", "nosuchhost"},
		{"pfctl -s staates", "pfctl: ", "states"},
		{"pfsyncctl sysctl net.inet.carp.preempt=1 net.inet.carp.log=8", "pfsyncctl: net.inet.carp.log: ", "0 to 7"},
		{"pfsyncctl sysctl net.inet.carp.premept=1", "pfsyncctl: ", "preempt"},
		{"pfsyncctl bulkk", "pfsyncctl: ", "bulk"},
		{"pfsyncdump -i sis9", "pfsyncdump: ", "sis9"},
		{"pfsyncdump -r /nosuch", "pfsyncdump: ", "/nosuch"},
		{"pfsyncdump -i sis2 act insert", "pfsyncdump: ", "ins"},
		{"pfsyncd --hostid xyz", "pfsyncd: ", "hex"},
		{"pfsyncd --table nft", "pfsyncd: table nft: ", "conntrack or memory"},
		{"pfsyncd --tabel memory", "pfsyncd: ", "tabel"},
		{"pfsyncd", "pfsyncd: ", "already running"},
	} {
		out, err := b.run(t, c.command, "")
		status := 0
		if err != nil {
			status = exitStatus(t, err)
		}
		if status != 1 || !strings.HasPrefix(out, c.place) || !strings.Contains(strings.TrimPrefix(out, c.place), c.remedy) {
			t.Errorf("%s: status %d, %q, want 1 and %s... %s", c.command, status, out, c.place, c.remedy)
		}
		if after, err := b.run(t, look, ""); err != nil || after != before {
			t.Fatalf("%s: %v, changed to %s from %s", c.command, err, after, before)
		}
	}
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}
