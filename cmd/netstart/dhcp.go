package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// client is a DHCP client for Linux. In what it is told, %i is the interface.
type client struct {
	name, args string
	pids       []string // files in which one that works for the interface has its process id
	hint       string   // behind its refusal
}

// clients are tried in this order; the first one that is installed is used. Each goes on in the background.
var clients = [...]client{
	{"dhclient", "-nw -pf /run/dhclient.%i.pid -lf /var/lib/dhcp/dhclient.%i.leases %i", []string{"/run/dhclient.%i.pid"}, ""},
	{"dhcpcd", "-b %i", []string{"/run/dhcpcd/%i.pid", "/run/dhcpcd-%i.pid"}, ""},
	{"udhcpc", "-b -p /run/udhcpc.%i.pid -i %i", []string{"/run/udhcpc.%i.pid"}, ""},
	// It has a client for the interfaces that it manages, and only asks that one again.
	{"networkctl", "renew %i", nil, "systemd-networkd needs a .network file with DHCP=yes for %i"},
}

var errNoClient = errors.New("no DHCP client is installed (apt-get install isc-dhcp-client, or dhcpcd-base)")

func findClient() (client, error) {
	for _, c := range clients {
		if _, err := exec.LookPath(c.name); err == nil {
			return c, nil
		}
	}
	return client{}, errNoClient
}

func (c client) command(iface string) string {
	return c.name + " " + strings.ReplaceAll(c.args, "%i", iface)
}

// lease hands the interface to the system's DHCP client, unless it has it already.
func (n *netstart) lease(ctx context.Context, iface string) error {
	c, err := findClient()
	if err != nil {
		return err
	}
	for _, file := range c.pids {
		if runs(strings.ReplaceAll(file, "%i", iface), c.name) {
			return nil
		}
	}
	args := strings.Fields(c.args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "%i", iface)
	}
	cmd := exec.CommandContext(ctx, c.name, args...)
	cmd.Stdout, cmd.Stderr = n.stderr, n.stderr // what was asked for is not this
	if err := cmd.Run(); err != nil {
		if c.hint != "" {
			return fmt.Errorf("%s: %w (%s)", c.command(iface), err, strings.ReplaceAll(c.hint, "%i", iface))
		}
		return fmt.Errorf("%s: %w", c.command(iface), err)
	}
	return nil
}

// runs tells whether the process that the file names is there and is this program: after a crash the number
// may be another's.
func runs(pidFile, program string) bool {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(name)), program[:min(len(program), 15)])
}
