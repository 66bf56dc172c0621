package lab_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync-linux/pfsync/test/lab"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParseEntry(t *testing.T) {
	one, two := netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("5.6.7.8")
	one6, two6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	tests := []struct {
		name, line string
		want       lab.Entry
	}{{
		"udp6, marked",
		"ipv6 10 udp 17 99 src=2001:db8::1 dst=2001:db8::2 sport=1 dport=2 [UNREPLIED] src=2001:db8::2 dst=2001:db8::1 sport=2 dport=1 mark=7 use=1 id=9",
		lab.Entry{Timeout: 99 * time.Second, ID: 9, Flow: lab.Flow{
			Proto: 17, Mark: 7,
			Orig:  lab.Tuple{Src: one6, Dst: two6, SPort: 1, DPort: 2},
			Reply: lab.Tuple{Src: two6, Dst: one6, SPort: 2, DPort: 1},
		}},
	}, {
		"tcp",
		"ipv4 2 tcp 6 431999 ESTABLISHED src=1.2.3.4 dst=5.6.7.8 sport=1 dport=2 src=5.6.7.8 dst=1.2.3.4 sport=2 dport=1 [ASSURED] mark=0 zone=3 use=1 id=4128480694",
		lab.Entry{Timeout: 431999 * time.Second, ID: 4128480694, Flow: lab.Flow{
			Proto: 6, State: "ESTABLISHED", SeenReply: true, Assured: true, Zone: 3,
			Orig:  lab.Tuple{Src: one, Dst: two, SPort: 1, DPort: 2},
			Reply: lab.Tuple{Src: two, Dst: one, SPort: 2, DPort: 1},
		}},
	}, {
		"icmp: the tuples' ids are not the entry's",
		"ipv4 2 icmp 1 30 src=1.2.3.4 dst=5.6.7.8 type=8 code=0 id=77 src=5.6.7.8 dst=1.2.3.4 type=0 code=0 id=78 mark=0 use=1 id=5",
		lab.Entry{Timeout: 30 * time.Second, ID: 5, Flow: lab.Flow{
			Proto: 1, SeenReply: true,
			Orig:  lab.Tuple{Src: one, Dst: two, Type: 8, ID: 77},
			Reply: lab.Tuple{Src: two, Dst: one, ID: 78},
		}},
	}, {
		"gre",
		"ipv4 2 gre 47 30 timeout=30, stream_timeout=180 src=1.2.3.4 dst=5.6.7.8 srckey=0x0 dstkey=0x1f src=5.6.7.8 dst=1.2.3.4 srckey=0x1f dstkey=0x0 mark=0 use=1 id=5",
		lab.Entry{Timeout: 30 * time.Second, ID: 5, Flow: lab.Flow{
			Proto: 47, SeenReply: true,
			Orig:  lab.Tuple{Src: one, Dst: two, DPort: 0x1f},
			Reply: lab.Tuple{Src: two, Dst: one, SPort: 0x1f},
		}},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := lab.ParseEntry(test.line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, compareAddr); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseEntryNamesWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"ipv4 2 tcp": "too short",
		"ipv4 2 tcp 6 99 src=1.2.3.4 dst=5.6.7.8 sport=1":                     "no two tuples",
		"ipv4 2 tcp 6 99 src=1.2.3.4 dst=5.6.7.8 src=1.1.1.1 src=1.1.1.1":     "three tuples",
		"ipv4 2 tcp 6 99 src=1.2.3.400 dst=5.6.7.8 src=1.1.1.1":               `"src=1.2.3.400"`,
		"ipv4 2 tcp 6 99 src=1.2.3.4 dst=5.6.7.8 sport=65536 src=1.1.1.1":     `"sport=65536"`,
		"ipv4 2 tcp 6 99 X src=1.2.3.4 dst=5.6.7.8 sport=x src=1.1.1.1 dst=1": `"sport=x"`,
	} {
		if _, err := lab.ParseEntry(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want it to contain %q", line, err, want)
		}
	}
}
