package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
)

// parts is how a capture is divided among files.
type parts struct {
	size int64 // bytes, after which another one is begun; 0: it is one
	most int   // files, the oldest of which is overwritten; 0: all are kept
}

// name is that of the nth part, as tcpdump has it.
func (p parts) name(file string, n int) string {
	switch {
	case p.most > 0:
		return fmt.Sprintf("%s%0*d", file, len(strconv.Itoa(p.most-1)), n%p.most)
	case n > 0:
		return file + strconv.Itoa(n)
	}
	return file
}

// captureWriter writes a pcapng file, or several. Each link type gets an interface in it.
type captureWriter struct {
	file   string // as it was given
	parts  parts
	part   int    // the number of the one being written
	n      int64  // of its bytes
	name   string // of the file being written
	ifName string // that was captured on; empty if it is not known
	to     io.Writer
	closer io.Closer
	atOnce bool
	ng     *pcapgo.NgWriter // nil until the first packet
	ids    map[layers.LinkType]int
	in     *os.File // that is read, if it is a file
}

// createFile makes the file, or takes stdout for "-". It must not be the one that is read.
func createFile(name string, p parts, stdout io.Writer, ifName string, in *os.File) (*captureWriter, error) {
	w := &captureWriter{file: name, parts: p, ifName: ifName, in: in}
	if name == "-" {
		w.name, w.to, w.closer, w.ids = "standard output", stdout, io.NopCloser(nil), map[layers.LinkType]int{}
		return w, nil
	}
	return w, w.create()
}

// create makes the file of the part that is to be written.
func (w *captureWriter) create() error {
	w.name = w.parts.name(w.file, w.part)
	if w.in != nil && sameFile(w.name, w.in) {
		return fmt.Errorf("-w %s: this is the file that is read; write to another", w.name)
	}
	f, err := os.Create(w.name)
	if err != nil {
		return w.wrap(err)
	}
	w.to, w.closer, w.ng, w.ids, w.n = f, f, nil, map[layers.LinkType]int{}, 0
	return nil
}

func sameFile(name string, f *os.File) bool {
	a, err := os.Stat(name)
	b, err2 := f.Stat()
	return err == nil && err2 == nil && os.SameFile(a, b)
}

func (w *captureWriter) write(f frame) error {
	if w.parts.size > 0 && w.n >= w.parts.size {
		if err := w.next(); err != nil {
			return err
		}
	}
	link, data := pfsyncprint.Portable(f.link, f.data)
	id, err := w.id(link)
	if err != nil {
		return err
	}
	info := gopacket.CaptureInfo{
		Timestamp: f.at, CaptureLength: len(data), Length: f.length - (len(f.data) - len(data)), InterfaceIndex: id,
	}
	if err := w.ng.WritePacket(info, data); err != nil {
		return w.wrap(err)
	}
	w.n += packetBlock + int64(len(data))
	return w.flush()
}

const packetBlock = 32 // bytes of pcapng around a packet

// next goes on in another file.
func (w *captureWriter) next() error {
	if err := w.Close(); err != nil {
		return err
	}
	w.part++
	return w.create()
}

// id is the number of the interface in the file for a link type.
func (w *captureWriter) id(link layers.LinkType) (int, error) {
	if w.ng == nil {
		if err := w.begin(link); err != nil {
			return 0, err
		}
	}
	if id, ok := w.ids[link]; ok {
		return id, nil
	}
	id, err := w.ng.AddInterface(pcapgo.NgInterface{Name: w.ifName, LinkType: link})
	if err != nil {
		return 0, w.wrap(err)
	}
	w.ids[link] = id
	return id, nil
}

// begin writes what precedes the packets, the first of which has this link type.
func (w *captureWriter) begin(link layers.LinkType) error {
	section := pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "pfsyncdump"}
	ng, err := pcapgo.NewNgWriterInterface(w.to, pcapgo.NgInterface{Name: w.ifName, LinkType: link},
		pcapgo.NgWriterOptions{SectionInfo: section})
	if err != nil {
		return w.wrap(err)
	}
	w.ng, w.ids[link] = ng, 0
	return w.flush()
}

// flush lets a reader see what was written, if that is wanted.
func (w *captureWriter) flush() error {
	if w.atOnce {
		return w.wrap(w.ng.Flush())
	}
	return nil
}

// Close completes the file; one without packets is a capture file too.
func (w *captureWriter) Close() error {
	var err error
	if w.ng == nil {
		err = w.begin(layers.LinkTypeRaw)
	}
	if w.ng != nil {
		err = first(err, w.wrap(w.ng.Flush()))
	}
	return first(err, w.wrap(w.closer.Close()))
}

func (w *captureWriter) wrap(err error) error {
	if err == nil {
		return nil
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("-w %s: %w", w.name, err)
}
