package carp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

// A host on a network in memory; with fast adverts, so that it is master soon.
func Example() {
	lan := carptest.NewLAN()
	sys := lan.System("fwA", carptest.Ports{"sis0": {netip.MustParseAddr("10.0.0.254")}})
	host := carp.New(sys, slog.New(slog.DiscardHandler))

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- host.Run(ctx) }()

	err := host.Configure(carp.Config{
		Name: "carp0", VHID: 1, Pass: "mekmitasdigoat", AdvSkew: 10, CarpDev: "sis0", Up: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	})
	if err != nil {
		fmt.Println(err)
	}
	for t := range host.Transitions() {
		fmt.Printf("%s: %v -> %v (%s)\n", t.Name, t.Old, t.New, t.Why)
		if t.New == carp.Master {
			cancel() // bows out and takes everything away
		}
	}
	fmt.Println(<-ended)
	// Output:
	// carp0: INIT -> BACKUP (carpdev sis0 is up)
	// carp0: BACKUP -> MASTER (master is silent)
	// carp0: MASTER -> INIT (carp stops)
	// <nil>
}
