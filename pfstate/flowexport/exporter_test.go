package flowexport_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/flowexport"
	"github.com/pfsync-linux/pfsync/pfstate/flowexport/flowexporttest"
)

const (
	domain   = 0xa1a1a1a1
	patience = 20 * time.Second // on a busy machine; nothing comes near it
	mostLen  = 1280 - 40 - 8    // of a datagram's payload that passes everywhere
)

var schemes = []string{"ipfix", "netflow9"}

func collect(t *testing.T) *flowexporttest.Collector {
	t.Helper()
	c, err := flowexporttest.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func next(t *testing.T, c *flowexporttest.Collector) flowexporttest.Message {
	t.Helper()
	m, err := c.Next(patience)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// open makes an exporter to c.
func open(t *testing.T, scheme string, to netip.AddrPort, log *slog.Logger) *flowexport.Exporter {
	t.Helper()
	x, err := flowexport.Open(flowexport.Config{Target: fmt.Sprintf("%s://%v", scheme, to), Domain: domain, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// start runs x; stop ends it and waits for that.
func start(t *testing.T, x *flowexport.Exporter) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func counted(x *flowexport.Exporter, name string) uint64 {
	all := x.Counters()
	return all[slices.IndexFunc(all, func(c pfstate.Counter) bool { return c.Name == name })].Value
}

// state is a connection whose initiator is at .src, from a minute ago until now.
func state(proto uint8, src, dst string, change func(*pfstate.State)) pfstate.End {
	s := pfstate.Default()
	a, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	orig := pfstate.Tuple{Src: a.Addr(), Dst: b.Addr(), SrcPort: a.Port(), DstPort: b.Port()}
	s.Proto, s.Creation = proto, time.Minute
	s.SetTuples(orig, orig.Reversed(), 0)
	s.Src.State, s.Dst.State = pfstate.Multiple, pfstate.Multiple
	if change != nil {
		change(&s)
	}
	return pfstate.End{State: &s, Why: pfstate.RanOut, Idle: 20 * time.Second}
}

// A record for each direction, as the initiator's side sees them.
func TestRecords(t *testing.T) {
	translated := func(s *pfstate.State) {
		orig, _ := s.Tuples()
		s.SetTuples(orig, pfstate.Tuple{Src: netip.MustParseAddr("10.9.9.9"), Dst: netip.MustParseAddr("198.51.100.1"), SrcPort: 8080, DstPort: 61000}, 0)
		s.Packets, s.Bytes = [2]uint64{7, 5}, [2]uint64{700, 1 << 40}
	}
	in := func(s *pfstate.State) {
		orig, reply := s.Tuples()
		s.Direction = pfstate.In
		s.SetTuples(orig, reply, 0)
	}
	ended := func(e pfstate.End, why pfstate.Ending) pfstate.End { e.Why = why; return e }
	for _, c := range []struct {
		name string
		end  pfstate.End
		want []string
	}{
		{"udp", state(17, "10.1.0.2:5000", "10.2.0.2:53", nil),
			[]string{"10.1.0.2:5000 > 10.2.0.2:53 17 reason 1 0/0", "10.2.0.2:53 > 10.1.0.2:5000 17 reason 1 0/0"}},
		{"unanswered", state(17, "10.1.0.2:5000", "10.2.0.2:53", func(s *pfstate.State) { s.Dst.State, s.Packets = pfstate.NoTraffic, [2]uint64{3, 0} }),
			[]string{"10.1.0.2:5000 > 10.2.0.2:53 17 reason 1 3/0"}},
		{"closed, translated", ended(state(6, "10.1.0.2:5000", "10.2.0.2:80", translated), pfstate.Closed),
			[]string{"10.1.0.2:5000 > 10.2.0.2:80 6 reason 3 7/700", "10.2.0.2:80 > 10.1.0.2:5000 6 reason 3 5/1099511627776"}},
		{"removed, direction in", ended(state(6, "10.1.0.2:5000", "10.2.0.2:80", in), pfstate.Removed),
			[]string{"10.1.0.2:5000 > 10.2.0.2:80 6 reason 4 0/0", "10.2.0.2:80 > 10.1.0.2:5000 6 reason 4 0/0"}},
		{"ipv6", state(132, "[2001:db8::2]:5000", "[2001:db8::1]:53", nil),
			[]string{"[2001:db8::2]:5000 > [2001:db8::1]:53 132 reason 1 0/0", "[2001:db8::1]:53 > [2001:db8::2]:5000 132 reason 1 0/0"}},
		{"ping", state(1, "10.1.0.2:777", "10.2.0.2:8", func(s *pfstate.State) { s.Src.State, s.Dst.State = 0, 0 }),
			[]string{"10.1.0.2:0 > 10.2.0.2:2048 1 reason 1 0/0", "10.2.0.2:0 > 10.1.0.2:0 1 reason 1 0/0"}},
		{"ping of ipv6", state(58, "[2001:db8::2]:777", "[2001:db8::1]:128", nil),
			[]string{"[2001:db8::2]:0 > [2001:db8::1]:32768 58 reason 1 0/0", "[2001:db8::1]:0 > [2001:db8::2]:33024 58 reason 1 0/0"}},
	} {
		for _, scheme := range schemes {
			t.Run(c.name+" "+scheme, func(t *testing.T) {
				to := collect(t)
				x := open(t, scheme, to.Addr(), slog.New(slog.DiscardHandler))
				now := time.Now()
				x.Ended(c.end)
				stop := start(t, x)
				first := next(t, to)
				stop()
				second := next(t, to)
				if first.Templates != 2 || len(first.Records) > 0 || second.Templates > 0 || first.Domain != domain || second.Domain != domain {
					t.Errorf("first %+v, then %+v", first, second)
				}
				var got []string
				for _, r := range second.Records {
					got = append(got, r.String())
					// Version 9 has whole seconds in its header, and what follows is relative to that.
					if since := now.Sub(r.Start) - time.Minute; since.Abs() > 3*time.Second || r.End.Sub(r.Start) != 40*time.Second {
						t.Errorf("from %v to %v, now is %v", r.Start, r.End, now)
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

// Many records share datagrams, none of which is too large, families mixed or not; the
// sequence numbers tell of each one lost.
func TestManyRecords(t *testing.T) {
	const ends = 1000
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			to := collect(t)
			x := open(t, scheme, to.Addr(), slog.New(slog.DiscardHandler))
			for n := range ends {
				end := state(17, fmt.Sprintf("10.1.0.2:%d", n+1), "10.2.0.2:53", nil)
				if n%5 == 0 {
					end = state(17, fmt.Sprintf("[2001:db8::2]:%d", n+1), "[2001:db8::1]:53", nil)
				}
				x.Ended(end)
			}
			stop := start(t, x)
			seen, datagrams, fullest := map[string]bool{}, uint32(0), 0
			for records := uint32(0); len(seen) < 2*ends; datagrams++ {
				m := next(t, to)
				if want := map[string]uint32{"ipfix": records, "netflow9": datagrams}[scheme]; m.Sequence != want {
					t.Fatalf("datagram %d has sequence %d, want %d", datagrams, m.Sequence, want)
				}
				if m.Len > mostLen {
					t.Errorf("%d bytes in a datagram, more than %d", m.Len, mostLen)
				}
				fullest = max(fullest, m.Len)
				for _, r := range m.Records {
					seen[r.String()] = true
				}
				records += uint32(len(m.Records))
			}
			if fullest < mostLen-100 {
				t.Errorf("at most %d bytes in a datagram of %d", fullest, mostLen)
			}
			stop()
			if n := counted(x, "flow_records"); n != 2*ends || counted(x, "flow_packets") != uint64(datagrams) || counted(x, "flow_dropped") != 0 {
				t.Errorf("%d records counted, %d packets of %d: %v", n, counted(x, "flow_packets"), datagrams, x.Counters())
			}
		})
	}
}

// A record leaves though no other follows, and does not wait for the exporter's end.
func TestASingleRecordLeaves(t *testing.T) {
	to := collect(t)
	x := open(t, "ipfix", to.Addr(), slog.New(slog.DiscardHandler))
	start(t, x)
	next(t, to) // the templates
	x.Ended(state(17, "10.1.0.2:1", "10.2.0.2:53", nil))
	if m := next(t, to); len(m.Records) != 2 {
		t.Errorf("%+v", m)
	}
}

// While nothing is sent, what is beyond the queue is dropped, and whoever tells of ends
// is not kept waiting.
func TestTooMuchIsDroppedAndCounted(t *testing.T) {
	x := open(t, "ipfix", collect(t).Addr(), slog.New(slog.DiscardHandler))
	for n := range 10000 {
		x.Ended(state(17, fmt.Sprintf("10.1.0.2:%d", n+1), "10.2.0.2:53", nil))
	}
	start(t, x)()
	sent, dropped := counted(x, "flow_records"), counted(x, "flow_dropped")
	if sent+dropped != 20000 || dropped == 0 || sent == 0 {
		t.Errorf("%d sent, %d dropped", sent, dropped)
	}
}

// A collector that is not there is named once, and again when it is back.
func TestACollectorThatIsAway(t *testing.T) {
	to := collect(t)
	at := to.Addr()
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	x := open(t, "ipfix", at, slog.New(slog.NewTextHandler(&log, nil)))
	send := func() { // the exporter's run sends all that there is
		x.Ended(state(17, "10.1.0.2:1", "10.2.0.2:53", nil))
		start(t, x)()
	}
	for counted(x, "flow_refused") < 3 {
		send()
	}
	to, err := flowexporttest.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	for !strings.Contains(log.String(), "again") {
		send()
	}
	if warned := strings.Count(log.String(), "level=WARN"); warned != 1 || !strings.Contains(log.String(), "collector="+at.String()) {
		t.Errorf("warned %d times: %s", warned, &log)
	}
	for len(next(t, to).Records) == 0 {
	}
}

// Who missed the templates gets them again, also when nothing has ended.
func TestTemplatesAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		x := flowexport.OpenOn(near, flowexport.Config{Log: slog.New(slog.DiscardHandler)})
		stop := start(t, x)
		began := time.Now()
		buf := make([]byte, 2000)
		for n := range 4 {
			if _, err := far.Read(buf); err != nil || buf[17] != 2 || time.Since(began) != time.Duration(n)*30*time.Second {
				t.Errorf("after %v a set %d, %v", time.Since(began), buf[17], err)
			}
		}
		stop()
	})
}

func TestEndedAllocatesNothing(t *testing.T) {
	x := open(t, "ipfix", collect(t).Addr(), slog.New(slog.DiscardHandler))
	end := state(17, "[2001:db8::2]:1", "[2001:db8::1]:53", nil)
	if n := testing.AllocsPerRun(1000, func() { x.Ended(end) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTargets(t *testing.T) {
	for target, want := range map[string]string{
		"":                        "not ipfix://ADDR:PORT or netflow9://ADDR:PORT",
		"192.0.2.1:4739":          "not ipfix://ADDR:PORT or netflow9://ADDR:PORT",
		"sflow://192.0.2.1:6343":  "not ipfix://ADDR:PORT or netflow9://ADDR:PORT",
		"ipfix://192.0.2.1":       "not a numeric address and port",
		"ipfix://192.0.2.1:0":     "not a numeric address and port",
		"ipfix://localhost:4739":  "not a numeric address and port",
		"netflow9://[::1]:2055":   "",
		"ipfix://127.0.0.1:4739":  "",
		"ipfix://127.0.0.1:4739/": "not a numeric address and port",
	} {
		x, err := flowexport.Open(flowexport.Config{Target: target})
		if err == nil {
			x.Close()
		}
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "export "+target+": ")) {
			t.Errorf("%q: %v, want %q", target, err, want)
		}
	}
}
