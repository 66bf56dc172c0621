package check_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncctl/check"
	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// natTable is pfsyncd's own.
const natTable = "table inet pfsyncd { chain nat { type nat hook postrouting priority srcnat; }; }\n"

// What the kernel has of rules is read, and said of pfsync's packets as the kernel would.
func TestRules(t *testing.T) {
	ns := labtest.NewNS(t)
	byIPv4, byIPv6 := func(*check.Snapshot) {}, byIPv6("ff12::f0", "fe80::b%sis2")
	for _, c := range []struct {
		name, rules string
		by          func(*check.Snapshot)
		want        string // findings as LEVEL NAME WHERE, with commas between
	}{
		{"none at all", natTable, byIPv4, "note tracked sis2, note open sis0"},
		{"no nat chain", "", byIPv4, "warning nat-chain inet pfsyncd, note tracked sis2, note open sis0"},
		{"pfsync(4)", natTable + `table inet pfsync_allow {
			chain input { type filter hook input priority filter; policy accept
				iifname "sis2" meta l4proto 240 ip ttl 255 accept
				meta l4proto 240 drop
			}
			chain raw_in { type filter hook prerouting priority raw; meta l4proto { 112, 240 } notrack; }
			chain raw_out { type filter hook output priority raw; meta l4proto 240 notrack; }
		}`, byIPv4, ""},
		{"policy drop", natTable + `table inet filter {
			chain input { type filter hook input priority filter; policy drop; ct state established,related accept; tcp dport 22 accept; }
		}`, byIPv4, "error input-blocked inet filter input, note tracked sis2"},
		{"policy drop and let in", natTable + `table ip filter {
			chain input { type filter hook input priority filter; policy drop; iifname "sis2" ip protocol 240 ip ttl 255 accept; }
		}`, byIPv4, "note tracked sis2"},
		{"let in on another", natTable + `table ip filter {
			chain input { type filter hook input priority filter; policy drop; iifname "sis0" ip protocol 240 accept; }
		}`, byIPv4, "error input-blocked ip filter input, note tracked sis2, note open sis0"},
		{"dropped in a second table", natTable + `table inet a { chain input { type filter hook input priority filter; meta l4proto 240 accept; }; }
			table inet b { chain input { type filter hook input priority filter + 1; ip daddr 224.0.0.0/4 drop; }; }`, byIPv4,
			"error input-blocked inet b input, note tracked sis2"},
		{"wrong ttl", natTable + `table inet filter {
			chain input { type filter hook input priority filter; policy drop; iifname "sis2" ip ttl 64 meta l4proto 240 accept; }
		}`, byIPv4, "error input-blocked inet filter input, note tracked sis2"},
		{"jump, sets, wildcards", natTable + `table inet filter {
			set protos { type inet_proto; elements = { 47, 240 }; }
			chain sync { ip saddr 192.168.254.0/24 ip protocol @protos accept; }
			chain input { type filter hook input priority filter; policy drop; iifname vmap { "lo" : accept, "sis2" : jump sync }; }
			chain output { type filter hook output priority filter; policy drop; oifname "sis*" meta l4proto != { 6, 17 } accept; }
		}`, byIPv4, "note tracked sis2"},
		{"another network", natTable + `table inet filter {
			chain input { type filter hook input priority filter; policy drop; ip saddr { 10.0.0.0-10.0.0.255, 192.168.0.0/24 } accept; }
		}`, byIPv4, "error input-blocked inet filter input, note tracked sis2"},
		{"its network among intervals", natTable + `table inet filter {
			set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.254.0/24, 224.0.0.0/4 }; }
			chain input { type filter hook input priority filter; policy drop; ip saddr @nets accept; }
		}`, byIPv4, "note tracked sis2, note open sis0"},
		{"output", natTable + `table inet filter {
			chain output { type filter hook output priority filter; oifname "sis2" meta pkttype != unicast reject; ip ttl 255 counter log drop; }
		}`, byIPv4, "error output-blocked inet filter output, note tracked sis2, note open sis0"},
		{"tracked packets of a group are new for ever", natTable + `table inet filter {
			chain input { type filter hook input priority filter; policy drop; ct state established accept; ct state new meta mark 7 drop; }
		}`, byIPv4, "error input-blocked inet filter input, note tracked sis2"},
		{"untracked", natTable + `table inet filter {
			chain pre { type filter hook prerouting priority raw; iifname "sis2" notrack; }
			chain out { type filter hook output priority raw; oifname "sis2" notrack; }
			chain input { type filter hook input priority filter; policy drop; ct state untracked accept; }
		}`, byIPv4, ""},
		{"not understood", natTable + `table inet filter {
			chain input { type filter hook input priority filter; policy drop; meta mark 7 accept; }
		}`, byIPv4, "warning input-blocked inet filter input, note tracked sis2"},
		{"asleep", natTable + `table inet filter { flags dormant
			chain input { type filter hook input priority filter; policy drop; }
		}`, byIPv4, "note tracked sis2, note open sis0"},
		{"before the routing", natTable + `table inet filter {
			chain pre { type filter hook prerouting priority -150; iifname "sis2" ip protocol != { 1, 6, 17 } drop; }
		}`, byIPv4, "error input-blocked inet filter pre, note tracked sis2, note open sis0"},
		{"IPv6: pfsync(4)", natTable + `table inet pfsync_allow {
			chain input { type filter hook input priority filter; policy accept
				iifname "sis2" meta l4proto 240 ip6 hoplimit 255 accept
				meta l4proto 240 drop
			}
			chain raw { type filter hook prerouting priority raw; meta l4proto 240 notrack; }
			chain raw_out { type filter hook output priority raw; meta l4proto 240 notrack; }
		}`, byIPv6, ""},
		{"IPv6: what IPv4 has is of no use", natTable + `table inet filter {
			chain input { type filter hook input priority filter; policy drop; iifname "sis2" ip protocol 240 ip ttl 255 accept; }
		}`, byIPv6, "error input-blocked inet filter input, note tracked sis2"},
		{"IPv6: a table of its own", natTable + `table ip6 filter {
			chain input { type filter hook input priority filter; policy drop; ip6 saddr fe80::/10 ip6 nexthdr 240 accept; }
			chain output { type filter hook output priority filter; ip6 daddr ff12::f0 drop; }
		}
		table ip filter { chain input { type filter hook input priority filter; policy drop; }; }`, byIPv6,
			"error output-blocked ip6 filter output, note tracked sis2"},
		{"IPv6's table is not IPv4's", natTable + `table ip6 filter { chain input { type filter hook input priority filter; policy drop; }; }`, byIPv4,
			"note tracked sis2, note open sis0"},
		{"IPv6's nat is not IPv4's", `table ip6 nat { chain nat { type nat hook postrouting priority srcnat; }; }`, byIPv4,
			"warning nat-chain inet pfsyncd, note tracked sis2, note open sis0"},
	} {
		s := good()
		c.by(s)
		s.Rules = load(t, ns, c.name, "flush ruleset\n"+c.rules)
		var got []string
		for _, f := range check.Run(s) {
			got = append(got, string(f.Level)+" "+f.Name+" "+f.Where)
			if f.Name == "input-blocked" && !strings.Contains(f.Remedy, "nft insert rule "+f.Where+" iifname sis2 meta l4proto 240 accept") {
				t.Errorf("%s: remedy %s", c.name, f.Remedy)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Between two that name each other the packets are those of one connection.
func TestRulesWithASyncpeer(t *testing.T) {
	ns := labtest.NewNS(t)
	for _, c := range []struct {
		by    func(*check.Snapshot)
		rules string
	}{
		{func(s *check.Snapshot) { s.PFSync0.PFSync.Syncpeer = peerAddr }, "ip daddr 192.168.254.253"},
		{byIPv6("fe80::b%sis2", "fe80::b%sis2"), "ip6 daddr fe80::b"},
	} {
		s := good()
		c.by(s)
		s.PFSync0.PFSync.Key = ifconfig.KeyOn
		s.Rules = load(t, ns, c.rules, "flush ruleset\n"+natTable+`table inet filter {
			chain input { type filter hook input priority filter; policy drop; ct state established accept; }
			chain output { type filter hook output priority filter; policy drop; `+c.rules+` accept; }
		}`)
		for _, f := range check.Run(s) {
			if f.Level != check.Note {
				t.Errorf("%s: %v", c.rules, f)
			}
		}
	}
}

// load has the kernel read rules, and reads them from there.
func load(t *testing.T, ns *lab.NS, name, rules string) *check.Rules {
	t.Helper()
	file := t.TempDir() + "/rules"
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Run(t.Context(), "nft", "-f", file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	read, err := check.ReadRules(conn)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return read
}
