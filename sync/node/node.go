package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/tunif"
)

// Name of the one interface there is.
const Name = "pfsync0"

// Table is a state table with all that a daemon needs of it.
type Table interface {
	engine.Table
	Run(ctx context.Context) error
}

// Whole is a table as those see it who look at all of it, what is not shared included.
type Whole interface {
	// Entries yields all in parts.
	Entries(ctx context.Context, yield func([]pfstate.Entry) error) error
	// Remove removes entries that Entries has shown, and tells how many were there still.
	Remove(entries []pfstate.Entry) (removed int, err error)
}

// Device is pfsync0: tunif.Device, or tuniftest's.
type Device interface {
	Run(ctx context.Context) error
	Write(packet []byte) error
	SetUp(up bool) error
	SetMTU(mtu int) error
	Status() tunif.Status
	Events() <-chan tunif.Status
	Counters() []pfstate.Counter
	Close() error
}

// Config is what a node is made of.
type Config struct {
	Identity      Identity
	Table         Table
	TableName     string                                 // conntrack or memory, as shown to operators
	TableCounters func() []pfstate.Counter               // may be nil
	Holder        Holder                                 // of first packets, for defer; nil: none are held
	Queued        engine.Queued                          // with Holder: the table's reading of what the kernel gives with a packet
	Listen        bool                                   // pfsync0 sends nothing, unless -listen is set
	Exporter      Exporter                               // is told of the states that end; nil: nobody is
	TableUse      func() (entries, limit int, err error) // of all of the table, 0: no limit; nil, or an error: what is shared is all that is known
	Whole         Whole                                  // nil: what is shared is all of the table
	PeerStates    int                                    // states that one peer may have here, 0: no limit
	Timeout       func(pfstate.Timeout) time.Duration    // how long it keeps them; nil: pf's defaults
	Continues     bool                                   // the table is the one that the daemon before had
	OpenDevice    func(name string) (Device, error)      // makes pfsync0
	InterfaceMTU  func(name string) (mtu int, err error) // tells whether an interface exists
	SAs           SAs                                    // the kernel's IPsec; nil: it has none
	Carp          carp.System                            // makes carp interfaces; nil: there can be none
	CarpCounters  func() []pfstate.Counter               // of Carp; may be nil
	Networks      func() ([]Network, error)              // where a carpdev is looked for; needed beside Carp
	Log           *slog.Logger
}

// SAs are the kernel's security associations: ipsec.Monitor.
type SAs interface {
	engine.SAs
	Run(ctx context.Context) error
	Counters() []pfstate.Counter
}

// Node is one firewall's pfsync. Run owns its goroutines; it is the control.Node
// that ifconfig talks to.
type Node struct {
	cfg    Config
	log    *slog.Logger
	link   *link.Link
	engine *engine.Engine
	host   *carp.Host // nil: no carp
	shares shares

	transitions *transitions

	shown atomic.Pointer[shownDevice] // where the engine's packets appear; nil: nowhere

	mu       sync.Mutex // serialises changes; guards what follows
	settings settings
	sysctls  map[string]int64 // those that were set
	carps    map[string]vhid  // by name
	rules    rules
	device   *device // nil while pfsync0 does not exist
	born     bool    // made by the daemon itself: the operator may still `create` it
	run      *errgroup.Group
	runCtx   context.Context
}

// settings is the configuration as the operator sees it.
type settings struct {
	engine engine.Settings
	link   link.Config
	key    ifconfig.Key
}

// New returns a node; Run starts it.
func New(cfg Config) *Node {
	n := &Node{cfg: cfg, log: cfg.Log, link: link.New(cfg.Log), sysctls: map[string]int64{},
		carps: map[string]vhid{}, transitions: newTransitions()}
	n.settings.engine = n.defaults()
	if cfg.Carp != nil {
		n.host = carp.New(cfg.Carp, cfg.Log)
		n.shares.set = n.host.SetShare
	}
	c := engine.Config{
		Creator: cfg.Identity.Creator, PeerStates: cfg.PeerStates, Continues: cfg.Continues, Log: cfg.Log,
		Holder: cfg.Holder, Queued: cfg.Queued,
		Demote: func(d engine.Demotion) { n.shares.demote(d.Bulk, d.Link) },
	}
	if cfg.Exporter != nil {
		c.Ended = n.ended
	}
	if n.host != nil {
		c.Silence = n.host.PeersSilent
	}
	if cfg.SAs != nil {
		c.SAs = cfg.SAs
	}
	n.engine = engine.New(c, cfg.Table, n.link, n)
	return n
}

// Run makes pfsync0, down and unconfigured, and works until ctx ends. Then the
// engine sends what is pending, and pfsync0 goes away; the states stay where they
// are. ready is called once control requests make sense.
func (n *Node) Run(ctx context.Context, ready func()) error {
	// The engine ends first: its last packets need the link.
	lower, stopLower := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLower()
	group, lower := errgroup.WithContext(lower)
	n.mu.Lock()
	n.run, n.runCtx = group, lower
	err := n.create()
	n.born = true
	n.mu.Unlock()
	if err != nil {
		return err
	}
	// Masters bow out before the engine ends: what the others do not have yet is still sent.
	carping, stopCarp := context.WithCancel(ctx)
	defer stopCarp()
	upper, stopUpper := context.WithCancel(context.WithoutCancel(ctx))
	defer stopUpper()
	group.Go(func() error { return n.cfg.Table.Run(lower) })
	group.Go(func() error { return n.link.Run(lower) })
	if n.cfg.Holder != nil {
		group.Go(func() error { return n.cfg.Holder.Run(lower) })
	}
	if n.cfg.SAs != nil {
		group.Go(func() error {
			if err := n.cfg.SAs.Run(lower); err != nil {
				n.log.Error("the replay counters of IPsec are not followed any more", "err", err)
			}
			return nil
		})
	}
	if n.cfg.Exporter != nil {
		group.Go(func() error { return n.cfg.Exporter.Run(lower) })
	}
	group.Go(func() error {
		<-lower.Done() // one of the others failed
		stopUpper()
		return nil
	})
	group.Go(func() error {
		defer n.transitions.end()
		if err := n.runCarp(carping); err != nil {
			return err
		}
		<-carping.Done()
		stopUpper()
		return nil
	})
	n.mu.Lock()
	err = n.setOptions()
	n.mu.Unlock()
	if err != nil {
		n.log.Error("carp did not take its options", "err", err)
	}
	n.log.Info("started", "creatorid", fmt.Sprintf("%08x", n.cfg.Identity.Creator), "table", n.cfg.TableName)
	filter, err := n.restoreRules()
	if err != nil {
		n.log.Error("the rules of before are lost, all states are advertised; load them anew with pfctl -f /etc/pf.conf", "err", err)
	}
	group.Go(func() error {
		if filter != nil {
			if err := n.engine.SetFilter(filter); err != nil {
				return nil // it has ended already
			}
		}
		ready() // with the rules in force: now somebody may configure the link
		return nil
	})
	n.engine.Run(upper)
	stopCarp() // if the engine ended by itself
	n.mu.Lock()
	n.destroy()
	n.mu.Unlock()
	stopLower()
	return group.Wait()
}
