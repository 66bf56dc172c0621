package e2e_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/sync/hold"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// The connection that the kernel gives with a held packet is the one that its event tells of when the packet has
// been let go, in every respect.
func TestQueuedConnectionsAreTheTables(t *testing.T) {
	if !givesConnections(t) {
		return // TestDeferBehindTheRules has what such a kernel does
	}
	l := newLab(t)
	table, err := conntrack.Open(conntrack.Config{NetNS: l.A.Fd(), Creator: 0xaaaaaaaa})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Background(t, table.Run)
	holder, err := hold.Open(hold.Config{NetNS: l.A.Fd()})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Background(t, holder.Run)
	holder.Arm(true)
	labtest.Eventually(t, "rules", func() bool { where, err := holder.Where(); return err != nil || where != hold.Nowhere })

	for _, c := range []struct{ network, to string }{
		{"tcp", net.JoinHostPort(lab.ServerAddr, "9")}, {"tcp", net.JoinHostPort(lab.ServerAddr6, "9")},
		{"udp", net.JoinHostPort(lab.ServerAddr, "9")},
		{"ip4:icmp", lab.ServerAddr},
	} {
		t.Run(c.network, func(t *testing.T) {
			ended := make(chan error, 1)
			go func() {
				ended <- l.Client.Do(func() error {
					d := net.Dialer{Timeout: labtest.Patience}
					conn, err := d.Dial(c.network, c.to)
					if err != nil {
						return nil // refused
					}
					defer conn.Close()
					_, err = conn.Write([]byte{8, 0, 0xf7, 0xf7, 0, 7, 0, 1}) // an echo request too
					return err
				})
			}()
			var p hold.Packet
			select {
			case b := <-holder.Packets():
				p = b.Items[0]
			case <-time.After(labtest.Patience):
				t.Fatal("no packet is held")
			}
			var told pfstate.Change
			if confirmed, ok := table.Queued(p.CT, &told); confirmed || !ok {
				t.Errorf("confirmed %t, ok %t: % x", confirmed, ok, p.CT)
			}
			holder.Release([]uint32{p.ID})
			event := created(t, table)
			same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= 2*time.Second })
			if diff := cmp.Diff(event, told, same, near); diff != "" {
				t.Errorf("-event +queue:\n%s", diff)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// created is the next state that the table has been given by traffic.
func created(t *testing.T, table *conntrack.Table) (c pfstate.Change) {
	t.Helper()
	timeout := time.After(labtest.Patience)
	for {
		select {
		case b := <-table.Changes():
			for i := range b.Items {
				if b.Items[i].Kind == pfstate.Created {
					c = b.Items[i]
				}
			}
			b.Free()
			if c.Kind == pfstate.Created {
				return c
			}
		case <-timeout:
			t.Fatal("no state was made")
		}
	}
}
