// Package notify tells the service manager how the daemon is doing, by sd_notify(3): that
// it is ready, a line for people, that it ends, and that it is alive. Nobody is told where
// no NOTIFY_SOCKET is.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// statusEvery is how often the line for people is made anew, without a watchdog.
const statusEvery = 10 * time.Second

// Node is what is told of: a control.Node. Both methods wait for the engine.
type Node interface {
	Interfaces() ([]ifconfig.Interface, error)
	Status() (control.Status, error)
}

// Manager is how the service manager is told. The zero value tells nobody.
type Manager struct {
	Send     func(state string) error // nil: nobody listens
	Watchdog time.Duration            // the manager restarts what says nothing for so long, 0: it does not
}

// FromEnvironment is the Manager that started the process, if one did that wants to be told.
func FromEnvironment() (Manager, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" && os.Getenv("WATCHDOG_USEC") == "" {
		return Manager{}, nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return Manager{}, fmt.Errorf("WATCHDOG_USEC: %w", err)
	}
	return Manager{Watchdog: watchdog, Send: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}, nil
}

// Run says READY when n answers, then again and again how things are, and STOPPING when
// ctx ends. Whoever starts it has the control socket open. The watchdog is kept quiet by
// answers of n only: when its engine hangs, the manager is to restart the daemon.
func (m Manager) Run(ctx context.Context, n Node, log *slog.Logger) {
	if m.Send == nil {
		return
	}
	every := statusEvery
	if m.Watchdog > 0 {
		every = min(every, m.Watchdog/3) // one may be late
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	said, failed := "", false
	send := func(state string) {
		err := m.Send(state)
		if err != nil && !failed {
			log.Warn("service manager not told", "err", err)
		}
		failed = err != nil
	}
	for {
		line, ended, err := ask(ctx, n)
		switch {
		case ended:
			send(daemon.SdNotifyStopping + "\nSTATUS=ending")
			return
		case err != nil: // the node ends, or has failed; not a word, so that the manager takes notice
			log.Warn("service manager not told", "err", err)
		case said == "":
			send(daemon.SdNotifyReady + "\n" + daemon.SdNotifyWatchdog + "\nSTATUS=" + line)
			said = line
		case said != line:
			send(daemon.SdNotifyWatchdog + "\nSTATUS=" + line)
			said = line
		default:
			send(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// ask waits for n or the end of ctx, whichever comes first: n may hang.
func ask(ctx context.Context, n Node) (line string, ended bool, err error) {
	type answer struct {
		line string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := describe(n)
		answered <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", true, nil
	case a := <-answered:
		return a.line, ctx.Err() != nil, a.err
	}
}

// describe is the status line of pfsync0, with the peers and the states.
func describe(n Node) (string, error) {
	status, err := n.Status()
	if err != nil {
		return "", err
	}
	interfaces, err := n.Interfaces()
	if err != nil {
		return "", err
	}
	line := "pfsync0 destroyed"
	for _, i := range interfaces {
		line = i.Name + ": " + i.Status
	}
	good := 0
	for _, p := range status.Peers {
		if p.OK() {
			good++
		}
	}
	return fmt.Sprintf("%s; peers in order: %d of %d; states: %d local, %d imported",
		line, good, len(status.Peers), status.States.Local, status.States.Imported), nil
}
