package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// underLoad keeps all cores busy, twice over, and watches whether B ever answers.
func underLoad(ctx context.Context, c config, all []contestant) (err error) {
	for _, k := range all {
		n, err := k.endure(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		fmt.Fprintf(c.out, "%s: %d answers of the backup in %v of full load\n", k.name, n, c.load)
		if n > 0 {
			return fmt.Errorf("%s: the backup took over from a living master", k.name)
		}
	}
	return nil
}

func (k contestant) endure(ctx context.Context, c config) (falsely int, err error) {
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p, err := newPair(start, c.bin, k)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	before := p.probe.count("B")
	busy, rest := context.WithTimeout(ctx, c.load)
	defer rest()
	var running sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		running.Go(func() {
			for busy.Err() == nil { // this is the load
			}
		})
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if who, _ := p.probe.last(); who != "A" {
		return 0, fmt.Errorf("%q answers at the end, not A", who)
	}
	return p.probe.count("B") - before, nil
}
