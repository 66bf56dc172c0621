package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/engine"
)

// rules say which states are not advertised. On the BSDs they live in the kernel, so the death of a
// program does not end them: here they are kept in the state directory until others are loaded.
type rules struct {
	control.Rules
	since time.Time // when they were enabled or disabled, by this daemon or by its start
}

// filter is a compiled ruleset as the engine asks it.
type filter struct{ *pfconf.Filter }

// NoSync implements engine.Filter.
func (f filter) NoSync(s *pfstate.State, mark uint32) bool {
	flow := pfconf.FlowOf(s, mark)
	return f.Filter.NoSync(&flow)
}

// filter compiles the rules; nil: all states are advertised.
func (r *rules) filter() (engine.Filter, error) {
	f, err := pfconf.Compile(&r.Ruleset)
	if err != nil || !r.Enabled {
		return nil, err
	}
	return filter{f}, nil
}

// restoreRules takes the rules of the daemon before, which are in force before anything is sent: pfsync0
// is down until somebody configures it. It returns nil if there are none.
func (n *Node) restoreRules() (engine.Filter, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = rules{control.Rules{Enabled: true}, time.Now()}
	text, err := n.cfg.Identity.keptRules()
	if err != nil || text == nil {
		return nil, err
	}
	var kept control.Rules
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("%s: %w", rulesFile, err)
	}
	restored := rules{kept, n.rules.since}
	f, err := restored.filter()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rulesFile, err)
	}
	n.rules = restored
	n.excludeMarked(&restored)
	return f, nil
}

// Rules is the control.Node's.
func (n *Node) Rules() (control.Rules, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rules.Rules, nil
}

// SetRuleset is the control.Node's.
func (n *Node) SetRuleset(rs *pfconf.Ruleset) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := n.rules
	next.Ruleset = *rs
	return n.setRules(next)
}

// Enable is the control.Node's. Its errors are those of pfctl on OpenBSD.
func (n *Node) Enable(on bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if on == n.rules.Enabled {
		return errors.New(map[bool]string{true: "pf already enabled", false: "pf not enabled"}[on])
	}
	next := n.rules
	next.Enabled, next.since = on, time.Now()
	return n.setRules(next)
}

// setRules puts rules in force. n.mu is held.
func (n *Node) setRules(next rules) error {
	f, err := next.filter()
	if err != nil {
		return err
	}
	text, err := json.Marshal(next.Rules)
	if err != nil {
		return err
	}
	if err := n.cfg.Identity.keepRules(text); err != nil { // first: what holds now must hold after a restart
		return err
	}
	if err := n.engine.SetFilter(f); err != nil {
		return err
	}
	n.rules = next
	n.excludeMarked(&next)
	n.log.Info("rules loaded", "enabled", next.Enabled, "rules", len(next.Ruleset.Rules), "tables", len(next.Ruleset.Tables))
	return nil
}

func (n *Node) timeout(class pfstate.Timeout) time.Duration {
	if n.cfg.Timeout == nil {
		return class.Default()
	}
	return n.cfg.Timeout(class)
}
