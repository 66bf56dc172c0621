package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

func errorsOf(errs ...error) error { return errors.Join(errs...) }

func pidOf(c *exec.Cmd) string { return strconv.Itoa(c.Process.Pid) }

// connect makes one TCP connection from the client to the server's address, and
// checks who the server takes it to be from.
func connect(l *lab.Lab, server string) error {
	var ln net.Listener
	err := l.Server.Do(func() (err error) {
		ln, err = net.Listen("tcp", net.JoinHostPort(server, "0"))
		return err
	})
	if err != nil {
		return err
	}
	defer ln.Close()
	return l.Client.Do(func() error {
		c, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := ln.Accept()
		if err != nil {
			return err
		}
		defer s.Close()
		want := lab.SharedOutside
		if server == lab.ServerAddr6 {
			want = lab.ClientAddr6
		}
		if host, _, err := net.SplitHostPort(s.RemoteAddr().String()); err != nil || host != want {
			return fmt.Errorf("the server sees %v, want %s", s.RemoteAddr(), want)
		}
		return nil
	})
}

func countTCP(ctx context.Context, t *testing.T, f *lab.Firewall) int {
	t.Helper()
	entries, err := f.Entries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Proto == 6 {
			n++
		}
	}
	return n
}
