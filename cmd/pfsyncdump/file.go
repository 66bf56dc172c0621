package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
)

// maxSnap bounds a frame where a file names no bound; it is tcpdump's.
const maxSnap = 262144

// The first bytes of capture files.
const (
	pcapngMagic    = 0x0a0d0d0a
	pcapMagic      = 0xa1b2c3d4 // in either byte order, as the next
	pcapNanosMagic = 0xa1b23c4d
	gzipMagic      = 0x1f8b
)

// capture is a capture file.
type capture struct {
	name string
	file *os.File // nil for standard input
	io.Closer
	read func() ([]byte, gopacket.CaptureInfo, error)
	link layers.LinkType // of every frame; pcapng has it with each
	n    int             // frames read
}

// openFile opens a pcap (also compressed by gzip) or a pcapng file; "-" is stdin.
func openFile(ctx context.Context, name string, stdin io.Reader) (*capture, error) {
	c := &capture{name: name}
	var r io.Reader
	if name == "-" {
		c.name, c.Closer, r = "standard input", io.NopCloser(nil), interruptible(ctx, stdin)
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, c.wrap(err)
		}
		c.file, c.Closer, r = f, f, f
	}
	if err := c.begin(bufio.NewReaderSize(r, 1<<16)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// interruptible is r until ctx ends: a read from a terminal or pipe cannot be interrupted.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
	return pr
}

func (c *capture) begin(r *bufio.Reader) error {
	first, err := r.Peek(4)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: no capture file: %d bytes long", c.name, len(first))
	}
	if err != nil {
		return c.wrap(err)
	}
	magic, swapped := binary.BigEndian.Uint32(first), binary.LittleEndian.Uint32(first)
	switch {
	case magic == pcapMagic, swapped == pcapMagic, magic == pcapNanosMagic, swapped == pcapNanosMagic, magic>>16 == gzipMagic:
	case magic != pcapngMagic:
		return fmt.Errorf("%s: neither a pcap nor a pcapng file", c.name)
	default:
		ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return c.wrap(fmt.Errorf("no pcapng file: %w", err))
		}
		c.read = ng.ZeroCopyReadPacketData
		return nil
	}
	p, err := pcapgo.NewReader(r)
	if err != nil {
		return c.wrap(fmt.Errorf("no pcap file: %w", err))
	}
	p.SetSnaplen(max(p.Snaplen(), maxSnap)) // some programs write a smaller one than they used
	c.read, c.link = p.ZeroCopyReadPacketData, p.LinkType()
	if err := pfsyncprint.CheckLink(c.link); err != nil {
		return c.wrap(err)
	}
	return nil
}

func (c *capture) next(context.Context) (frame, error) {
	data, info, err := c.read()
	if errors.Is(err, io.EOF) && info.CaptureLength == 0 {
		return frame{}, io.EOF
	}
	c.n++
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file ends within it")
		}
		return frame{}, fmt.Errorf("%s: packet %d: %w", c.name, c.n, err)
	}
	link := c.link
	if len(info.AncillaryData) > 0 {
		if l, ok := info.AncillaryData[0].(layers.LinkType); ok {
			link = l
		}
	}
	if err := pfsyncprint.CheckLink(link); err != nil {
		return frame{}, fmt.Errorf("%s: packet %d: %w", c.name, c.n, err)
	}
	return frame{info.Timestamp, link, data, max(info.Length, len(data))}, nil
}

// wrap names the file once.
func (c *capture) wrap(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", c.name, err)
}
