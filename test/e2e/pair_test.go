package e2e_test

import (
	"net"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/man"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// stateful tracks connections, as the rules of the pair in pfsync(4) must; its table is loaded beside it.
const stateful = "flush ruleset; table inet fw { chain forward { type filter hook forward priority filter; policy accept; ct state invalid drop; }; }"

// The files of pfsync(4), as the page has them, make two firewalls of two machines without any
// configuration, and netstart run again changes nothing. That is the customer's document.
func TestThePairOfTheManual(t *testing.T) {
	pages, err := man.Pages()
	if err != nil {
		t.Fatal(err)
	}
	files, boot := map[string]string{}, ""
	for _, e := range man.Examples(pages["pfsync.4"]) {
		if e.File != "" {
			files[e.File] = e.Text
		}
		if strings.HasSuffix(e.Text, "# netstart\n") {
			boot = e.Text
		}
	}
	for _, name := range []string{"hostname.sis0", "hostname.sis1", "hostname.sis2", "hostname.carp0", "hostname.carp1", "hostname.pfsync0", "pf.conf", "nftables.conf", "sysctl.conf"} {
		if files["/etc/"+name] == "" {
			t.Errorf("the page has no /etc/%s", name)
		}
	}
	if boot == "" {
		t.Fatal("the page does not say what is run at boot")
	}

	l := newLab(t)
	own := []string{".254", ".253"} // the addresses of A and of B
	boxes := []*box{newBox(t, l.A), newBox(t, l.B)}
	for i, b := range boxes {
		defer b.stop(t)
		for _, dev := range []string{lab.Outside, lab.Inside, lab.Sync} {
			labtest.Run(t, b.f.NS, "ip address flush dev "+dev)
		}
		for name, text := range files {
			// The sync network itself is 192.168.254.0.
			text = strings.NewReplacer("192.168.254.254", "192.168.254"+own[i], ".254 ", own[i]+" ").Replace(text)
			if i == 1 && strings.Contains(name, "carp") {
				text = strings.TrimSuffix(text, "\n") + " \\\nadvskew 100\n"
			}
			b.write(t, name, text)
		}
		if out, err := b.run(t, `nft "$0"`, stateful); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		if out, err := b.carryOut(t, boot, ""); err != nil || out != "" {
			t.Fatalf("%s: %v: %s", b.f.Name, err, out)
		}
	}
	for i, b := range boxes {
		for dev, network := range map[string]string{lab.Outside: "10.0.0", lab.Inside: "192.168.0", lab.Sync: "192.168.254"} {
			if out := labtest.Run(t, b.f.NS, "ip -4 address show dev "+dev); strings.Count(out, "inet ") != 1 || !strings.Contains(out, "inet "+network+own[i]+"/24 ") {
				t.Errorf("%s has %s", b.f.Name, out)
			}
		}
		b.until(t, synced)
		if out := pfctl(t, b.f, "-sr"); out != "pass quick on sis2 proto pfsync all keep state (no-sync)\n"+
			"pass on sis0 proto carp all keep state (no-sync)\npass on sis1 proto carp all keep state (no-sync)\n" {
			t.Errorf("pfctl -sr: %s", out)
		}
		b.until(t, "test $(pfsyncctl sysctl -n net.inet.carp.preempt) = 1")
		if out, err := b.run(t, "pfsyncctl check", ""); err != nil || strings.Contains(out, "warning: ") {
			t.Errorf("%s: pfsyncctl check: %v: %s", b.f.Name, err, out)
		}
	}

	advertise(t, l.A, "10.0.0.77") // before the others
	open(t, l.A, "10.128.0.1", "10.128.0.2")
	open(t, l.B, "10.128.0.3")
	bothHold(t, l, "10.128.0.1", "10.128.0.2", "10.128.0.3")
	if out := pfctl(t, l.B, "-ss", "--host", "10.128.0.1"); out != "all tcp 192.0.2.1:80 <- 10.128.0.1:1024       ESTABLISHED:ESTABLISHED\n" {
		t.Errorf("fwB shows of fwA's state: %s", out)
	}
	if out := labtest.Run(t, l.A.NS, "conntrack -L"); !strings.Contains(out, "10.0.0.77") {
		t.Errorf("fwA does not track carp: %s", out)
	}
	if out := labtest.Run(t, l.B.NS, "conntrack -L"); strings.Contains(out, "10.0.0.77") {
		t.Errorf("fwA has shared carp: %s", out)
	}
	elected := func() {
		boxes[0].until(t, "ifconfig carp0 | grep 'status: master' && ifconfig carp1 | grep 'status: master'")
		boxes[1].until(t, "ifconfig carp0 | grep 'status: backup' && ifconfig carp1 | grep 'status: backup'")
	}
	elected()
	for _, b := range boxes {
		// What goes over sis2 is not tracked.
		if out := labtest.Run(t, b.f.NS, "conntrack -L"); strings.Contains(out, "224.0.0.240") || strings.Contains(out, " 240 ") {
			t.Errorf("%s tracks its own packets: %s", b.f.Name, out)
		}
		const look = "ip address | sed 's/_lft [0-9]*sec/_lft/g'; ip route; ifconfig pfsync0 | grep -v peer; pfsyncctl stats -a | grep -i bulk"
		before, err := b.run(t, look, "")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := b.run(t, "netstart", ""); err != nil || out != "" {
			t.Errorf("%s: netstart again: %v: %s", b.f.Name, err, out)
		}
		if after, err := b.run(t, look, ""); err != nil || after != before {
			t.Errorf("%s: netstart again: %v, before: %s after: %s", b.f.Name, err, before, after)
		}
	}
	elected()
}

// advertise has a firewall send a packet of carp's protocol, which is tracked.
func advertise(t *testing.T, f *lab.Firewall, to string) {
	t.Helper()
	err := f.Do(func() error {
		c, err := net.Dial("ip4:112", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(make([]byte, 36))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
