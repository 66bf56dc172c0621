package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Churn is flows that come and go at a steady rate: TCP that is closed, aborted or
// lives for seconds, UDP, echo requests; translated at the source, the
// destination or, over IPv6, not at all. Every answer is checked.
type Churn struct {
	t      *Traffic
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	report ChurnReport
}

// ChurnReport counts the flows of a Churn.
type ChurnReport struct {
	Begun, Ended uint64
	Failed       uint64 // no connection, no answer, a wrong byte, a reset
	Example      error  // the first failure
}

// life is one kind of flow in a Churn.
type life struct {
	share  int // of a hundred
	run    func(c *Churn, r *rand.Rand) error
	server bool // begun by the server
}

// lives are the kinds; their shares make a hundred.
var lives = [...]life{
	{share: 40, run: func(c *Churn, r *rand.Rand) error { return c.tcp(r, lab.ServerAddr, echoPort, 0, false) }},
	{share: 10, run: func(c *Churn, r *rand.Rand) error { return c.tcp(r, lab.ServerAddr, echoPort, 0, true) }},
	{share: 15, run: func(c *Churn, r *rand.Rand) error { return c.tcp(r, lab.ServerAddr, echoPort, someSeconds(r), false) }},
	{share: 5, run: func(c *Churn, r *rand.Rand) error { return c.tcp(r, lab.ServerAddr6, echoPort, 0, false) }},
	{share: 5, run: func(c *Churn, r *rand.Rand) error {
		return c.tcp(r, lab.SharedOutside, lab.ServicePort, someSeconds(r), false)
	}, server: true},
	{share: 12, run: func(c *Churn, r *rand.Rand) error { return c.udp(r, lab.ServerAddr, 0) }},
	{share: 5, run: func(c *Churn, r *rand.Rand) error { return c.udp(r, lab.ServerAddr, someSeconds(r)) }},
	{share: 3, run: func(c *Churn, r *rand.Rand) error { return c.udp(r, lab.ServerAddr6, 0) }},
	{share: 5, run: (*Churn).echo},
}

func someSeconds(r *rand.Rand) time.Duration {
	return time.Second + time.Duration(r.Int64N(int64(7*time.Second)))
}

// StartChurn starts perSecond flows a second, in an order that seed decides.
func (t *Traffic) StartChurn(perSecond int, seed uint64) (*Churn, error) {
	for _, ns := range []*lab.NS{t.client, t.server} {
		err := errors.Join( // a minute of closed connections must not use up the ports
			ns.Sysctl("net/ipv4/ip_local_port_range", "10000 65535"),
			ns.Sysctl("net/ipv4/tcp_tw_reuse", "1"),
		)
		if err != nil {
			return nil, fmt.Errorf("churn: %w", err)
		}
	}
	c := &Churn{t: t}
	c.ctx, c.cancel = context.WithCancel(t.ctx)
	// A connection that hangs holds up its starter only.
	const starters = 4
	for i := range starters {
		c.wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			c.start(t.client, float64(perSecond)/starters, r, func(l life) bool { return !l.server })
		})
	}
	c.wg.Go(func() {
		r := rand.New(rand.NewPCG(seed, starters))
		c.start(t.server, float64(perSecond), r, func(l life) bool { return l.server })
	})
	return c, nil
}

// Report is how it goes.
func (c *Churn) Report() ChurnReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}

// Stop ends the flows that live, and waits for them.
func (c *Churn) Stop() ChurnReport {
	c.cancel()
	c.wg.Wait()
	return c.Report()
}

// start starts, from ns, the due share of the flows that are wanted from there.
func (c *Churn) start(ns *lab.NS, perSecond float64, r *rand.Rand, wanted func(life) bool) {
	const tick = 10 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	due, last := 0.0, time.Now()
	err := ns.Do(func() error {
		for {
			select {
			case now := <-ticker.C:
				due += perSecond * now.Sub(last).Seconds()
				last = now
			case <-c.ctx.Done():
				return nil
			}
			due = min(due, 1+perSecond*10*tick.Seconds()) // what was missed is not made up for at once
			for ; due >= 1; due-- {
				if l := pick(r); wanted(l) {
					c.begin(l, r)
				}
			}
		}
	})
	if err != nil {
		c.note(func(p *ChurnReport) { p.fail(err) })
	}
}

func pick(r *rand.Rand) life {
	n := r.IntN(100)
	for _, l := range lives {
		if n -= l.share; n < 0 {
			return l
		}
	}
	return lives[0]
}

func (c *Churn) begin(l life, r *rand.Rand) {
	c.note(func(p *ChurnReport) { p.Begun++ })
	if err := l.run(c, r); err != nil {
		c.ended(err)
	}
}

// goOn runs the rest of a flow, whose socket s is closed behind it.
func (c *Churn) goOn(s io.Closer, rest func() error) {
	c.t.keep(s)
	c.wg.Go(func() {
		err := rest()
		c.t.release(s)
		c.ended(err)
	})
}

func (c *Churn) ended(err error) {
	c.note(func(p *ChurnReport) {
		p.Ended++
		if err != nil && c.ctx.Err() == nil {
			p.fail(err)
		}
	})
}

func (c *Churn) note(f func(*ChurnReport)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.report)
}

func (p *ChurnReport) fail(err error) {
	p.Failed++
	if p.Example == nil {
		p.Example = err
	}
}

// tcp is one connection of the given age, that ends by a reset or properly.
func (c *Churn) tcp(r *rand.Rand, addr string, port int, age time.Duration, reset bool) error {
	d := net.Dialer{Timeout: connectIn, KeepAlive: -1}
	conn, err := d.DialContext(c.ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	if reset {
		conn.(*net.TCPConn).SetLinger(0)
	}
	id := r.Uint32()
	c.goOn(conn, func() error {
		return c.converse(conn, id, age, func(got []byte) error {
			_, err := io.ReadFull(conn, got)
			return err
		})
	})
	return nil
}

func (c *Churn) udp(r *rand.Rand, addr string, age time.Duration) error {
	d := net.Dialer{}
	conn, err := d.DialContext(c.ctx, "udp", net.JoinHostPort(addr, strconv.Itoa(echoPort)))
	if err != nil {
		return err
	}
	id := r.Uint32()
	c.goOn(conn, func() error {
		return c.converse(conn, id, age, func(got []byte) error {
			_, err := conn.Read(got)
			return err
		})
	})
	return nil
}

// converse asks and checks the answer, once or each half second.
func (c *Churn) converse(conn net.Conn, id uint32, age time.Duration, read func([]byte) error) error {
	const every = 500 * time.Millisecond
	sent, got := make([]byte, smallLen), make([]byte, smallLen)
	start := time.Now()
	for n := uint64(0); ; n++ {
		fill(sent, id, n)
		conn.SetDeadline(time.Now().Add(connectIn))
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		if err := read(got); err != nil {
			return err
		}
		if err := check(got, sent, id, n); err != nil {
			return err
		}
		if time.Since(start) >= age || !c.pause(every) {
			return nil
		}
	}
}

func (c *Churn) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// echo is an echo request of an id of its own; that it is answered is the kernel's.
func (c *Churn) echo(r *rand.Rand) error {
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer conn.Close()
	const own = 0x8000 // ids from here on; those of Traffic's own flows are lower
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: own | r.IntN(own), Data: make([]byte, 56)}}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(b, &net.IPAddr{IP: net.ParseIP(lab.ServerAddr)}); err != nil {
		return err
	}
	c.ended(nil)
	return nil
}
