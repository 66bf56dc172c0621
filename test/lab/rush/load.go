package rush

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Load is connections that begin at a steady rate.
type Load struct {
	Rate   int           // a second
	Length time.Duration // for which new ones begin
	First  int           // number of the first one
}

// Made is what became of a Load.
type Made struct {
	Begun   int
	Rate    float64 // at which they really began; below Load's when the generator was too slow
	Refused uint64  // entries or packets that the kernel did not take
	Why     error   // the last of them
}

// Saturated tells whether what the generator did is not what was asked of it.
func (m Made) Saturated(l Load) bool { return m.Rate < 0.9*float64(l.Rate) || m.Refused > 0 }

const step = time.Millisecond

// play calls emit for each stage of each connection when it is due, in steps, and flush
// behind each step. stages are their times after the connection's beginning.
func (l Load) play(ctx context.Context, stages []time.Duration, emit func(stage, n int) error, flush func() error) (m Made, err error) {
	steps := int(l.Length / step)
	last := steps
	begun := func(k int) int { return int(int64(k) * int64(l.Rate) / int64(time.Second/step)) }
	for _, s := range stages {
		last = max(last, steps+int(s/step))
	}
	m.Begun = begun(steps)
	start := time.Now()
	for k := 0; k <= last; k++ {
		if err := ctx.Err(); err != nil {
			return m, context.Cause(ctx)
		}
		const least = 100 * time.Microsecond // a sleep takes as long
		if d := time.Until(start.Add(time.Duration(k) * step)); d > least {
			time.Sleep(d)
		}
		for stage, after := range stages {
			k := k - int(after/step)
			if k < 0 || k >= steps {
				continue
			}
			for n := begun(k); n < begun(k+1); n++ {
				if err := emit(stage, l.First+n); err != nil {
					return m, err
				}
			}
		}
		if err := flush(); err != nil {
			return m, err
		}
		if k == steps {
			m.Rate = float64(m.Begun) / time.Since(start).Seconds()
		}
	}
	return m, nil
}

// New has established TCP connections appear in the table, and stay.
func (t *Table) New(ctx context.Context, l Load) (Made, error) {
	return t.play(ctx, l, []time.Duration{0}, func(_, n int) error { return t.Create(Established(n)) })
}

// lifeStages are the moments of a connection in Lives.
var lifeStages = []time.Duration{
	0, 5 * time.Millisecond, 10 * time.Millisecond, 500 * time.Millisecond, 510 * time.Millisecond, time.Second,
}

// Lives has TCP connections begin, be answered, established, closed and, after a second,
// removed. Each fifth stays established.
func (t *Table) Lives(ctx context.Context, l Load) (Made, error) {
	return t.play(ctx, l, lifeStages, func(stage, n int) error {
		e := Entry{Flow: TCP(n), status: seenReply | assured, timeout: 120}
		if stage >= 3 && n%5 == 0 {
			return nil
		}
		switch stage {
		case 0:
			e.status, e.tcp = 0, synSent
			return t.Create(e)
		case 1:
			e.status, e.tcp, e.timeout = seenReply, synRecv, 60
		case 2:
			e.tcp, e.timeout = established, 3600
		case 3:
			e.tcp = finWait
		case 4:
			e.tcp = timeWait
		default:
			return t.Delete(e.Flow)
		}
		return t.Update(e)
	})
}

func (t *Table) play(ctx context.Context, l Load, stages []time.Duration, emit func(stage, n int) error) (Made, error) {
	t.Refused()
	m, err := l.play(ctx, stages, emit, t.Send)
	m.Refused, m.Why = t.Refused()
	return m, err
}

// Fill makes the connections from first to last, exclusively, as fast as the kernel takes them.
func (t *Table) Fill(ctx context.Context, first, last int) (Made, error) {
	t.Refused()
	m := Made{Begun: last - first}
	start := time.Now()
	for n := first; n < last; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return m, context.Cause(ctx)
		}
		if err := t.Create(Established(n)); err != nil {
			return m, err
		}
	}
	err := t.Send()
	m.Rate = float64(m.Begun) / time.Since(start).Seconds()
	m.Refused, m.Why = t.Refused()
	return m, err
}

// Remove removes the connections from first to last, exclusively.
func (t *Table) Remove(first, last int) error {
	t.Refused()
	for n := first; n < last; n++ {
		if err := t.Delete(TCP(n)); err != nil {
			return err
		}
	}
	if err := t.Send(); err != nil {
		return err
	}
	_, why := t.Refused()
	return why
}

// Listen reads the table's events until ctx ends, and only counts them: messages, and
// how often the kernel had to drop some.
func (t *Table) Listen(ctx context.Context) (events, overruns int, err error) {
	for group := 1; group <= 3; group++ { // new, update, destroy
		if err := unix.SetsockoptInt(t.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return 0, 0, err
		}
	}
	patience := unix.NsecToTimeval((100 * time.Millisecond).Nanoseconds())
	if err := errors.Join(
		unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
	); err != nil {
		return 0, 0, err
	}
	for ctx.Err() == nil {
		_, _, err := unix.Recvfrom(t.fd, t.in, 0)
		switch {
		case err == nil:
			events++
		case errors.Is(err, unix.ENOBUFS):
			overruns++
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return events, overruns, err
		}
	}
	return events, overruns, nil
}
