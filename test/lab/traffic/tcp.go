package traffic

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
)

// Message lengths of a TCP flow, in bytes. Bulk needs many segments and a window of its own:
// a firewall that judges windows by stale memory kills such a flow first.
const (
	smallLen  = 512
	bulkLen   = 128 << 10
	bulkEvery = 20

	MaxMessage = 1 << 20
)

// serveEcho listens at a TCP port of the namespace that it is called in. It reads a
// whole message before it answers, so that neither side waits for the other's buffers.
func (t *Traffic) serveEcho(port int) error {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		return err
	}
	t.keep(ln)
	t.wg.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			t.keep(c)
			t.wg.Go(func() {
				defer t.release(c)
				echo(c)
			})
		}
	})
	return nil
}

// echo answers until the connection ends; how it ended is seen at the other end.
func echo(c net.Conn) {
	b := make([]byte, smallLen)
	for {
		if _, err := io.ReadFull(c, b[:headerLen]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(b))
		if n < headerLen || n > MaxMessage {
			return
		}
		b = slices.Grow(b[:headerLen], n-headerLen)[:n]
		if _, err := io.ReadFull(c, b[headerLen:]); err != nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// startTCP connects from the namespace that it is called in.
func (t *Traffic) startTCP(f *flow, addr string, port int) error {
	d := net.Dialer{Timeout: connectIn, KeepAlive: -1}
	c, err := d.DialContext(t.ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	t.keep(c)
	t.wg.Go(func() {
		defer t.release(c)
		if err := t.converse(f, c); err != nil {
			t.failUnlessStopped(f, err)
		}
	})
	return nil
}

// converse sends message after message and checks each answer.
func (t *Traffic) converse(f *flow, c net.Conn) error {
	sent, got := make([]byte, f.size), make([]byte, f.size)
	for n := uint64(0); ; n++ {
		fill(sent, f.id, n)
		if _, err := c.Write(sent); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		if err := check(got, sent, f.id, n); err != nil {
			return err
		}
		f.progressed()
		if !t.pause(f.every) {
			return nil
		}
	}
}
