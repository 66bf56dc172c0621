package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/profile"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// joins: A holds n states, and a fresh B joins.
func joins(n, reps int) scenario {
	return scenario{name: fmt.Sprintf("join with %dk states", n/1000), reps: reps, cost: patience(n) / 3,
		run: func(ctx context.Context, p *pair) error { return p.joined(ctx, n) }}
}

// patience is how long a join may take.
func patience(n int) time.Duration { return 20*time.Second + time.Duration(n)*80*time.Microsecond }

// joined has B join A with n states and measures that, and the memory of both then.
func (p *pair) joined(ctx context.Context, n int) error {
	made, err := p.a.Fill(ctx, 0, n)
	if err != nil {
		return err
	}
	if made.Refused > 0 {
		p.trial.doubt("the kernel refused %d of %d entries: %v", made.Refused, n, made.Why)
	}
	f, start := p.trial.Figures, time.Now()
	if err := p.start(ctx, p.lab.A); err != nil {
		return err
	}
	if err := p.contestant.join(ctx, p.lab.A); err != nil {
		return err
	}
	if err := p.holds(ctx, n); err != nil {
		return err
	}
	f["primary start s"] = time.Since(start).Seconds()
	if err := pause(ctx, 700*time.Millisecond); err != nil {
		return err
	}
	if err := p.start(ctx, p.lab.B); err != nil {
		return err
	}
	if err := p.profile(ctx, 5*time.Second+time.Duration(n)*10*time.Microsecond); err != nil {
		return err
	}
	before, err := p.mark()
	if err != nil {
		return err
	}
	before.backup = 0 // its start is a part of joining
	if err := p.contestant.join(ctx, p.lab.B); err != nil {
		return err
	}
	asked := time.Since(before.at)
	took, err := p.filled(ctx, 5*time.Second, patience(n))
	if err != nil {
		return err
	}
	have, err := p.b.Count()
	if err != nil {
		return err
	}
	after, err := p.mark()
	if err != nil {
		return err
	}
	wire := after.wire.Sub(before.wire)
	if have == n {
		f["join s"] = (asked + took).Seconds()
	} else {
		p.trial.doubt("B had %d of %d states after %.1f s, and for 5 s no more came", have, n, (asked + took).Seconds())
	}
	f["cpu primary s"], f["cpu backup s"] = after.primary-before.primary, after.backup
	f["wire packets/state"], f["wire bytes/state"] = float64(wire.Frames)/float64(n), float64(wire.Bytes)/float64(n)
	f["primary MiB"], f["backup MiB"] = p.memory()
	f["pair MiB"] = f["primary MiB"] + f["backup MiB"]
	if err := pause(ctx, grace); err != nil {
		return err
	}
	_, err = p.compare()
	return err
}

// holds waits until A's daemon has all states of its kernel.
func (p *pair) holds(ctx context.Context, n int) error {
	if p.contestant.holds == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	return p.contestant.holds(ctx, p.lab.A, n)
}

// memory is what the daemons hold, in MiB.
func (p *pair) memory() (primary, backup float64) {
	const mebi = 1 << 20
	return memory(p.lab.A.Pid()) / mebi, memory(p.lab.B.Pid()) / mebi
}

// scalePrefix begins the names of the scenarios whose growth is shown.
const scalePrefix = "scale "

// large: a join, and then what it costs to hold so many states: doing nothing, mending a
// thousand that B has lost, showing them.
func large(n, reps int) scenario {
	return scenario{name: fmt.Sprintf(scalePrefix+"%dk states", n/1000), reps: reps, cost: patience(n) + 30*time.Second,
		run: func(ctx context.Context, p *pair) error {
			if err := p.joined(ctx, n); err != nil {
				return err
			}
			if err := p.idle(ctx); err != nil {
				return err
			}
			if err := p.mend(ctx, 1000); err != nil {
				return err
			}
			if p.contestant.name == "pfsyncd" {
				return p.shows(ctx)
			}
			return nil
		}}
}

// idle measures the cost of nothing.
func (p *pair) idle(ctx context.Context) error {
	const length = 4 * time.Second
	before, err := p.mark()
	if err != nil {
		return err
	}
	if err := pause(ctx, length); err != nil {
		return err
	}
	after, err := p.mark()
	if err != nil {
		return err
	}
	p.trial.Figures["idle cpu ms/s"] = 1000 * (after.primary + after.backup - before.primary - before.backup) / length.Seconds()
	p.trial.Figures["idle wire bytes/s"] = float64(after.wire.Sub(before.wire).Bytes) / length.Seconds()
	primary, backup := p.memory() // again, when what the join needed can be gone
	p.trial.Figures["pair MiB at rest"] = primary + backup
	return nil
}

// mend takes entries from B's table and measures how it gets them back.
func (p *pair) mend(ctx context.Context, n int) error {
	want, err := p.a.Count()
	if err != nil {
		return err
	}
	before, err := p.mark()
	if err != nil {
		return err
	}
	if err := p.b.Remove(0, n); err != nil {
		return err
	}
	took, err := p.filled(ctx, 8*time.Second, 30*time.Second)
	if err != nil {
		return err
	}
	have, err := p.b.Count()
	if err != nil {
		return err
	}
	if have != want {
		p.trial.note("%d of %d entries that B had lost did not come back", want-have, n)
		return nil
	}
	after, err := p.mark()
	if err != nil {
		return err
	}
	f := p.trial.Figures
	f["mend 1000 s"] = took.Seconds()
	f["mend 1000 cpu s"] = after.primary + after.backup - before.primary - before.backup
	f["mend 1000 wire KiB"] = float64(after.wire.Sub(before.wire).Bytes) / 1024
	return nil
}

// shows measures pfctl -s states, and asks what the collectors of garbage have done until then.
func (p *pair) shows(ctx context.Context) error {
	f := p.trial.Figures
	held := memory(p.lab.B.Pid())
	cmd := exec.CommandContext(ctx, p.lab.B.Program("pfctl"), "-s", "states")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := p.lab.B.Start(cmd); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, out)
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("pfctl -s states: %w", err)
	}
	f["pfctl states s"], f["pfctl states MiB shown"] = time.Since(start).Seconds(), float64(n)/(1<<20)
	f["pfctl states MiB held"] = max(0, memory(p.lab.B.Pid())-held) / (1 << 20)
	for name, w := range map[string]*lab.Firewall{"primary": p.lab.A, "backup": p.lab.B} {
		b, err := ask(ctx, w, "/debug/runtime")
		if err != nil {
			return err
		}
		var r profile.Runtime
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("%s: /debug/runtime: %w", w.Name, err)
		}
		f["gc p99 ms "+name], f["gc max ms "+name] = float64(r.PauseP99.Nanoseconds())/1e6, float64(r.PauseMax.Nanoseconds())/1e6
		f["gc times "+name], f["gc cpu s "+name] = float64(r.Collections), r.CollectorS
	}
	return nil
}
