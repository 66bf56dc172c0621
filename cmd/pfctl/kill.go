package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// toKill reads the words of -k.
func (p *program) toKill(ctx context.Context) (k control.Kill, err error) {
	second := ""
	if len(p.kill) == 2 {
		second = p.kill[1]
	}
	switch kind := p.kill[0]; kind {
	case "label":
		if len(p.kill) == 1 {
			return k, errors.New("no label specified")
		}
		if second == "" {
			return k, errors.New("empty label specified")
		}
		k.Label = second // states do not remember their rule: pfsyncd judges them by the rules as they are now
		return k, nil
	case "gateway", "nat":
		return k, fmt.Errorf("-k %s: not supported on Linux; give hosts, or -k key", kind)
	case "id":
		if len(p.kill) == 1 {
			return k, errors.New("no id specified")
		}
		return k, parseID(second, &k)
	case "key":
		if len(p.kill) == 1 {
			return k, errors.New("no key specified")
		}
		key, err := parseKey(second)
		k.Key = &key
		return k, err
	}
	if k.Src, err = p.lookUp(ctx, p.kill[0]); err == nil && len(p.kill) == 2 {
		k.Dst, err = p.lookUp(ctx, second)
	}
	return k, err
}

// lookUp gives the addresses of a host, a network, or an interface.
func (p *program) lookUp(ctx context.Context, word string) (list []netip.Prefix, err error) {
	if n, err := parseNet(word); err == nil {
		return []netip.Prefix{n}, nil
	}
	if strings.Contains(word, "/") || word == "" {
		return nil, fmt.Errorf("%s: neither an address nor a network", ifconfig.Shown(word))
	}
	for _, a := range addresses(word) {
		list = append(list, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	if list == nil && !p.numeric {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", word)
		if err == nil {
			for _, a := range found {
				list = append(list, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			}
		}
	}
	if list == nil {
		return nil, fmt.Errorf("no IP address found for %s", ifconfig.Shown(word))
	}
	return list, nil
}

// parseID reads ID or ID/CREATOR, in hexadecimal.
func parseID(word string, k *control.Kill) error {
	id, creator, both := strings.Cut(word, "/")
	n, err := strconv.ParseUint(strings.TrimPrefix(id, "0x"), 16, 64)
	if err != nil {
		return fmt.Errorf("wrong id format specified: %s", ifconfig.Shown(word))
	}
	if n == 0 {
		return errors.New("cannot kill id 0")
	}
	k.ID = control.HexID(n)
	if both {
		c, err := strconv.ParseUint(strings.TrimPrefix(creator, "0x"), 16, 32)
		if err != nil || c == 0 {
			return fmt.Errorf("wrong id format specified: %s", ifconfig.Shown(word))
		}
		k.Creator = ifconfig.CreatorID(c)
	}
	return nil
}

// parseKey reads a connection as -s states shows it: "tcp 10.0.0.1:22 <- 10.0.0.2:4000".
func parseKey(word string) (k control.KillKey, err error) {
	f := strings.Fields(word)
	if len(f) != 4 {
		return k, errors.New(`key must be "protocol host1:port1 direction host2:port2" format`)
	}
	proto, ok := protocol(f[0])
	if !ok {
		return k, fmt.Errorf("invalid protocol: %s", ifconfig.Shown(f[0]))
	}
	k.Proto = proto
	ends := [2]netip.AddrPort{}
	for i, text := range []string{f[1], f[3]} {
		if ends[i], ok = endpoint(text); !ok {
			return k, fmt.Errorf("invalid host: %s", ifconfig.Shown(text))
		}
	}
	switch f[2] {
	case "->":
		k.From, k.To = ends[0], ends[1]
	case "<-":
		k.From, k.To = ends[1], ends[0]
	default:
		return k, fmt.Errorf("invalid direction: %s", ifconfig.Shown(f[2]))
	}
	return k, nil
}

// protocol finds a protocol by the name that is printed, or by its number.
func protocol(word string) (uint8, bool) {
	for p := range 256 {
		if pfstate.ProtoName(uint8(p)) == word || strconv.Itoa(p) == word {
			return uint8(p), true
		}
	}
	return 0, false
}

// endpoint reads address:port or address[port]; without a port it is 0.
func endpoint(word string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(word); err == nil {
		return netip.AddrPortFrom(a, 0), true
	}
	host, port, ok := strings.Cut(word, "[")
	if ok {
		port, ok = strings.CutSuffix(port, "]")
	} else {
		host, port, ok = strings.Cut(word, ":")
	}
	a, err := netip.ParseAddr(host)
	n, err2 := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), ok && err == nil && err2 == nil
}
