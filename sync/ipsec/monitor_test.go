package ipsec_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/ipsec"
)

// An SA that is not here is no error. SAs themselves are tested in test/vm: this kernel has no ESP.
func TestUnknownSA(t *testing.T) {
	m, err := ipsec.Open(ipsec.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for _, dst := range []string{"192.0.2.1", "2001:db8::1"} {
		m.Learn(ipsec.SA{SPI: 0x1000, Dst: netip.MustParseAddr(dst), Proto: 50, Replay: 9})
	}
	counted := func(name string) uint64 {
		for _, c := range m.Counters() {
			if c.Name == name {
				return c.Value
			}
		}
		t.Fatalf("no counter %s", name)
		return 0
	}
	for end := time.Now().Add(time.Minute); counted("ipsec_unknown")+counted("ipsec_refused") < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if counted("ipsec_unknown") != 2 {
		t.Errorf("counters %+v", m.Counters())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
