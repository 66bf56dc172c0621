package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/man"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// check is how an example of a manual page is tried: by carrying it out on fwA, which has a
// pfsyncd, or by another test, which takes every example of its page.
type check struct {
	by      string // that test: its file and name
	before  string // for the shell, on fwA, tried until it succeeds
	alone   bool   // no pfsyncd runs on fwA
	fails   bool   // its last command exits with 1
	command string // what to run when the example is not made of commands; $0 is the example
	want    string // of what is printed, a regular expression
	after   string // for the shell, tried until it succeeds
}

// synced has fwA and fwB synchronise.
const synced = "ifconfig pfsync0 up syncdev sis2 && ifconfig pfsync0 | grep 'syncok: 1' && ifconfig pfsync0 | grep ' insync: yes'"

// pair is by the test of pfsync(4)'s files.
var pair = check{by: "test/e2e/pair_test.go TestThePairOfTheManual"}

// checks are the examples of each page by their first line, or by all of them where two begin alike;
// "" is every one of a page.
var checks = map[string]map[string]check{
	"hostname.if.5": {"": {by: "ifconfig/hostname/man_test.go TestExamplesOfTheManual"}},
	"pf.conf.5": {
		"pass quick on { sis2 } proto pfsync keep state (no-sync)":   {by: "ifconfig/pfconf/man_test.go TestExamplesOfTheManualParse"},
		`monitors = "{ 192.0.2.10 192.0.2.11 }"`:                     {by: "ifconfig/pfconf/man_test.go TestExamplesOfTheManualParse"},
		`servers = "{ 198.51.100.80 198.51.100.25 }"`:                {by: "ifconfig/pfconf/man_test.go TestExamplesOfTheManualParse"},
		"set no-sync mark 0x10000/0x10000":                           {by: "ifconfig/pfconf/man_test.go TestExamplesOfTheManualParse"},
		`iifname "dmz0" ct state new ct mark set ct mark or 0x10000`: {command: `nft insert rule inet filter forward "$0"`, after: "nft list chain inet filter forward | grep dmz0"},
	},
	"pfctl.8":      {"": {by: "cmd/pfctl/man_test.go TestExamplesOfTheManual"}},
	"pfsyncdump.8": {"": {by: "cmd/pfsyncdump/examples_test.go TestExamplesOfTheManualPage"}},
	"ifconfig.8": {
		"# (umask 077; openssl rand -hex 32 >/etc/pfsync.key)": {after: "test $(stat -c %a%s /etc/pfsync.key) = 60065"},
		"# (umask 077; openssl rand -hex 32 >/etc/pfsync.key)\n# ifconfig pfsync0 key /etc/pfsync.key": {
			before: "ifconfig pfsync0 syncdev sis2; rm -f /etc/pfsync.key", after: "ifconfig pfsync0 | grep 'key: on'"},
		"pfsync0: flags=41<UP,RUNNING> mtu 1500": {
			before: synced + "; nsenter --net --target $FWB nft insert rule inet filter input meta l4proto 240 drop; ifconfig pfsync0 | grep problem", command: "ifconfig pfsync0",
			after: "nsenter --net --target $FWB nft flush chain inet filter input; nsenter --net --target $FWB nft add rule inet filter input accept"},
		"# ifconfig fxp0 inet 172.19.13.1/28": {
			before: "ip link add fxp0 type veth peer name fxp1; ip link set fxp1 up",
			after:  "ip address show dev fxp0 | grep 'inet 172.19.13.1/28 brd 172.19.13.15 ' && ip address show dev fxp0 | grep 'inet 172.19.13.2/32 '"},
		"# ifconfig pfsync0 syncdev fxp0 up":                   {before: "ifconfig pfsync0 destroy; ! ip link show dev pfsync0", after: "ifconfig pfsync0 | grep 'flags=41<UP,RUNNING>' && ifconfig pfsync0 | grep 'syncdev: fxp0 '"},
		"# ifconfig pfsync0 syncpeer ff12::f0 syncdev fxp0 up": {after: "ifconfig pfsync0 | grep 'syncdev: fxp0 syncpeer: ff12::f0 '"},
		"# ifconfig pfsync0 syncpeer 10.0.0.2 syncdev enc0": {
			before: "ip link add enc0 type veth peer name enc1", after: "ifconfig pfsync0 | grep 'syncdev: enc0 syncpeer: 10.0.0.2 '"},
		"$ ifconfig pfsync0 | grep -q 'syncok: 1'": {before: synced},
		"$ ifconfig pfsync0 | grep 'problem: '":    {before: synced, fails: true, want: "^$"},
	},
	"netstart.8": {
		"# netstart -n pfsync0":              {before: "echo up syncdev sis2 >/etc/hostname.pfsync0; chmod 640 /etc/hostname.pfsync0", after: "ifconfig pfsync0 | grep 'syncdev: sis2 '"},
		"# systemctl enable pfsync-netstart": {after: "test -L /etc/systemd/system/multi-user.target.wants/pfsync-netstart.service"},
		`network_interfaces="lo0 sis0 sis2"`: {before: "rm -f /etc/hostname.*", command: "netstart -f /etc/rc.conf", want: "^Enabling pfsync.\n$", after: "ifconfig pfsync0 | grep 'syncdev: sis2 '"},
		"# echo 'NETSTART_OPTIONS=-f /etc/rc.conf' >/etc/default/pfsync-netstart": {
			after: "netstart $(sed -n s/NETSTART_OPTIONS=//p /etc/default/pfsync-netstart) && ifconfig pfsync0 | grep 'syncdev: sis2 '"},
	},
	"pfsyncctl.8": {
		"# pfsyncctl check":                  {before: synced, want: "(?m)^nothing is wrong$"},
		"# pfsyncctl check -v":               {before: synced, want: "(?m)^ok: peers: .* is heard, and hears us"},
		"# pfsyncctl print-rules | nft -f -": {before: synced, want: "^$", after: "nft list table inet pfsync_allow | grep 'iifname \"sis2\" meta l4proto 240'; " + synced + "; pfsyncctl check | grep -v tracked"},
		"# pfsyncctl diff || pfsyncctl bulk": {before: synced, want: `(?m)\bequal\b`},
		"# pfsyncctl save":                   {before: synced + "; rm -f /etc/hostname.pfsync0", want: "(?m)^up syncdev sis2$|syncdev sis2", after: "netstart -n pfsync0 | grep 'syncdev sis2'"},
		"# pfsyncctl stats":                  {before: synced, want: `(?m)^ +[1-9]\d*  ipackets `},
		"# pfsyncctl stats --bsd":            {before: synced, want: `(?m)^\t\d+ packets? received \(IPv4\)$`},
		"$ pfsyncctl peers >/dev/null 2>&1 || logger -p daemon.err 'pfsync: not in sync'": {want: "^logged -p daemon.err pfsync: not in sync\n$", after: synced + " && pfsyncctl peers"},
		"# pfsyncctl sysctl net.inet.carp.preempt=1":                                      {before: ": >/etc/sysctl.conf", after: "grep -qx net.inet.carp.preempt=1 /etc/sysctl.conf && netstart -n | grep -qx 'pfsyncctl sysctl net.inet.carp.preempt=1'"},
	},
	"pfsyncd.8": {
		"# pfsyncd --table memory &":                                     {by: "test/e2e/observer_test.go TestObserverOfAPair"},
		"DefaultDependencies=no":                                         {by: "cmd/pfsyncd/unit_test.go TestUnitFileIsUnderstood"},
		"# pfsyncd --log-level debug":                                    {alone: true, after: "ifconfig pfsync0 | grep 'syncdev: sis2 '"},
		"# ip netns exec fwA pfsyncd --state-dir /var/lib/pfsync/fwA":    {alone: true, before: "mkdir -p /var/lib/pfsync && ip netns add fwA", after: "test -d /var/lib/pfsync/fwA && ip netns exec fwA ifconfig pfsync0"},
		"# pfsyncd --metrics 192.168.1.254:9240":                         {alone: true, before: "ip address replace 192.168.1.254/24 dev sis1", want: `(?m)^pfsync_up 0$`},
		"$ curl --abstract-unix-socket pfsyncd http://localhost/metrics": {want: `(?m)^pfsync_up 0$`},
	},
	"carp.4": {
		"# ifconfig carp0 inet 10.0.0.1/24 vhid 1 pass foo advskew 100": {
			before: "ip address replace 10.0.0.254/24 dev sis0", after: "ifconfig carp0 | grep 'carp: MASTER carpdev sis0 vhid 1 advbase 1 advskew 100' && ip address show dev carp0 | grep 'inet 10.0.0.1/24 '"},
		"# ifconfig -g carp carpdemote 128": {want: `(?m)^\t128 carpdemote$`, after: "pfsyncctl demotion | grep '^carp: demotion 0$'"},
		"# pfsyncctl monitor | while read time if vhid n old to new why; do logger -t carp \"$if is $new $why\"; done": {by: "cmd/pfsyncctl/monitor_test.go TestMonitorGoesOnWithAnotherDaemon"},
	},
	"pfsync.4": {
		"inet 10.0.0.1 255.255.255.0 10.0.0.255 vhid 1 pass foo":       pair,
		"inet 192.168.0.1 255.255.255.0 192.168.0.255 vhid 2 pass bar": pair,
		"inet 10.0.0.254 255.255.255.0 NONE":                           pair,
		"inet 192.168.0.254 255.255.255.0 NONE":                        pair,
		"inet 192.168.254.254 255.255.255.0 NONE":                      pair,
		"up syncdev sis2": pair,
		"pass quick on { sis2 } proto pfsync keep state (no-sync)": pair,
		"table inet pfsync_allow {":                                pair,
		"# nft -f /etc/nftables.conf":                              pair,
		"net.inet.carp.preempt=1":                                  pair,
		"# ifconfig pfsync0":                                       {before: synced},
		"# ifconfig pfsync0 syncpeer 192.168.254.253 syncdev sis2": {after: "ifconfig pfsync0 | grep 'syncdev: sis2 syncpeer: 192.168.254.253 '"},
		"# ifconfig pfsync0 syncpeer ff12::f0 syncdev sis2":        {after: "ifconfig pfsync0 | grep 'syncdev: sis2 syncpeer: fe80::2%sis2 '"},
		"# pfsyncdump -i pfsync0":                                  {before: synced},
		"# (umask 077; openssl rand -hex 32 >/etc/pfsync.key)": {
			before: synced, after: "cmp /etc/pfsync.key $OTHER/etc/pfsync.key && test $(stat -c %a $OTHER/etc/pfsync.key) = 600 && ifconfig pfsync0 | grep 'key: on'"},
	},
}

