package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// vrrpPair is two firewalls whose addresses keepalived moves, by the files in share/keepalived as
// they are, each where `make install` puts it.
type vrrpPair struct {
	*lab.Lab
	t     *testing.T
	share string
	vrrp  map[*lab.Firewall]*exec.Cmd
}

// asInstalled has the programs $1 and the files $2 in /usr/local, and runs the rest there. keepalived
// and what it starts die with it, at once: they have process ids of their own.
const asInstalled = `set -e
mount -t tmpfs -o mode=755 tmpfs /usr/local
mkdir -p /usr/local/sbin /usr/local/libexec/pfsync
mount --bind "$1" /usr/local/sbin
cp "$2/pfsync-keepalived" /usr/local/libexec/pfsync
shift 2
exec "$@"`

func newVRRPPair(t *testing.T) *vrrpPair {
	t.Helper()
	if err := lab.Require("keepalived", "unshare"); err != nil {
		t.Fatal(err)
	}
	share, err := filepath.Abs("../../share/keepalived")
	if err != nil {
		t.Fatal(err)
	}
	p := &vrrpPair{Lab: newLabWith(t, lab.Config{Bare: true}), t: t, share: share, vrrp: map[*lab.Firewall]*exec.Cmd{}}
	t.Cleanup(func() {
		for f := range p.vrrp {
			p.killVRRP(f)
			if t.Failed() {
				t.Logf("%s's keepalived:\n%s", f.Name, p.vrrpLog(f))
			}
		}
	})
	return p
}

func (p *vrrpPair) file(f *lab.Firewall, name string) string {
	return filepath.Join(p.Dir, strings.TrimPrefix(f.Name[strings.LastIndex(f.Name, "-"):], "-")+"-"+name)
}

