package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// lossy drops 2 of 100 packets that come by the sync link, before anybody sees them.
const lossy = `table inet lossy {
	chain prerouting {
		type filter hook prerouting priority -350
		iifname "sis2" numgen random mod 100 < 2 drop
	}
}
`

// loss: lives, while packets vanish on the sync link, both ways.
func loss(rate int, length time.Duration, reps int) scenario {
	l := rush.Load{Rate: rate, Length: length}
	return scenario{name: fmt.Sprintf("2%% loss at %d/s", rate), reps: reps, cost: length + 22*time.Second,
		run: func(ctx context.Context, p *pair) error {
			file := filepath.Join(p.lab.Dir, "lossy.nft")
			if err := os.WriteFile(file, []byte(lossy), 0o600); err != nil {
				return err
			}
			for _, f := range []*lab.Firewall{p.lab.A, p.lab.B} {
				if _, err := f.Run(ctx, "nft", "-f", file); err != nil {
					return err
				}
				defer f.Run(context.WithoutCancel(ctx), "nft", "delete", "table", "inet", "lossy")
			}
			return p.steady(ctx, l, func(ctx context.Context, l rush.Load) (rush.Made, error) {
				m, err := p.a.Lives(ctx, l)
				if err != nil {
					return m, err
				}
				return m, p.still(ctx, 4*time.Second, 10*time.Second)
			}, 100*time.Millisecond)
		}}
}

// cut: lives for five seconds, of which the sync link is down for two.
func cut(rate, reps int) scenario {
	l := rush.Load{Rate: rate, Length: 5 * time.Second}
	return scenario{name: fmt.Sprintf("link down 2 s at %d/s", rate), reps: reps, cost: 27 * time.Second,
		run: func(ctx context.Context, p *pair) error {
			return p.steady(ctx, l, func(ctx context.Context, l rush.Load) (rush.Made, error) {
				failed := make(chan error, 1)
				go func() { failed <- p.unplugged(ctx) }()
				m, err := p.a.Lives(ctx, l)
				if failed := <-failed; err == nil {
					err = failed
				}
				if err != nil {
					return m, err
				}
				return m, p.still(ctx, 5*time.Second, 12*time.Second)
			}, 100*time.Millisecond)
		}}
}

func (p *pair) unplugged(ctx context.Context) error {
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	if _, err := p.lab.A.Run(ctx, "ip", "link", "set", lab.Sync, "down"); err != nil {
		return err
	}
	err := pause(ctx, 2*time.Second)
	if _, failed := p.lab.A.Run(context.WithoutCancel(ctx), "ip", "link", "set", lab.Sync, "up"); err == nil {
		err = failed
	}
	return err
}

// rejoins: B's daemon is away while half of A's states end and as many begin.
func rejoins(n, reps int) scenario {
	return scenario{name: fmt.Sprintf("rejoin with %dk states", n/1000), reps: reps, cost: 40 * time.Second,
		run: func(ctx context.Context, p *pair) error {
			if err := p.both(ctx); err != nil {
				return err
			}
			if _, err := p.a.Fill(ctx, 0, n); err != nil {
				return err
			}
			if err := p.still(ctx, time.Second, 10*time.Second); err != nil {
				return err
			}
			if err := p.away(ctx); err != nil {
				return err
			}
			if err := p.a.Remove(0, n/2); err != nil {
				return err
			}
			if _, err := p.a.Fill(ctx, n, n+n/2); err != nil {
				return err
			}
			if err := p.start(ctx, p.lab.B); err != nil {
				return err
			}
			if err := p.contestant.join(ctx, p.lab.B); err != nil {
				return err
			}
			if err := p.still(ctx, 3*time.Second, 15*time.Second); err != nil {
				return err
			}
			_, err := p.compare()
			return err
		}}
}
