package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// profiling is the profiles that are being made of both daemons.
type profiling struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

// wait waits until they are written.
func (p *profiling) wait() error {
	p.wg.Wait()
	return errors.Join(p.errs...)
}

// profiled waits for the profiles that are being made, if any.
func (a *arena) profiled() error {
	making := a.profiling
	if making == nil {
		return nil
	}
	a.profiling = nil
	if err := making.wait(); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	return nil
}

// profile begins profiles of both daemons over the length, if they are wanted; the heap's
// come at its end.
func (p *pair) profile(ctx context.Context, length time.Duration) error {
	if p.profiles == "" || !p.contestant.profiled {
		return nil
	}
	if err := os.MkdirAll(p.profiles, 0o755); err != nil {
		return err
	}
	const most = 29 * time.Second // as the control socket has it
	seconds := int(min(length, most).Seconds())
	p.profiling = &profiling{}
	for role, f := range map[string]*lab.Firewall{"primary": p.lab.A, "backup": p.lab.B} {
		base := filepath.Join(p.profiles, strings.NewReplacer(" ", "-", "/", "-per-", ",", "", "%", "").Replace(p.trial.Scenario)+"."+role)
		making := p.profiling
		making.wg.Go(func() {
			making.save(ctx, f, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), base+".cpu.pprof")
			making.save(ctx, f, "/debug/pprof/heap", base+".heap.pprof")
		})
		p.trial.note("profiles: %s.cpu.pprof, %s.heap.pprof", base, base)
	}
	return nil
}

func (p *profiling) save(ctx context.Context, f *lab.Firewall, path, file string) {
	b, err := ask(ctx, f, path)
	if err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.errs = append(p.errs, err)
	}
}

// ask gets something from the control socket of a firewall's pfsyncd.
func ask(ctx context.Context, f *lab.Firewall, path string) ([]byte, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (c net.Conn, err error) {
		err = f.Do(func() error { c, err = net.Dial("unix", control.Address); return err })
		return c, err
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pfsyncd"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.Name, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.Name, path, err)
	}
	return b, nil
}