func (p *vrrpPair) vrrpLog(f *lab.Firewall) string {
	b, err := os.ReadFile(p.file(f, "keepalived.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// address gives f its own addresses, as at boot.
func (p *vrrpPair) address(f *lab.Firewall) {
	own := ".254"
	if f == p.B {
		own = ".253"
	}
	for dev, network := range map[string]string{lab.Outside: "10.0.0", lab.Inside: "192.168.0", lab.Sync: "192.168.254"} {
		labtest.Run(p.t, f.NS, "ip address flush dev "+dev)
		labtest.Run(p.t, f.NS, "ip address add "+network+own+"/24 dev "+dev)
	}
}

func (p *vrrpPair) startVRRP(f *lab.Firewall) {
	p.t.Helper()
	example, err := os.ReadFile(filepath.Join(p.share, "keepalived.conf"))
	if err != nil {
		p.t.Fatal(err)
	}
	if f == p.B { // what the comments of the example say
		for _, change := range [][2]string{{"router_id fwA", "router_id fwB"}, {"priority 110", "priority 100"}} {
			if !strings.Contains(string(example), change[0]) {
				p.t.Fatalf("the example has no %s", change[0])
			}
			example = []byte(strings.ReplaceAll(string(example), change[0], change[1]))
		}
	}
	conf, log := p.file(f, "keepalived.conf"), p.file(f, "keepalived.log")
	if err := os.WriteFile(conf, example, 0o600); err != nil {
		p.t.Fatal(err)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", asInstalled, "sh", bin, p.share,
		"keepalived", "-n", "-l", "-D", "-P", "-f", conf, "-p", p.file(f, "keepalived.pid"), "-r", p.file(f, "vrrp.pid"))
	cmd.Stdout, cmd.Stderr = out, out
	if err := f.Start(cmd); err != nil {
		p.t.Fatal(err)
	}
	p.vrrp[f] = cmd
}

func (p *vrrpPair) killVRRP(f *lab.Firewall) {
	p.vrrp[f].Process.Kill()
	p.vrrp[f].Wait()
	delete(p.vrrp, f)
	for _, pid := range []string{"keepalived.pid", "vrrp.pid"} {
		os.Remove(p.file(f, pid))
	}
}

func (p *vrrpPair) startPfsync(f *lab.Firewall) {
	p.t.Helper()
	startDaemon(p.t, f)
	if err := f.Netstart(p.t.Context(), "pfsync0", "up syncdev "+lab.Sync); err != nil {
		p.t.Fatal(err)
	}
}

// serves tells how many of the two shared addresses f has.
func (p *vrrpPair) serves(f *lab.Firewall) int {
	out := labtest.Run(p.t, f.NS, "ip -4 address show")
	return strings.Count(out, "inet "+lab.SharedOutside+"/") + strings.Count(out, "inet "+lab.SharedInside+"/")
}

// master waits until f has both addresses, and the other, if it lives, none.
func (p *vrrpPair) master(f *lab.Firewall) {
	p.t.Helper()
	eventually(p.t, f.Name+" has the addresses", func() error {
		for _, one := range []*lab.Firewall{p.A, p.B} {
			want := 0
			if one == f {
				want = 2
			}
			if n := p.serves(one); p.vrrp[one] != nil && n != want {
				return fmt.Errorf("%s has %d of 2, want %d; its keepalived: %s", one.Name, n, want, p.vrrpLog(one))
			}
		}
		return nil
	})
}

// demoted is pfsyncctl's exit status.
func (p *vrrpPair) demoted(f *lab.Firewall, number string) int {
	_, err := f.Run(p.t.Context(), f.Program("pfsyncctl"), "demotion", "-q", number)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	p.t.Fatal(err)
	return -1
}

// Who keeps keepalived has the same: connections live through a power cut of A, and through
// its return with an empty table, for it takes over when it has the states, not before.
func TestKeepalivedMovesTheAddresses(t *testing.T) {
	p := newVRRPPair(t)
	for _, f := range []*lab.Firewall{p.A, p.B} {
		p.address(f)
		p.startPfsync(f)
		p.startVRRP(f)
	}
	p.master(p.A)
	waitSynced(t, p.A)
	waitSynced(t, p.B)
	tr := startTraffic(t, p.Lab)
	add(t, tr, 40, traffic.TCP, traffic.Service, traffic.UDP, traffic.ICMP)
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, p.A, p.B) })

	p.killVRRP(p.A)
	if err := p.Kill(p.A); err != nil {
		t.Fatal(err)
	}
	p.master(p.B)
	flowing(t, tr)
	eventually(t, "fwB serves though pfsync demotes it, for its cable leads nowhere", func() error {
		if n := p.demoted(p.B, "0"); n != 1 {
			return fmt.Errorf("pfsyncctl demotion -q: %d", n)
		}
		return nil
	})
	p.master(p.B)
	add(t, tr, 5, traffic.TCP) // fwB's own

	// A returns: keepalived begins before there is a pfsyncd, as bad as it can be.
	labtest.Run(t, p.A.NS, "conntrack -F")
	p.address(p.A)
	if err := p.Reconnect(t.Context(), p.A); err != nil {
		t.Fatal(err)
	}
	p.startVRRP(p.A)
	early := time.Now()
	eventually(t, "fwA waits", func() error {
		if n := p.serves(p.A); n > 0 {
			t.Fatalf("fwA has %d addresses and no states; keepalived: %s", n, p.vrrpLog(p.A))
		}
		if left := 6*time.Second - time.Since(early); left > 0 { // it would take over within 4
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	if n := p.demoted(p.A, "1"); n != 2 {
		t.Errorf("pfsyncctl demotion -q without pfsyncd: %d", n)
	}
	p.startPfsync(p.A)
	eventually(t, "fwA takes over", func() error {
		if p.serves(p.A) < 2 {
			return errors.New("it does not yet")
		}
		if n := p.demoted(p.A, "1"); n != 0 {
			t.Fatalf("it has, and demotion -q is %d", n)
		}
		return nil
	})
	p.master(p.A)
	flowing(t, tr)

	// B's keepalived has told its pfsyncd that it carries nothing any more.
	eventually(t, "fwB has yielded", func() error {
		c, err := p.B.Counters(t.Context())
		if err == nil && c["loosened"] == 0 {
			err = errors.New("nothing is loosened")
		}
		return err
	})
	for _, r := range tr.Stop(traffic.Window{}) {
		if r.Resets > 0 || len(r.Errors) > 0 {
			t.Errorf("%v: %d resets, lost: %v", r.Kind, r.Resets, r.Errors)
		}
	}
}
