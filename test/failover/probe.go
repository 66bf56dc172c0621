package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

const (
	probePort  = 7007
	probeEvery = 5 * time.Millisecond
)

// probe asks the shared address all the time who has it.
type probe struct {
	conns   []net.PacketConn
	running sync.WaitGroup
	ended   chan struct{}

	mu      sync.Mutex
	answers []answer
}

type answer struct {
	who  string
	when time.Time
}

// startProbe lets both firewalls answer with their letters, and the client ask.
func startProbe(l *lab.Lab) (*probe, error) {
	p := &probe{ended: make(chan struct{})}
	for _, f := range []struct {
		ns  *lab.NS
		who string
	}{{l.A.NS, "A"}, {l.B.NS, "B"}} {
		c, err := p.listen(f.ns, probePort)
		if err != nil {
			return nil, err
		}
		p.running.Go(func() {
			var b [16]byte
			for {
				_, from, err := c.ReadFrom(b[:])
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					c.WriteTo([]byte(f.who), from)
				}
			}
		})
	}
	c, err := p.listen(l.Client, 0)
	if err != nil {
		return nil, err
	}
	p.running.Go(func() { p.ask(c) })
	p.running.Go(func() { p.hear(c) })
	return p, nil
}

func (p *probe) listen(ns *lab.NS, port int) (c net.PacketConn, err error) {
	err = ns.Do(func() error {
		c, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err == nil {
		p.conns = append(p.conns, c)
	}
	return c, err
}

func (p *probe) ask(c net.PacketConn) {
	to := &net.UDPAddr{IP: net.ParseIP(lab.SharedInside), Port: probePort}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-tick.C:
			c.WriteTo([]byte("?"), to) // nobody there: the next one may be
		}
	}
}

func (p *probe) hear(c net.PacketConn) {
	var b [16]byte
	for {
		n, _, err := c.ReadFrom(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.mu.Lock()
		p.answers = append(p.answers, answer{string(b[:n]), time.Now()})
		p.mu.Unlock()
	}
}

// last is who answered last.
func (p *probe) last() (who string, when time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) == 0 {
		return "", when
	}
	a := p.answers[len(p.answers)-1]
	return a.who, a.when
}

// only is an error unless nobody but who has answered for some time.
func (p *probe) only(who string, since time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.answers) - 1; i >= 0; i-- {
		switch a := p.answers[i]; {
		case a.who != who:
			return fmt.Errorf("%s answered %v ago", a.who, time.Since(a.when))
		case time.Since(a.when) > since:
			return nil
		}
	}
	return errors.New("not enough answers yet")
}

// count is how often who has answered.
func (p *probe) count(who string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.answers {
		if a.who == who {
			n++
		}
	}
	return n
}

// firstOf waits for the first answer of who since then.
func (p *probe) firstOf(ctx context.Context, who string, since time.Time) (took time.Duration, err error) {
	err = lab.Eventually(ctx, "an answer of "+who, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, a := range p.answers {
			if a.who == who && a.when.After(since) {
				took = a.when.Sub(since)
				return nil
			}
		}
		return errors.New("none yet")
	})
	return took, err
}

func (p *probe) stop() {
	close(p.ended)
	for _, c := range p.conns {
		c.Close()
	}
	p.running.Wait()
}
