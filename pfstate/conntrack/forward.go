package conntrack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// forwardSources are the kernel's counters of forwarded packets, as each thread
// sees those of its own namespace. Reading one takes 12 and 17 µs with two
// processors, however many interfaces there are; /proc/net/dev takes 6 for four of
// them, but counts the sync link as well.
var forwardSources = [...]struct {
	path string
	read func(text []byte) (uint64, bool)
}{
	{"/proc/thread-self/net/snmp", ip4Forwarded},
	{"/proc/thread-self/net/snmp6", ip6Forwarded},
}

// forwarded knows how many packets the namespace has forwarded. Its files go on
// telling of that namespace, whoever reads them.
type forwarded struct {
	files [len(forwardSources)]*os.File // nil: no such family
	last  [len(forwardSources)]uint64
	text  [4096]byte // the counters stand well in front
}

// open must run on a thread that is in the namespace. The files are the caller's
// to close, also after an error.
func (f *forwarded) open() error {
	for i, source := range forwardSources {
		file, err := os.Open(source.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		f.files[i] = file
	}
	_, err := f.moved()
	return err
}

// moved reports whether packets were forwarded since it was last asked.
func (f *forwarded) moved() (bool, error) {
	moved := false
	for i, file := range f.files {
		if file == nil {
			continue
		}
		n, err := file.ReadAt(f.text[:], 0)
		if err != nil && err != io.EOF {
			return moved, err
		}
		total, ok := forwardSources[i].read(f.text[:n])
		if !ok {
			return moved, fmt.Errorf("%s: no counter of forwarded packets", forwardSources[i].path)
		}
		moved = moved || total != f.last[i]
		f.last[i] = total
	}
	return moved, nil
}

func (f *forwarded) close() error {
	var err error
	for _, file := range f.files {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	return err
}

// ip4Forwarded finds the counter in the first table of net/snmp: a line of names,
// and a line of values.
func ip4Forwarded(text []byte) (uint64, bool) {
	names, rest, _ := bytes.Cut(text, []byte("\n"))
	values, _, whole := bytes.Cut(rest, []byte("\n"))
	if !whole || !bytes.HasPrefix(names, []byte("Ip: ")) || !bytes.HasPrefix(values, []byte("Ip: ")) {
		return 0, false
	}
	for len(names) > 0 && len(values) > 0 {
		var name, value []byte
		name, names, _ = bytes.Cut(names, []byte(" "))
		value, values, _ = bytes.Cut(values, []byte(" "))
		if string(name) == "ForwDatagrams" {
			return decimal(value)
		}
	}
	return 0, false
}

// ip6Forwarded finds the counter in net/snmp6: a name, blanks and a value on each line.
func ip6Forwarded(text []byte) (uint64, bool) {
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if value, found := bytes.CutPrefix(line, []byte("Ip6OutForwDatagrams")); found && whole {
			return decimal(bytes.TrimLeft(value, " \t"))
		}
		text = rest
	}
	return 0, false
}

func decimal(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(b) > 0
}

// watchForwarding says now and then that this host carries traffic, while it does.
// Without the counters it says so once, and the table does without hints.
func (t *Table) watchForwarding(ctx context.Context) error {
	every := time.NewTicker(pfstate.ForwardingEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		moved, err := t.forwarded.moved()
		if err != nil {
			t.log.Warn("cannot tell whether packets are forwarded", "err", err)
			<-ctx.Done()
			return ctx.Err()
		}
		if !moved {
			continue
		}
		t.counts.add(hints, 1)
		if !t.say(ctx, pfstate.Change{Kind: pfstate.Forwarding}) {
			return ctx.Err()
		}
	}
}
