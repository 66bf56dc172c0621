package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/confine"
	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/footprint"
	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/notify"
	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/profile"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/flowexport"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/hold"
	"github.com/pfsync-linux/pfsync/sync/ipsec"
	"github.com/pfsync-linux/pfsync/sync/metrics"
	"github.com/pfsync-linux/pfsync/sync/node"
	"github.com/pfsync-linux/pfsync/tunif"
)

type options struct {
	logLevel, logFormat string
	stateDir, hostID    string
	table               string
	peerStates          int
	version             string
	export              string // a collector's URL, "": none
	metrics             string // a TCP address
	listenMetrics       bool
	profiles            bool
}

// serve puts the daemon together and runs it until ctx ends.
func serve(ctx context.Context, o options, stderr io.Writer) error {
	if !o.profiles {
		profile.Off()
	}
	log, err := newLog(o.logLevel, o.logFormat, stderr)
	if err != nil {
		return err
	}
	creator, err := o.creator()
	if err != nil {
		return err
	}
	if o.table != "conntrack" && o.table != "memory" {
		return fmt.Errorf("table %s: unknown, choose conntrack or memory", o.table)
	}
	listener, err := control.Listen() // before anything is touched: there may be another daemon
	if err != nil {
		return err
	}
	defer listener.Close()
	var scrapes net.Listener
	if o.listenMetrics {
		if scrapes, err = metrics.Listen(o.metrics); err != nil {
			return err
		}
		defer scrapes.Close()
	}
	manager, err := notify.FromEnvironment()
	if err != nil {
		return err
	}
	identity, err := node.LoadIdentity(o.stateDir, creator)
	if err != nil {
		return err
	}
	defer identity.Close()
	watched, err := tunif.PacketSockets()
	if err != nil {
		log.Warn("frames are made whether anybody watches pfsync0 or not", "err", err)
	}
	defer watched.Close()
	cfg := node.Config{
		Identity: identity, TableName: o.table, PeerStates: o.peerStates, Log: log,
		OpenDevice:   func(name string) (node.Device, error) { return tunif.Open(name, log, tunif.WatchedBy(watched)) },
		InterfaceMTU: interfaceMTU,
	}
	if o.export != "" {
		exporter, err := flowexport.Open(flowexport.Config{Target: o.export, Domain: identity.Creator, Log: log})
		if err != nil {
			return err
		}
		defer exporter.Close()
		cfg.Exporter = exporter
	}
	if err := o.openTable(&cfg); err != nil {
		return err
	}
	if o.table == "conntrack" { // who only watches holds no addresses
		stop, err := openCarp(&cfg, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	log.Info("starting", "version", o.version)
	confined(o.stateDir, log)
	n := node.New(cfg)
	server := control.NewServer(n, log)
	server.Metrics = metrics.NewHandler(server.Node(), o.version, log)
	if o.profiles {
		server.Debug = profile.NewHandler()
	}
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	group.Go(func() error { footprint.Run(ctx); return nil })
	group.Go(func() error {
		err := n.Run(ctx, func() { close(ready) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		return err
	})
	whenReady := func(f func() error) {
		group.Go(func() error {
			select {
			case <-ready:
				return f()
			case <-ctx.Done():
				return nil
			}
		})
	}
	whenReady(func() error { return server.Serve(ctx, listener) })
	if scrapes != nil {
		whenReady(func() error { return metrics.Serve(ctx, scrapes, server.Metrics, log) })
	}
	whenReady(func() error { manager.Run(ctx, n, log); return nil })
	if err := group.Wait(); err != nil {
		return err
	}
	log.Info("ended")
	return nil
}

// confined gives privileges up: what comes from the network is parsed after this only.
func confined(stateDir string, log *slog.Logger) {
	abi, err := confine.Process(stateDir)
	if err != nil {
		log.Warn("not all privileges could be given up", "err", err)
	}
	log.Info("confined", "landlock", abi)
}

func newLog(level, format string, w io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level %s: unknown, choose debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log-format %s: unknown, choose text or json", format)
}

// creator is what the operator gave as such, or 0.
func (o options) creator() (uint32, error) {
	if o.hostID == "" {
		return 0, nil
	}
	return node.ParseCreator(o.hostID)
}

// openTable opens the table that is called conntrack or memory.
func (o options) openTable(cfg *node.Config) error {
	switch o.table {
	case "conntrack":
		// First: its chain must be there before conntrack's hooks.
		holder, err := hold.Open(hold.Config{Log: cfg.Log})
		if err != nil {
			cfg.Log.Warn("first packets cannot be held (defer)", "err", err)
		} else {
			cfg.Holder = holder
		}
		sas, err := ipsec.Open(ipsec.Config{Log: cfg.Log})
		if err != nil {
			cfg.Log.Debug("no replay counters of IPsec", "err", err)
		} else {
			cfg.SAs = sas
		}
		t, err := conntrack.Open(conntrack.Config{Creator: cfg.Identity.Creator, Key: cfg.Identity.Key, Log: cfg.Log})
		if err != nil {
			return err
		}
		cfg.Table, cfg.Whole, cfg.Queued = t, t, t.Queued
		cfg.TableCounters = t.Counters
		cfg.TableUse = conntrackUse
		cfg.Timeout = t.Timeout
		// Half of the table: whoever floods it, the other half is for honest peers.
		if cfg.PeerStates == 0 {
			cfg.PeerStates = t.Limit() / 2
		}
		if cfg.Continues, err = cfg.Identity.Continues(t.Incarnation()); err != nil {
			cfg.Log.Warn("whether the state table is that of before is not known; states that ended meanwhile may come back", "err", err)
		}
	case "memory":
		cfg.Table = memory.New(memory.Config{Creator: cfg.Identity.Creator})
		cfg.Listen = true
	}
	return nil
}

// conntrackUse asks the kernel, which also counts what is not shared.
func conntrackUse() (entries, limit int, err error) {
	if entries, err = readSysctl("nf_conntrack_count"); err != nil {
		return 0, 0, err
	}
	limit, err = readSysctl("nf_conntrack_max")
	return entries, limit, err
}

func readSysctl(name string) (int, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/" + name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func interfaceMTU(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return i.MTU, nil
}

var _ node.Table = (*memory.Table)(nil)
