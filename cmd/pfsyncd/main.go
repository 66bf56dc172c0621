// Command pfsyncd keeps the state tables of two or more firewalls identical, as
// OpenBSD's pfsync does. It is configured with ifconfig pfsync0.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// version is set by the linker (Makefile).
var version = "unknown"

func main() {
	// A closed terminal or a dead log reader must not end a firewall's daemon.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:      "pfsyncd",
		Usage:     "keep the state tables of firewalls identical (pfsync)",
		UsageText: "pfsyncd [options]",
		Description: "Runs in the foreground, one in each network namespace. It makes the interface pfsync0, down;\n" +
			"configure it with: ifconfig pfsync0 up syncdev eth2, or keep that in /etc/hostname.pfsync0\n" +
			"and run netstart pfsync0. SIGTERM ends it: pfsync0 goes away, the kernel's states stay.\n" +
			"Needs root (CAP_NET_ADMIN and CAP_NET_RAW). See pfsyncd(8), pfsync(4), ifconfig(8).",
		Version:         version,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return err },
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "log `LEVEL`: debug, info, warn or error"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "log `FORMAT`: text or json, on standard error"},
			&cli.StringFlag{Name: "state-dir", Value: "/var/lib/pfsync", Usage: "keep creatorid and id key in `DIR` over restarts; each daemon has its own"},
			&cli.StringFlag{Name: "hostid", Usage: "set and keep the creatorid, `HEX` as in pf.conf's set hostid (default: random once, then kept)"},
			&cli.IntFlag{Name: "peer-states", Usage: "take at most `NUMBER` states of one peer, all BSD peers counting as one (default: half of nf_conntrack_max)"},
			&cli.StringFlag{Name: "export", Usage: "send flow records of states that end to the collector `URL`, by UDP: ipfix://ADDR:PORT or netflow9://ADDR:PORT, numeric"},
			&cli.StringFlag{Name: "metrics", Usage: "answer Prometheus on the TCP `ADDR:PORT` too, to anybody; numeric, as 127.0.0.1:9240"},
			&cli.BoolFlag{Name: "cleanup", Usage: "remove what a killed pfsyncd has left, its carp interfaces, and end; the unit's ExecStopPost"},
			&cli.BoolFlag{Name: "pprof", Usage: "answer root's questions for Go's profiles, below /debug/ on the control socket"},
			&cli.StringFlag{Name: "table", Value: "conntrack", Usage: "state `TABLE`: conntrack, the kernel's; or memory, for one that only watches and, unless -listen is set, only listens"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("%s: unexpected argument; the interface is configured with ifconfig pfsync0", c.Args().First())
			}
			if c.Int("peer-states") < 0 {
				return fmt.Errorf("peer-states %d: must not be negative", c.Int("peer-states"))
			}
			if c.Bool("cleanup") {
				return cleanUp(stderr)
			}
			return serve(c.Context, options{
				logLevel: c.String("log-level"), logFormat: c.String("log-format"), stateDir: c.String("state-dir"),
				hostID: c.String("hostid"), table: c.String("table"), peerStates: c.Int("peer-states"), version: c.App.Version,
				export: c.String("export"), metrics: c.String("metrics"), listenMetrics: c.IsSet("metrics"),
				profiles: c.Bool("pprof"),
			}, stderr)
		},
	}
	if err := app.RunContext(ctx, args); err != nil {
		if os.Geteuid() != 0 {
			err = fmt.Errorf("%w (not run as root)", err)
		}
		fmt.Fprintf(stderr, "pfsyncd: %v\n", err)
		return 1
	}
	return 0
}
