// Command demo shows what pfsync is for: two firewalls in namespaces carry live
// connections, one of them dies, and the connections go on through the other, which carp
// has made master; and through the first one again when it is back. Then it shows what
// happens with carp alone. `make demo` runs it.
//
// It exits 0 only if with pfsync every flow survived, and without it every TCP
// connection died.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// namePrefix begins the names of the demo's namespaces.
const namePrefix = "pfsync-demo"

// atMost bounds the whole demo; it takes some forty seconds.
const atMost = 58 * time.Second

func main() {
	bin := flag.String("bin", "bin", "folder with pfsyncd, ifconfig, netstart, pfctl and pfsyncdump")
	files := flag.String("files", "test/e2e/testdata/openbsd", "folder with the files of both firewalls' /etc, in a and b")
	connections := flag.Int("connections", 200, "TCP connections from the client to the server")
	flag.Parse()
	if flag.NArg() > 0 || *connections < 1 {
		flag.Usage()
		os.Exit(1)
	}

	// Whatever ends the demo, also a reader of its output that goes away, it cleans up.
	signalled, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(signalled, atMost, fmt.Errorf("not done after %v", atMost))
	defer cancel()

	err := run(ctx, &story{out: os.Stdout, bin: *bin, files: *files, connections: *connections})
	switch {
	case signalled.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted; everything it made is removed")
		os.Exit(130) // as a shell reports SIGINT
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s *story) error {
	if err := check(s.bin, s.files); err != nil {
		return err
	}
	if err := lab.RemoveStale(namePrefix); err != nil {
		return err
	}
	start := time.Now()
	s.introduce()

	s.part("With pfsync")
	with, err := s.play(ctx, true)
	if err != nil {
		return fmt.Errorf("with pfsync: %w", err)
	}
	s.part("The same without pfsync: carp alone")
	without, err := s.play(ctx, false)
	if err != nil {
		return fmt.Errorf("without pfsync: %w", err)
	}
	s.part("Result")
	s.table(with, without)
	err = verdict(with, without)
	if err == nil {
		s.say("\ncarp moved the addresses, both times. pfsync saved every connection: none was reset, none\nstood still for long; without it every TCP connection died. (%.0f s)", time.Since(start).Seconds())
	}
	return err
}

// check finds out what is missing before anything is made.
func check(bin, files string) error {
	errs := []error{lab.RequireRoot(), lab.Require("ip", "nft", "conntrack", "tcpdump", "unshare")}
	for _, name := range []string{"pfsyncd", "ifconfig", "netstart", "pfctl", "pfsyncdump"} {
		if _, err := os.Stat(bin + "/" + name); err != nil {
			errs = append(errs, fmt.Errorf("%w; run make build", err))
		}
	}
	if _, err := os.Stat(files + "/b/hostname.carp0"); err != nil {
		errs = append(errs, fmt.Errorf("%w; run it in the folder of the sources", err))
	}
	return errors.Join(errs...)
}
