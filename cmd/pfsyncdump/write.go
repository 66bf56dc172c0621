package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
)

// captureWriter writes a pcapng file. Each link type gets an interface in it.
type captureWriter struct {
	name   string // of the file
	ifName string // that was captured on; empty if it is not known
	to     io.Writer
	closer io.Closer
	atOnce bool
	ng     *pcapgo.NgWriter // nil until the first packet
	ids    map[layers.LinkType]int
}

// createFile makes the file, or takes stdout for "-". It must not be the one that is read.
func createFile(name string, stdout io.Writer, ifName string, in *os.File) (*captureWriter, error) {
	w := &captureWriter{name: name, ifName: ifName, ids: map[layers.LinkType]int{}}
	if name == "-" {
		w.name, w.to, w.closer = "standard output", stdout, io.NopCloser(nil)
		return w, nil
	}
	if in != nil && sameFile(name, in) {
		return nil, fmt.Errorf("-w %s: this is the file that is read; write to another", name)
	}
	f, err := os.Create(name)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("-w %s: %w", name, err)
	}
	w.to, w.closer = f, f
	return w, nil
}

func sameFile(name string, f *os.File) bool {
	a, err := os.Stat(name)
	b, err2 := f.Stat()
	return err == nil && err2 == nil && os.SameFile(a, b)
}

func (w *captureWriter) write(f frame) error {
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
	return w.flush()
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
