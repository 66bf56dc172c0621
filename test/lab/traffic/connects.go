package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// Connects is what became of connections that were opened one after the other, each for
// one message and its answer.
type Connects struct {
	Opened   []time.Duration // how long each took to be connected, in ascending order
	Whole    []time.Duration // and until its answer was there
	Lost     int             // that were not connected, or had no answer, within LostAfter
	Error    error           // of one that was lost
	SYNs     int             // that the client sent again
	Segments int             // that it sent again, SYNs among them
	Stalled  int             // that took longer than StallAfter in all
	Took     time.Duration
}

// What counts as lost, and as stalled: TCP repeats a SYN after a second, data after 200 ms.
const (
	LostAfter  = 3 * time.Second
	StallAfter = 190 * time.Millisecond
)

// Connects opens n connections of a TCP kind, from so many places at a time.
func (t *Traffic) Connects(kind Kind, n, workers int) (Connects, error) {
	to := map[Kind]string{
		TCP:     net.JoinHostPort(lab.ServerAddr, strconv.Itoa(echoPort)),
		TCP6:    net.JoinHostPort(lab.ServerAddr6, strconv.Itoa(echoPort)),
		Service: net.JoinHostPort(lab.SharedOutside, strconv.Itoa(lab.ServicePort)),
	}[kind]
	from := t.client
	if kind == Service {
		from = t.server
	}
	before, err := resentBy(from)
	if err != nil {
		return Connects{}, err
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		c    Connects
		left = n
	)
	next := func() bool {
		mu.Lock()
		defer mu.Unlock()
		left--
		return left >= 0
	}
	began := time.Now()
	failed := make([]error, workers)
	for i := range workers {
		wg.Go(func() {
			failed[i] = from.Do(func() error { // the sockets are made on this thread
				for next() {
					opened, whole, err := connectOnce(to)
					mu.Lock()
					switch {
					case err != nil:
						c.Lost++
						c.Error = err
					default:
						c.Opened, c.Whole = append(c.Opened, opened), append(c.Whole, whole)
						if whole > StallAfter {
							c.Stalled++
						}
					}
					mu.Unlock()
				}
				return nil
			})
		})
	}
	wg.Wait()
	c.Took = time.Since(began)
	slices.Sort(c.Opened)
	slices.Sort(c.Whole)
	for _, err := range failed {
		if err != nil {
			return c, err
		}
	}
	after, err := resentBy(from)
	c.SYNs, c.Segments = after.syns-before.syns, after.segments-before.segments
	return c, err
}

func connectOnce(to string) (opened, whole time.Duration, err error) {
	begin := time.Now()
	d := net.Dialer{Deadline: begin.Add(LostAfter), KeepAlive: -1}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	opened = time.Since(begin)
	sent, got := make([]byte, smallLen), make([]byte, smallLen)
	fill(sent, 0, 0)
	if err := c.SetDeadline(begin.Add(LostAfter)); err != nil {
		return 0, 0, err
	}
	if _, err := c.Write(sent); err != nil {
		return 0, 0, err
	}
	if _, err := io.ReadFull(c, got); err != nil {
		return 0, 0, fmt.Errorf("no answer: %w", err)
	}
	if !bytes.Equal(sent, got) {
		return 0, 0, fmt.Errorf("another answer than sent")
	}
	return opened, time.Since(begin), nil
}

// Quantile is that of a sorted list, q from 0 to 1; 0 of an empty one.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// String is a line for a log.
func (c Connects) String() string {
	n := len(c.Opened) + c.Lost
	return fmt.Sprintf("%d connections in %v (%.0f/s): %d lost, %d stalled, %d SYNs and %d segments again; connected in %v median, %v p99; answered in %v median, %v p99",
		n, c.Took.Round(time.Millisecond), float64(n)/c.Took.Seconds(), c.Lost, c.Stalled, c.SYNs, c.Segments,
		Quantile(c.Opened, 0.5).Round(time.Microsecond), Quantile(c.Opened, 0.99).Round(time.Microsecond),
		Quantile(c.Whole, 0.5).Round(time.Microsecond), Quantile(c.Whole, 0.99).Round(time.Microsecond))
}

// resent counts what a host has sent again: all segments, and SYNs (RetransSegs and
// TcpExtTCPSynRetrans).
type resent struct{ segments, syns int }

func resentBy(ns *lab.NS) (r resent, err error) {
	return r, ns.Do(func() error {
		return errors.Join(
			readCounter("/proc/thread-self/net/snmp", "RetransSegs", &r.segments),
			readCounter("/proc/thread-self/net/netstat", "TCPSynRetrans", &r.syns))
	})
}

// readCounter reads a file of lines of names, each followed by one of values.
func readCounter(file, name string, n *int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if at := slices.Index(names, name); at >= 0 && at < len(values) {
			*n, err = strconv.Atoi(values[at])
			return err
		}
	}
	return fmt.Errorf("%s: no %s", file, name)
}
