package check_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncctl/check"
	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
)

var peerAddr = netip.MustParseAddr("192.168.254.253")

// good is a firewall with which nothing is wrong.
func good() *check.Snapshot {
	peer := ifconfig.Peer{Addr: peerAddr, Creator: 0x0b5b3f2a, Kind: "linux", State: "up", States: 1200, Sync: "yes", Problems: []string{}}
	return &check.Snapshot{
		PFSync0: &ifconfig.Interface{
			Name: "pfsync0", MTU: 1500, Flags: ifconfig.FlagUp | ifconfig.FlagRunning,
			PFSync: &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, Key: ifconfig.KeyOff, SyncOK: true},
		},
		Status: control.Status{
			Table: "conntrack", Entries: 2000, Limit: 262144, Creator: 0x1a2b3c4d, Bulk: "done", Peers: []ifconfig.Peer{peer},
		},
		Counters: map[string]uint64{"ipackets": 812, "table_read_buffer_bytes": 64 << 20},
		Links: map[string]check.Link{
			"sis0": {MTU: 1500, Up: true, Running: true, Multicast: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}},
			"sis2": {MTU: 1500, Up: true, Running: true, Multicast: true, RPFilter: 1,
				Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.254.254/24")}},
		},
		Defaults:   []string{"sis0"},
		Routes:     map[string]string{peerAddr.String(): "sis2"},
		Neighbours: []netip.Addr{peerAddr},
		Sysctls: map[string]int{
			"net.netfilter.nf_conntrack_events": 1, "net.netfilter.nf_conntrack_tcp_loose": 0, "net.netfilter.nf_conntrack_tcp_be_liberal": 0,
		},
		RulesErr: errors.New("not read here"), // TestRules is about them
	}
}

// byIPv6 makes s one that speaks to that syncpeer, and hears its peer from there.
func byIPv6(syncpeer, peer string) func(*check.Snapshot) {
	return func(s *check.Snapshot) {
		l := s.Links["sis2"]
		l.Addrs, l.Addrs6 = nil, []netip.Prefix{netip.MustParsePrefix("fe80::a/64"), netip.MustParsePrefix("2001:db8::a/64")}
		s.Links["sis2"] = l
		s.PFSync0.PFSync.Syncpeer = netip.MustParseAddr(syncpeer)
		s.Status.Peers[0].Addr = netip.MustParseAddr(peer)
		s.Routes, s.Neighbours = map[string]string{}, []netip.Addr{netip.MustParseAddr("fe80::b%sis2")}
	}
}

// then is first, and second behind it.
func then(first, second func(*check.Snapshot)) func(*check.Snapshot) {
	return func(s *check.Snapshot) { first(s); second(s) }
}

// carps is one carp interface in that state.
func carps(state string, master netip.Addr) []ifconfig.Interface {
	c := &ifconfig.Carp{Name: "carp0", State: state, CarpDev: "sis0", VHID: 1, AdvBase: 1, Master: master}
	if state == "INIT" {
		c.Why = "carpdev sis0 has no carrier"
	}
	return []ifconfig.Interface{{Name: "carp0", Flags: ifconfig.FlagUp, Carp: c}}
}

