package conntrack_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

var update = flag.Bool("update", false, "capture testdata from the running kernel and rewrite the golden files")

// The kernel's own words, one datagram a line in hexadecimal: what it multicast,
// and what it answered to a dump and to requests.
const (
	eventsFile  = "events.hex"
	dumpFile    = "dump.hex"
	answersFile = "answers.hex"
)

// captured reads one of the files.
func captured(t testing.TB, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, line := range strings.Fields(string(text)) {
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, b)
	}
	return list
}

// TestCapturedMessagesAreRead compares what is read of them with what was reviewed.
func TestCapturedMessagesAreRead(t *testing.T) {
	if *update {
		capture(t)
	}
	codec := newCodec()
	var out strings.Builder
	say := func(b *pfstate.Batch[pfstate.Change]) {
		for _, c := range b.Items {
			fmt.Fprintf(&out, "%s injected=%v expired=%v ref=%08x %v", tabletest.KindName(c.Kind), c.Injected, c.Expired, c.Ref, c.State.Timeout)
			fmt.Fprintf(&out, " zone %d %v\n", c.State.Stack.RDomain, &c.State)
		}
		b.Items = b.Items[:0]
	}
	var b pfstate.Batch[pfstate.Change]
	for _, d := range captured(t, eventsFile) {
		codec.Events(&b, d, 0)
		say(&b)
	}
	fmt.Fprintln(&out, "dump")
	for _, d := range captured(t, dumpFile) {
		if end, err := codec.Dump(&b, d, 0, 0); end || err != nil {
			fmt.Fprintf(&out, "end %v, %v\n", end, err)
		}
		say(&b)
	}
	fmt.Fprintln(&out, "answers")
	for _, d := range captured(t, answersFile) {
		fmt.Fprintln(&out, codec.Answer(d))
	}
	for _, c := range codec.Counters() {
		if c.Value != 0 {
			fmt.Fprintf(&out, "%s %d\n", c.Name, c.Value)
		}
	}
	golden := filepath.Join("testdata", "captured.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// listener is a socket that keeps datagrams as the kernel sent them.
type listener struct {
	t  *testing.T
	fd int
}

func listen(t *testing.T, ns *lab.NS, groups ...int) *listener {
	t.Helper()
	l := &listener{t: t}
	if err := ns.Do(func() (err error) {
		l.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l.fd) })
	if err := unix.Bind(l.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(l.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// all is what waits now.
func (l *listener) all() (list [][]byte) {
	l.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(l.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return list
		}
		if err != nil {
			l.t.Fatal(err)
		}
		list = append(list, bytes.Clone(buf[:n]))
	}
}

// ask sends a request and takes the answers, which are there when it is sent.
func (l *listener) ask(typ uint16, flags netlink.HeaderFlags, fam uint8, attrs []byte) [][]byte {
	l.t.Helper()
	b, err := netlink.Message{
		Header: netlink.Header{Length: uint32(20 + len(attrs)), Type: netlink.HeaderType(1<<8 | typ), Flags: netlink.Request | flags},
		Data:   append([]byte{fam, 0, 0, 0}, attrs...),
	}.MarshalBinary()
	if err == nil {
		err = unix.Sendto(l.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return l.all()
}

// capture has a router's kernel say what it can: entries of each protocol that is
// at hand, of traffic and of programs, translated, in zones, as they come, move
// and go.
func capture(t *testing.T) {
	n := openNetwork(t)
	n.echo(t)
	nft(t, n.router, masquerade)
	if err := n.router.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
		t.Fatal(err)
	}
	if err := n.router.Sysctl("net/netfilter/nf_conntrack_timestamp", "1"); err != nil {
		t.Fatal(err)
	}
	events, asker, k := listen(t, n.router, 1, 2, 3), listen(t, n.router), openKernel(t, n.router)
	conn := n.dial(t, "10.1.0.80:8080")
	exchange(t, conn, 10)
	for _, c := range []struct {
		proto uint8
		to    string
	}{{17, "10.1.0.80"}, {17, "fd02::2"}, {1, "10.2.0.2"}, {58, "fd01::80"}} {
		n.send(t, c.proto, c.to)
	}
	proxied := flowOf(6, "10.1.0.9", "10.2.0.9")
	proxied.Orig.Sport, proxied.Reply.Dport, proxied.Timeout = 9, 9, 600
	for _, p := range progresses() {
		if strings.HasPrefix(p.name, "tcp fin") || strings.HasPrefix(p.name, "sctp") || strings.HasPrefix(p.name, "gre") || strings.HasPrefix(p.name, "esp first") {
			for _, kind := range []string{"IPv4 SNAT", "IPv6 plain", "IPv4 zone of original direction", "IPv4 zone"} {
				r, ok := p.variants()[kind]
				if !ok || r.Status&srcNAT != 0 && r.Proto == 47 {
					continue
				}
				r.Orig.Src = netip.AddrFrom4([4]byte{10, 9, 0, byte(len(p.name))})
				if r.Orig.Dst.Is6() {
					r.Orig.Src = v6.client
				}
				_ = k.make(r) // twins are refused, which is as good
			}
		}
	}
	if err := k.make(proxied); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	labtest.Eventually(t, "both sides have closed", func() bool {
		return slices.ContainsFunc(k.dump(), func(r raw) bool { return r.TCP != nil && r.TCP.State == 7 })
	})
	dump := asker.ask(1, netlink.Dump, 0, nil)
	attrs, err := proxied.encode()
	if err != nil {
		t.Fatal(err)
	}
	var answers [][]byte
	for _, c := range []struct {
		typ   uint16
		flags netlink.HeaderFlags
	}{{1, 0}, {0, netlink.Acknowledge}, {0, netlink.Acknowledge | netlink.Create | netlink.Excl}, {2, netlink.Acknowledge}, {2, netlink.Acknowledge}} {
		answers = append(answers, asker.ask(c.typ, c.flags, unix.AF_INET, attrs)...)
	}
	answers = append(answers, asker.ask(0, netlink.Create|netlink.Excl, unix.AF_INET, attrs[:len(attrs)/2])...)
	k.flush()
	for name, list := range map[string][][]byte{eventsFile: events.all(), dumpFile: dump, answersFile: answers} {
		var out strings.Builder
		for _, d := range list {
			fmt.Fprintf(&out, "%x\n", d)
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzDump: no datagram of a dump makes the parser panic, and what it reports can
// be named again.
func FuzzDump(f *testing.F) {
	for _, d := range captured(f, dumpFile) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		codec := newCodec()
		var b pfstate.Batch[pfstate.Change]
		_, _ = codec.Dump(&b, datagram, 0, 0)
		for _, c := range b.Items {
			if c.Kind != pfstate.Seen || c.State.ID.State == 0 {
				t.Errorf("%s with id %v", tabletest.KindName(c.Kind), c.State.ID)
			}
			named(t, codec, &c)
		}
	})
}

// FuzzAnswers: no datagram makes the reader of answers panic or touch an order
// that it is not about.
func FuzzAnswers(f *testing.F) {
	for _, d := range captured(f, answersFile) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		_ = newCodec().Answer(datagram)
	})
}

// FuzzForwarded: no text makes the readers of counters panic.
func FuzzForwarded(f *testing.F) {
	for _, path := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []func([]byte) (uint64, bool){conntrack.IP4Forwarded, conntrack.IP6Forwarded} {
			if n, ok := read(text); n != 0 && !ok {
				t.Errorf("%d, but not found", n)
			}
		}
	})
}