// Every example of every page is carried out, here or by the test that is named.
func TestExamplesOfTheManuals(t *testing.T) {
	pages, err := man.Pages()
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	startDaemon(t, l.B)
	if err := l.B.Netstart(t.Context(), "pfsync0", "up syncdev "+lab.Sync); err != nil {
		t.Fatal(err)
	}
	a, b := newBox(t, l.A), newBox(t, l.B)
	a.env = append(a.env, fmt.Sprint("FWB=", l.B.Pid()), "OTHER="+b.dir)
	for _, page := range slices.Sorted(maps.Keys(pages)) {
		seen := map[string]bool{}
		for _, e := range man.Examples(pages[page]) {
			line := e.First()
			if _, all := checks[page][""]; all {
				line = ""
			} else if text := strings.TrimSuffix(e.Text, "\n"); checks[page][text] != (check{}) {
				line = text
			}
			c, known := checks[page][line]
			seen[line] = true
			switch {
			case !known:
				t.Errorf("%s: no test carries out this example; add it to checks:\n%s", page, e.Text)
			case c.by != "":
				mustHave(t, c.by)
			default:
				t.Run(page+": "+line, func(t *testing.T) { c.try(t, a, e) })
			}
		}
		for line := range checks[page] {
			if !seen[line] {
				t.Errorf("%s has no example %q any more", page, line)
			}
		}
	}
	for page := range checks {
		if _, ok := pages[page]; !ok {
			t.Errorf("there is no page %s", page)
		}
	}
}