// Each thing that is broken is named, alone, with its place, and with a remedy.
func TestEachFindingIsNamed(t *testing.T) {
	sysctl := func(name string, v int) func(*check.Snapshot) {
		return func(s *check.Snapshot) { s.Sysctls["net.netfilter.nf_conntrack_"+name] = v }
	}
	syncdev := func(f func(*check.Link)) func(*check.Snapshot) {
		return func(s *check.Snapshot) { l := s.Links["sis2"]; f(&l); s.Links["sis2"] = l }
	}
	peer := func(f func(*ifconfig.Peer)) func(*check.Snapshot) {
		return func(s *check.Snapshot) { f(&s.Status.Peers[0]) }
	}
	problem := func(text string) func(*check.Snapshot) {
		return peer(func(p *ifconfig.Peer) { p.Problems = []string{text} })
	}
	counter := func(name string, n uint64) func(*check.Snapshot) {
		return func(s *check.Snapshot) { s.Counters[name] = n }
	}
	for _, c := range []struct {
		name   string
		broken func(*check.Snapshot)
		want   string // findings as LEVEL NAME WHERE, with commas between
		line   string // part of the lines
	}{
		{"nothing", func(*check.Snapshot) {}, "", ""},
		{"no daemon", func(s *check.Snapshot) { s.Daemon, s.PFSync0 = control.ErrNotRunning, nil },
			"error daemon pfsyncd", "start it with: pfsyncd"},
		{"a daemon that hangs", func(s *check.Snapshot) { s.Daemon = control.ErrNoAnswer }, "error daemon pfsyncd", "systemctl restart pfsyncd"},
		{"destroyed", func(s *check.Snapshot) { s.PFSync0 = nil }, "error no-pfsync0 pfsync0", "ifconfig pfsync0 create"},
		{"no syncdev", func(s *check.Snapshot) { s.PFSync0.PFSync.Syncdev = "" }, "error no-syncdev pfsync0", "ifconfig pfsync0 syncdev"},
		{"down", func(s *check.Snapshot) { s.PFSync0.Flags = 0 }, "error down pfsync0", "ifconfig pfsync0 up"},
		{"syncdev gone", func(s *check.Snapshot) { delete(s.Links, "sis2") }, "error syncdev-missing sis2", "ifconfig pfsync0 syncdev"},
		{"IPsec without SAs", func(s *check.Snapshot) {
			delete(s.Links, "sis2")
			s.PFSync0.PFSync.Syncdev, s.PFSync0.Status = "enc0", "waiting for ipsec"
		}, "error ipsec enc0", "ip xfrm state"},
		{"syncdev lo", syncdev(func(l *check.Link) { l.Loopback = true }), "error syncdev-loopback sis2", "another"},
		{"syncdev down", syncdev(func(l *check.Link) { l.Up, l.Running = false, false }), "error syncdev-down sis2", "ifconfig sis2 up"},
		{"no carrier", syncdev(func(l *check.Link) { l.Running = false }), "error no-carrier sis2", "cable"},
		{"no address", syncdev(func(l *check.Link) { l.Addrs = nil }), "error no-address sis2", "ifconfig sis2 inet"},
		{"no multicast", syncdev(func(l *check.Link) { l.Multicast = false }), "error no-multicast sis2", "syncpeer"},
		{"no multicast and a syncpeer", func(s *check.Snapshot) {
			syncdev(func(l *check.Link) { l.Multicast = false })(s)
			s.PFSync0.PFSync.Syncpeer = peerAddr
		}, "", ""},
		{"syncpeer is us", func(s *check.Snapshot) { s.PFSync0.PFSync.Syncpeer = netip.MustParseAddr("192.168.254.254") },
			"error syncpeer-own sis2", "the other firewall's"},
		{"IPv6", byIPv6("ff12::f0", "fe80::b%sis2"), "", ""},
		{"IPv6, unicast", byIPv6("fe80::b%sis2", "fe80::b%sis2"), "", ""},
		{"IPv6, global", byIPv6("2001:db8::b", "2001:db8::b"), "", ""},
		{"IPv6, syncpeer is us", byIPv6("fe80::a%sis2", "fe80::b%sis2"), "error syncpeer-own sis2", "syncpeer fe80::a "},
		{"no IPv6 address", then(byIPv6("ff12::f0", "fe80::b%sis2"), syncdev(func(l *check.Link) { l.Addrs6 = l.Addrs6[1:] })),
			"error no-address sis2", "disable_ipv6=0"},
		{"no global IPv6 address", then(byIPv6("2001:db8::b", "2001:db8::b"), syncdev(func(l *check.Link) { l.Addrs6 = l.Addrs6[:1] })),
			"error no-address sis2", "in the network of 2001:db8::b"},
		{"no IPv6 for its mtu", then(byIPv6("ff12::f0", "fe80::b%sis2"), syncdev(func(l *check.Link) { l.Addrs6, l.MTU = nil, 1200 })),
			"error no-address sis2, warning mtu pfsync0", "ifconfig sis2 mtu 1280"},
		{"nobody by IPv6", then(byIPv6("ff12::f0", "fe80::b%sis2"), func(s *check.Snapshot) { s.Status.Peers = nil }),
			"error no-peer sis2", "tcpdump -ni sis2 ip6 proto 240"},
		{"neighbours by IPv6", then(byIPv6("ff12::f0", "fe80::b%sis2"), func(s *check.Snapshot) {
			s.Neighbours = append(s.Neighbours, netip.MustParseAddr("fe80::c%sis2"), netip.MustParseAddr("fe80::d%sis2"), netip.MustParseAddr("10.0.0.3"))
		}), "error exposed sis2", "(fe80::c%sis2, fe80::d%sis2)"},
		{"mtu too large", func(s *check.Snapshot) { s.PFSync0.MTU = 9000 }, "warning mtu pfsync0", "ifconfig pfsync0 mtu 1500"},
		{"jumbo syncdev", syncdev(func(l *check.Link) { l.MTU = 9000 }), "", ""},
		{"mtu too small", func(s *check.Snapshot) { s.PFSync0.MTU = 400 }, "warning mtu pfsync0", "ifconfig pfsync0 mtu 1500"},
		{"syncdev's mtu too small", func(s *check.Snapshot) {
			syncdev(func(l *check.Link) { l.MTU = 500 })(s)
			s.PFSync0.MTU = 500
		}, "warning mtu pfsync0, warning mtu sis2", ""},
		{"strict rp_filter", func(s *check.Snapshot) { s.Routes[peerAddr.String()] = "sis0" }, "error rp-filter sis2", "out of sis0"},
		{"loose rp_filter", func(s *check.Snapshot) {
			s.Routes[peerAddr.String()] = "sis0"
			syncdev(func(l *check.Link) { l.RPFilter = 2 })(s)
		}, "", ""},
		{"loose rp_filter, no route", func(s *check.Snapshot) {
			s.Routes[peerAddr.String()] = ""
			syncdev(func(l *check.Link) { l.RPFilter = 2 })(s)
		}, "error rp-filter sis2", "no route"},
		{"default route", func(s *check.Snapshot) { s.Defaults = []string{"sis2"} }, "error exposed sis2", "key"},
		{"neighbours", func(s *check.Snapshot) {
			s.Neighbours = append(s.Neighbours, netip.MustParseAddr("192.168.254.7"), netip.MustParseAddr("192.168.254.8"))
		}, "error exposed sis2", "192.168.254.7, 192.168.254.8"},
		{"default route and a key", func(s *check.Snapshot) {
			s.Defaults, s.PFSync0.PFSync.Key = []string{"sis2"}, ifconfig.KeyOn
		}, "", ""},
		{"nobody", func(s *check.Snapshot) { s.Status.Peers = nil }, "error no-peer sis2", "tcpdump -ni sis2"},
		{"nobody with our key", func(s *check.Snapshot) { s.Status.Peers, s.Counters["badauth"] = nil, 9 }, "error no-peer sis2", "same key"},
		{"one-way", problem("does not hear us"), "error one-way 192.168.254.253", "protocol 240"},
		{"creatorid", problem("uses our creatorid"), "error creatorid 192.168.254.253", "1a2b3c4d"},
		{"refused", problem("12 of its states are refused here"), "error refused 192.168.254.253", "12 of its states"},
		{"refused by a full table", func(s *check.Snapshot) {
			problem("12 of its states are refused here")(s)
			s.Counters["tablefull"] = 12
		}, "error refused 192.168.254.253, warning table-full tablefull", "nf_conntrack_max"},
		{"not understood", problem("its packets are not understood"), "error dialect 192.168.254.253", "version 6"},
		{"a problem of tomorrow", problem("is blue"), "error peer 192.168.254.253", "is blue"},
		{"dialect", peer(func(p *ifconfig.Peer) { p.Kind, p.Sync = "version-5", "unknown" }), "error dialect 192.168.254.253", "version-5"},
		{"dead", peer(func(p *ifconfig.Peer) { p.State, p.Age = "dead", ifconfig.Seconds(75*time.Second) }),
			"error dead 192.168.254.253", "75 seconds"},
		{"stale", peer(func(p *ifconfig.Peer) { p.State = "stale" }), "warning stale 192.168.254.253", "lost"},
		{"drifted", peer(func(p *ifconfig.Peer) { p.Sync = "no" }), "warning not-in-sync 192.168.254.253", "differ"},
		{"drifted unasked", func(s *check.Snapshot) {
			peer(func(p *ifconfig.Peer) { p.Sync = "no" })(s)
			s.Status.Bulk = "listening"
		},
			"note not-in-sync 192.168.254.253, warning listen pfsync0", "only listens"},
		{"an observer", func(s *check.Snapshot) { s.Status.Bulk, s.Status.Table = "listening", "memory" }, "note memory pfsyncd", "--table"},
		{"a BSD", peer(func(p *ifconfig.Peer) { p.Kind, p.Sync = "openbsd", "unknown" }), "", ""},
		{"bulk", func(s *check.Snapshot) { s.Status.Bulk = "failed" }, "warning bulk pfsync0", "pfsyncctl bulk"},
		{"events off", sysctl("events", 0), "error events net.netfilter.nf_conntrack_events", "=1"},
		{"events on request", sysctl("events", 2), "warning events net.netfilter.nf_conntrack_events", "=1"},
		{"loose", sysctl("tcp_loose", 1), "warning tcp-loose net.netfilter.nf_conntrack_tcp_loose", "=0"},
		{"liberal", sysctl("tcp_be_liberal", 1), "note tcp-be-liberal net.netfilter.nf_conntrack_tcp_be_liberal", "=0"},
		{"nearly full", func(s *check.Snapshot) { s.Status.Entries = 240000 },
			"warning table-full net.netfilter.nf_conntrack_max", "240000 of 262144"},
		{"the peer's is larger", peer(func(p *ifconfig.Peer) { p.States = 200000 }), "warning peer-states 192.168.254.253", "nf_conntrack_max"},
		{"in memory", func(s *check.Snapshot) { s.Status.Table = "memory" }, "note memory pfsyncd", "--table"},
		{"small buffer", counter("table_read_buffer_bytes", 1<<16), "warning event-buffer pfsyncd", "net.core.rmem_max"},
		{"keys", counter("badauth", 1), "warning key badauth", "same key"},
		{"a third with a syncpeer", counter("badpeer", 3), "warning not-the-syncpeer badpeer", "-syncpeer"},
		{"routed", counter("badttl", 1), "warning ttl badttl", "one network"},
		{"overruns", counter("overruns", 3), "warning overruns overruns", "rmem_max"},
		{"receive drops", counter("link_receive_drops", 3), "warning receive-drops link_receive_drops", "counted 3"},
		{"own rules", counter("link_send_refused", 3), "warning send-refused link_send_refused", "240"},
		{"smaller mtu on the way", counter("link_send_toobig", 3), "warning send-toobig link_send_toobig", "mtu"},
		{"peer limit", counter("peerlimit", 3), "warning peer-limit peerlimit", "--peer-states"},
		{"no nat hooks", counter("table_nat_hooks_failed", 1), "warning nat-hooks table_nat_hooks_failed", "nft_chain_nat"},
		{"too many", counter("toomanypeers", 1), "warning peers toomanypeers", "240"},
		{"conntrackd", func(s *check.Snapshot) { s.Conntrackd = true }, "error conntrackd conntrackd", "stop one"},
		{"links unread", func(s *check.Snapshot) { s.Links, s.LinksErr = nil, errors.New("rtnetlink: no") }, "note links-unread rtnetlink", ": no"},
		{"old iptables", func(s *check.Snapshot) { s.LegacyRules = true }, "note legacy-rules iptables-legacy", "240"},
		{"carp without a carrier", func(s *check.Snapshot) { s.Carps = carps("INIT", netip.Addr{}) },
			"warning carp-init carp0, error carp-none carp", "carpdev sis0 has no carrier"},
		{"two masters", func(s *check.Snapshot) { s.Carps = carps("MASTER", peerAddr) }, "error carp-two-masters carp0", "hears 192.168.254.253 as master of vhid 1"},
		{"carp without a password", func(s *check.Snapshot) { s.Carps = carps("BACKUP", peerAddr); s.Carps[0].Carp.NoPass = true },
			"warning carp-pass carp0", "ifconfig carp0 pass WORD"},
		{"carp is demoted", func(s *check.Snapshot) { s.Carps = carps("BACKUP", peerAddr); s.Carps[0].Carp.Demotion = 32 },
			"note carp-demoted carp0", "by 32; pfsyncctl demotion"},
		{"another password", func(s *check.Snapshot) {
			s.Carps = carps("BACKUP", peerAddr)
			s.Counters["carp_badauth"] = 7
		}, "warning carp-auth carp", "7 adverts"},
		{"three at once", func(s *check.Snapshot) {
			s.Sysctls["net.netfilter.nf_conntrack_tcp_loose"], s.PFSync0.MTU, s.Status.Peers[0].State = 1, 9000, "dead"
		}, "warning mtu pfsync0, error dead 192.168.254.253, warning tcp-loose net.netfilter.nf_conntrack_tcp_loose", ""},
	} {
		s := good()
		c.broken(s)
		var got, lines []string
		for _, f := range check.Run(s) {
			if f.Name == "rules-unread" {
				continue
			}
			got, lines = append(got, string(f.Level)+" "+f.Name+" "+f.Where), append(lines, f.String())
			if f.What == "" || f.Remedy == "" || strings.HasSuffix(f.Remedy, ".") || strings.Contains(f.String(), "\n") {
				t.Errorf("%s: not one line with a remedy: %+v", c.name, f)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if all := strings.Join(lines, "\n"); !strings.Contains(all, c.line) {
			t.Errorf("%s: no %q in\n%s", c.name, c.line, all)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		levels []check.Level
		want   check.Level
	}{
		{nil, ""},
		{[]check.Level{check.Note}, check.Note},
		{[]check.Level{check.Note, check.Warning, check.Note}, check.Warning},
		{[]check.Level{check.Warning, check.Error}, check.Error},
	} {
		var findings []check.Finding
		for _, l := range c.levels {
			findings = append(findings, check.Finding{Level: l})
		}
		if got := check.Worst(findings); got != c.want {
			t.Errorf("%v: %q, want %q", c.levels, got, c.want)
		}
	}
}

// Who is not root learns that the rules were not looked at.
func TestRulesThatCannotBeReadAreNamed(t *testing.T) {
	findings := check.Run(good())
	i := slices.IndexFunc(findings, func(f check.Finding) bool { return f.Name == "rules-unread" })
	if i < 0 || findings[i].Level != check.Note || !strings.Contains(findings[i].What, "not read here") {
		t.Errorf("%v", findings)
	}
}
