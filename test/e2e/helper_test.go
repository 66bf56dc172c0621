package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// ftpServer speaks as much FTP as the kernel's helper listens to: each line of the client is
// answered with a passive port, on which it says hello.
func ftpServer(t *testing.T, l *lab.Lab) {
	t.Helper()
	var control, data net.Listener
	err := l.Server.Do(func() (err error) {
		if control, err = net.Listen("tcp4", lab.ServerAddr+":21"); err != nil {
			return err
		}
		data, err = net.Listen("tcp4", lab.ServerAddr+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close(); data.Close() })
	port := data.Addr().(*net.TCPAddr).Port
	go func() {
		c, err := control.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "220 ready\r\n") // the helper looks behind the first line only
		for lines := bufio.NewScanner(c); lines.Scan(); {
			fmt.Fprintf(c, "227 Entering Passive Mode (%s,%d,%d).\r\n", strings.ReplaceAll(lab.ServerAddr, ".", ","), port>>8, port&0xff)
		}
	}()
	go func() {
		for {
			c, err := data.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "hello")
			c.Close()
		}
	}()
}

// A connection with a helper keeps it: what was expected of it on fwA is not carried, but fwB expects
// by itself what the client and the server agree on after the move.
func TestHelpersGoAlong(t *testing.T) {
	l := newLab(t)
	const rules = "add ct helper inet raw passive { type \"ftp\" protocol tcp; };" +
		"add chain inet raw helped { type filter hook prerouting priority filter; };" +
		"add rule inet raw helped ip daddr " + lab.ServerAddr + " tcp dport 21 ct helper set \"passive\";" +
		"insert rule inet filter forward ct state new ip daddr " + lab.ServerAddr + " tcp dport != 21 drop"
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if _, err := f.Run(t.Context(), "nft", rules); err != nil {
			t.Fatal(err)
		}
	}
	ftpServer(t, l)
	startPair(t, l)

	dial := func(addr string) net.Conn {
		t.Helper()
		var c net.Conn
		if err := l.Client.Do(func() (err error) {
			c, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp4", addr)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	control := dial(lab.ServerAddr + ":21")
	answers := bufio.NewReader(control)
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	fetch := func() {
		t.Helper()
		if _, err := io.WriteString(control, "PASV\r\n"); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var high, low int
		if _, err := fmt.Sscanf(line[strings.LastIndex(line[:strings.LastIndex(line, ",")], ",")+1:], "%d,%d", &high, &low); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got, err := io.ReadAll(dial(fmt.Sprintf("%s:%d", lab.ServerAddr, high<<8|low)))
		if err != nil || string(got) != "hello\n" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	fetch()
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, l.A, l.B) })
	failover(t, l)
	fetch()
	if out, err := l.B.Run(t.Context(), "conntrack", "-L", "-p", "tcp", "--dport", "21"); err != nil || !strings.Contains(out, "helper=ftp") {
		t.Errorf("fwB's entry: %s %v", out, err)
	}
}