// mustHave checks that a test is there: "cmd/pfctl/man_test.go TestExamplesOfTheManual".
func mustHave(t *testing.T, test string) {
	t.Helper()
	file, name, _ := strings.Cut(test, " ")
	text, err := os.ReadFile(filepath.Join("..", "..", file))
	if err != nil || name != "" && !regexp.MustCompile(`(?m)^func `+name+`\(\w+ \*testing\.[TF]\) {`).Match(text) {
		t.Errorf("no test %s: %v", test, err)
	}
}

func (c check) try(t *testing.T, a *box, e man.Example) {
	t.Helper()
	defer a.stop(t)
	if !c.alone {
		a.stays(t, "pfsyncd")
	}
	if c.before != "" {
		a.until(t, c.before)
	}
	if e.File != "" {
		a.write(t, e.File, e.Text)
	}
	text, argument := e.Text, ""
	if c.command != "" {
		text, argument = "# "+c.command+"\n", e.Text
		if strings.HasPrefix(e.First(), "pfsync0: ") { // what is to be printed
			text += e.Text
		}
	}
	out, err := a.carryOut(t, text, argument)
	if failed := err != nil; failed != c.fails {
		t.Errorf("%v, it printed %q", err, out)
	}
	if !regexp.MustCompile(c.want).MatchString(out) {
		t.Errorf("it printed %q, want %s", out, c.want)
	}
	if c.after != "" {
		a.until(t, c.after)
	}
}
