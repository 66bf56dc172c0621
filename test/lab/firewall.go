package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Firewall is a host that forwards between Outside and Inside by the rules of
// firewall.nft, and may run a pfsyncd. Its methods are for one goroutine at a time.
type Firewall struct {
	*NS
	lab    *Lab
	port   string // its name on the switches
	bin    string
	dir    string
	daemon *daemon
	cut    bool
}

// setUp loads the rules first: they bring the conntrack module, and with it its sysctls.
func (f *Firewall) setUp(ctx context.Context, rulesFile string) error {
	if err := os.MkdirAll(f.StateDir(), 0o700); err != nil {
		return err
	}
	if _, err := f.Run(ctx, "nft", "-f", rulesFile); err != nil {
		return err
	}
	for _, s := range []struct{ path, value string }{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv6/conf/all/forwarding", "1"},
		{"net/ipv4/conf/all/rp_filter", "1"},
		{"net/ipv4/conf/all/send_redirects", "0"},
		{"net/netfilter/nf_conntrack_tcp_loose", "0"},
	} {
		if err := f.Sysctl(s.path, s.value); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

// Peer is the other firewall of the two; C's is A.
func (f *Firewall) Peer() *Firewall { return f.lab.other(f) }

func (f *Firewall) addShared() error {
	var errs []error
	for _, s := range shared() {
		errs = append(errs, f.addAddrs(s.link, s.addr+"/24", s.addr6+"/64"))
	}
	return errors.Join(errs...)
}

func (f *Firewall) delShared() error {
	var errs []error
	for _, s := range shared() {
		errs = append(errs, f.delAddrs(s.link, s.addr+"/24", s.addr6+"/64"))
	}
	return errors.Join(errs...)
}
