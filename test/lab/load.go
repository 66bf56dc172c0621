package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Load makes n established TCP entries in the firewall's table at once, that last an
// hour: from 10.128.0.0 on, one an address, to 192.0.2.1. Packets will never meet them.
func (f *Firewall) Load(ctx context.Context, n int) error {
	file := filepath.Join(f.dir, "load")
	if err := writeLoad(file, n); err != nil {
		return err
	}
	_, err := f.Run(ctx, "conntrack", "-R", file)
	return err
}

// writeLoad writes what `conntrack -R` reads: a command a line.
func writeLoad(file string, n int) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	w := bufio.NewWriter(out)
	src := netip.AddrFrom4([4]byte{10, 128})
	for range n {
		fmt.Fprintf(w, "-A -t 3600 -u SEEN_REPLY,ASSURED -s %v -d 192.0.2.1 -p tcp --sport 1024 --dport 80 --state ESTABLISHED\n", src)
		src = src.Next()
	}
	return w.Flush()
}

// Forget deletes TCP and UDP entries from the firewall's table, as an operator would.
// Those that are gone already do not matter.
func (f *Firewall) Forget(ctx context.Context, entries []Entry) error {
	for _, e := range entries {
		proto, ok := map[uint8]string{6: "tcp", 17: "udp"}[e.Proto]
		if !ok {
			continue
		}
		family := map[bool]string{true: "ipv4", false: "ipv6"}[e.Orig.Src.Is4()]
		_, err := f.Run(ctx, "conntrack", "-D", "-f", family, "-p", proto, "-s", e.Orig.Src.String(), "-d", e.Orig.Dst.String(),
			"--sport", strconv.Itoa(int(e.Orig.SPort)), "--dport", strconv.Itoa(int(e.Orig.DPort)))
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: there was none
			return err
		}
	}
	return nil
}
