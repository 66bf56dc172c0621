package lab

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
