// Package traffic makes the flows that must live through the death of a firewall, and
// measures how they did: numbered and checked data over TCP, UDP and ICMP echo,
// between a lab's client and server.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// Kind is a kind of flow.
type Kind int

// The kinds of flows. TCP, UDP and ICMP go from the client through source NAT.
const (
	TCP     Kind = iota // the client asks, the server echoes; every 20th moves bulk data
	TCP6                // the same over IPv6, routed
	Service             // TCP from the server to the service behind the shared outside address
	UDP                 // the client subscribes once, then only the server sends
	ICMP                // echo requests with an id of their own
)

// Kinds returns all kinds in their order.
func Kinds() []Kind { return []Kind{TCP, TCP6, Service, UDP, ICMP} }

// String returns the kind's name in reports.
func (k Kind) String() string {
	return [...]string{"TCP", "TCP over IPv6", "TCP to the DNATed service", "UDP stream", "ICMP echo"}[k]
}

// The flows' pace: slow enough that hundreds cost little, fast enough that every one
// has data under way when a firewall dies.
const (
	interval     = 100 * time.Millisecond
	bulkInterval = 250 * time.Millisecond
	connectIn    = 5 * time.Second
)

const (
	echoPort   = 7
	streamPort = 5004
)

// Traffic is the running flows of a lab. Add, Flowing and Stop are for one goroutine.
type Traffic struct {
	client, server *lab.NS
	ctx            context.Context // of the flows; ended by Stop
	stop           context.CancelFunc
	wg             sync.WaitGroup
	began          time.Time
	flows          []*flow
	pings          *pings // nil before the first ICMP flow

	mu      sync.Mutex
	closers map[io.Closer]struct{} // of open sockets
}

// New starts the servers of all kinds and no flow yet. Stop or Close ends it.
func New(l *lab.Lab) (*Traffic, error) {
	t := &Traffic{client: l.Client, server: l.Server, began: time.Now(), closers: map[io.Closer]struct{}{}}
	t.ctx, t.stop = context.WithCancel(context.Background())
	err := errors.Join(
		t.server.Do(func() error { return errors.Join(t.serveEcho(echoPort), t.serveDatagrams(), t.serveStreams()) }),
		t.client.Do(func() error { return t.serveEcho(lab.InsidePort) }),
	)
	if err != nil {
		t.close()
		return nil, fmt.Errorf("traffic: %w", err)
	}
	return t, nil
}

// Add starts n more flows of a kind; they are connected when it returns.
func (t *Traffic) Add(kind Kind, n int) error {
	start := map[Kind]func(*flow) error{
		TCP:     func(f *flow) error { return t.startTCP(f, lab.ServerAddr, echoPort) },
		TCP6:    func(f *flow) error { return t.startTCP(f, lab.ServerAddr6, echoPort) },
		Service: func(f *flow) error { return t.startTCP(f, lab.SharedOutside, lab.ServicePort) },
		UDP:     t.startUDP,
		ICMP:    t.startICMP,
	}[kind]
	from := t.client
	if kind == Service {
		from = t.server
	}
	return from.Do(func() error {
		for range n {
			f := &flow{kind: kind, id: uint32(len(t.flows)), size: smallLen, every: interval}
			if f.id%bulkEvery == bulkEvery-1 {
				f.size, f.every = bulkLen, bulkInterval
			}
			if err := start(f); err != nil {
				return fmt.Errorf("%v %d: %w", kind, f.id, err)
			}
			t.flows = append(t.flows, f)
		}
		return nil
	})
}

// AddBulk starts n more TCP flows of messages of size bytes, at most MaxMessage, one
// after the other without a pause.
func (t *Traffic) AddBulk(n, size int) error {
	return t.client.Do(func() error {
		for range n {
			f := &flow{kind: TCP, id: uint32(len(t.flows)), size: size}
			if err := t.startTCP(f, lab.ServerAddr, echoPort); err != nil {
				return fmt.Errorf("bulk %d: %w", f.id, err)
			}
			t.flows = append(t.flows, f)
		}
		return nil
	})
}

// Flowing returns nil once every flow has moved data after since, and until then an
// error that names one that has not.
func (t *Traffic) Flowing(since time.Time) error {
	silent := 0
	var example *flow
	for _, f := range t.flows {
		ok, err := f.flowing(since)
		if err != nil {
			return fmt.Errorf("%v %d: %w", f.kind, f.id, err)
		}
		if !ok {
			silent++
			example = f
		}
	}
	if silent > 0 {
		return fmt.Errorf("%d of %d flows have moved no data yet, like %v %d", silent, len(t.flows), example.kind, example.id)
	}
	return nil
}

// Stall is the longest silence of any flow that reaches beyond since, until now.
func (t *Traffic) Stall(since time.Time) (longest time.Duration, of string) {
	now := time.Now()
	for _, f := range t.flows {
		if l := f.longest(since, now).Length(); l > longest {
			longest, of = l, fmt.Sprintf("%v %d", f.kind, f.id)
		}
	}
	return longest, of
}

// Close ends all flows without a report.
func (t *Traffic) Close() { t.close() }

// keep notes a socket for close; when that has been already, it is closed at once.
func (t *Traffic) keep(c io.Closer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		c.Close()
		return
	}
	t.closers[c] = struct{}{}
}

// release closes a socket that was kept.
func (t *Traffic) release(c io.Closer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.closers, c)
	c.Close()
}

func (t *Traffic) close() {
	t.mu.Lock()
	t.stop()
	for c := range t.closers {
		c.Close()
	}
	clear(t.closers)
	t.mu.Unlock()
	t.wg.Wait()
}

// pause waits for d; it is false when the flows have been stopped.
func (t *Traffic) pause(d time.Duration) bool {
	if d == 0 {
		return t.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// failUnlessStopped notes an error that is not Stop's doing.
func (t *Traffic) failUnlessStopped(f *flow, err error) {
	if t.ctx.Err() == nil {
		f.fail(err)
	}
}
