package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/confine"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/node"
	"github.com/pfsync-linux/pfsync/tunif"
)

type options struct {
	logLevel, logFormat string
	stateDir, hostID    string
	table               string
	peerStates          int
	version             string
}

// serve puts the daemon together and runs it until ctx ends.
func serve(ctx context.Context, o options, stderr io.Writer) error {
	log, err := newLog(o.logLevel, o.logFormat, stderr)
	if err != nil {
		return err
	}
	listener, err := control.Listen() // before anything is touched: there may be another daemon
	if err != nil {
		return err
	}
	defer listener.Close()
	identity, err := o.identity()
	if err != nil {
		return err
	}
	defer identity.Close()
	cfg := node.Config{
		Identity: identity, TableName: o.table, PeerStates: o.peerStates, Log: log,
		OpenDevice:   func(name string) (node.Device, error) { return tunif.Open(name, log) },
		InterfaceMTU: interfaceMTU,
	}
	if err := o.openTable(&cfg); err != nil {
		return err
	}
	log.Info("starting", "version", o.version)
	confined(o.stateDir, log)
	n := node.New(cfg)
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	group.Go(func() error {
		err := n.Run(ctx, func() { close(ready) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		return err
	})
	group.Go(func() error {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		return control.NewServer(n, log).Serve(ctx, listener)
	})
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

func (o options) identity() (node.Identity, error) {
	var creator uint32
	if o.hostID != "" {
		var err error
		if creator, err = node.ParseCreator(o.hostID); err != nil {
			return node.Identity{}, err
		}
	}
	return node.LoadIdentity(o.stateDir, creator)
}

func (o options) openTable(cfg *node.Config) error {
	switch o.table {
	case "conntrack":
		t, err := conntrack.Open(conntrack.Config{Creator: cfg.Identity.Creator, Key: cfg.Identity.Key, Log: cfg.Log})
		if err != nil {
			return err
		}
		cfg.Table = t
		cfg.TableCounters = t.Counters
		cfg.Limit, cfg.Timeout = t.Limit(), t.Timeout
		// Half of the table: whoever floods it, the other half is for honest peers.
		if cfg.PeerStates == 0 {
			cfg.PeerStates = t.Limit() / 2
		}
		if cfg.Continues, err = cfg.Identity.Continues(t.Incarnation()); err != nil {
			cfg.Log.Warn("whether the state table is that of before is not known; states that ended meanwhile may come back", "err", err)
		}
	case "memory":
		cfg.Table = memory.New(memory.Config{Creator: cfg.Identity.Creator})
	default:
		return fmt.Errorf("table %s: unknown, choose conntrack or memory", o.table)
	}
	return nil
}

func interfaceMTU(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return i.MTU, nil
}

var _ node.Table = (*memory.Table)(nil)
