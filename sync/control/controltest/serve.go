package controltest

import (
	"context"
	"log/slog"
	"net"

	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// Serve answers for node on the control socket of a namespace until stop is called, which
// returns once nothing of the server is left.
func Serve(ns *lab.NS, node control.Node) (stop func() error, err error) {
	var l net.Listener
	if err := ns.Do(func() (err error) { l, err = control.Listen(); return err }); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- control.NewServer(node, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	return func() error {
		cancel()
		return <-served
	}, nil
}

// Dial connects to the control socket of a namespace.
func Dial(ns *lab.NS) (c net.Conn, err error) {
	err = ns.Do(func() error { c, err = net.Dial("unix", control.Address); return err })
	return c, err
}

// NewClient reaches the pfsyncd of a namespace.
func NewClient(ns *lab.NS) *control.Client {
	return control.NewClientDial(func(context.Context) (net.Conn, error) { return Dial(ns) })
}
