package node

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/engine"
)

// Interfaces shows pfsync0, if it exists, and the carp interfaces. It is the control.Node's.
func (n *Node) Interfaces() ([]ifconfig.Interface, error) {
	status, err := n.engine.Status()
	if err != nil {
		return nil, err
	}
	carps, err := n.carpInterfaces()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.device == nil {
		return carps, nil
	}
	device, e := n.device.Status(), n.settings.engine
	shown := ifconfig.Interface{
		Name: Name, Index: device.Index, MTU: device.MTU,
		Groups: []string{"carp", "pfsync"},
		Status: n.settings.describe(status),
		PFSync: &ifconfig.PFSync{
			Syncdev: n.settings.link.Syncdev, Syncpeer: n.settings.syncpeer(),
			MaxUpd: e.MaxUpd, Defer: e.Defer, Listen: e.Listen, SyncOK: status.SyncOK, Creator: n.cfg.Identity.Creator,
			DeferState: n.deferState(status), Key: n.settings.keyState(status.KeyChanging), Peers: shownPeers(status),
		},
	}
	showDialect(shown.PFSync, status)
	if device.Up {
		shown.Flags |= ifconfig.FlagUp
		if status.Link.Up {
			shown.Flags |= ifconfig.FlagRunning
		}
	}
	return append([]ifconfig.Interface{shown}, carps...), nil
}

// describe is the status line of pfsync0.
func (s settings) describe(e engine.Status) string {
	switch {
	case s.link.Syncdev == "":
		return "no syncdev"
	case !e.Settings.Up:
		return "down"
	case !e.Link.Up && (e.Link.Reason == "down" || e.Link.Reason == "no carrier"):
		return "no carrier"
	case !e.Link.Up && e.Link.Reason != "":
		return e.Link.Reason
	case !e.Link.Up:
		return "starting"
	}
	if e.SendErr != nil {
		return "cannot send: " + e.SendErr.Error()
	}
	switch e.Bulk {
	case "done":
		return "active"
	case "failed":
		return "bulk failed, asked for again when a peer is heard"
	case "listening":
		return "listening"
	case "start", "sent":
		return "bulk asked for"
	}
	return "bulk"
}

// Peers returns the other firewalls. It is the control.Node's.
func (n *Node) Peers() ([]ifconfig.Peer, error) {
	s, err := n.engine.Status()
	if err != nil {
		return nil, err
	}
	return shownPeers(s), nil
}

// syncpeer is shown as it may be set; the zero Addr: none is.
func (s settings) syncpeer() netip.Addr {
	if !s.link.Syncpeer.IsValid() || s.link.Syncdev == "" {
		return s.link.Syncpeer
	}
	return s.link.Scoped(s.link.Peer())
}

// shownPeers is the engine's list as operators see it: in the order of the addresses, which is
// the same each time, and never nil.
func shownPeers(s engine.Status) []ifconfig.Peer {
	shown := make([]ifconfig.Peer, 0, len(s.PeerList))
	for _, p := range s.PeerList {
		shown = append(shown, ifconfig.Peer{
			Addr: s.Link.Config.Scoped(p.Addr), Creator: ifconfig.CreatorID(p.Creator),
			Kind:  strings.ReplaceAll(p.Kind, " ", "-"), // one word for those who cut lines at blanks
			State: p.State, Age: ifconfig.Seconds(p.Age), States: p.States, Sync: p.Sync,
			Problems: append([]string{}, p.Problems...),
		})
	}
	slices.SortFunc(shown, func(a, b ifconfig.Peer) int { return a.Addr.Compare(b.Addr) })
	return shown
}

// keyState is what is shown of the key.
func (s settings) keyState(changing bool) ifconfig.KeyState {
	switch {
	case s.key.Secret() == nil:
		return ifconfig.KeyOff
	case changing:
		return ifconfig.KeyChanging
	}
	return ifconfig.KeyOn
}

// Counters returns the counters of all parts, pf's first. It is the control.Node's.
func (n *Node) Counters() ([]pfstate.Counter, error) {
	all, err := n.engine.Counters()
	if err != nil {
		return nil, err
	}
	all = append(all, n.link.Counters()...)
	if n.cfg.TableCounters != nil {
		all = appendNamed(all, "table_", n.cfg.TableCounters())
	}
	if n.cfg.Holder != nil {
		all = append(all, n.cfg.Holder.Counters()...)
	}
	if n.cfg.SAs != nil {
		all = append(all, n.cfg.SAs.Counters()...)
	}
	if n.cfg.Exporter != nil {
		all = append(all, n.cfg.Exporter.Counters()...)
	}
	if n.host != nil {
		counted, err := n.host.Counters()
		if err != nil {
			return nil, err
		}
		all = append(all, counted...)
	}
	if n.cfg.CarpCounters != nil {
		all = append(all, n.cfg.CarpCounters()...)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.device != nil {
		all = append(all, n.device.Counters()...)
	}
	return all, nil
}

// Histograms is the control.Node's.
func (n *Node) Histograms() ([]pfstate.Histogram, error) { return n.engine.Histograms() }

// appendNamed appends counters under names that tell whose they are.
func appendNamed(all []pfstate.Counter, prefix string, some []pfstate.Counter) []pfstate.Counter {
	for _, c := range some {
		c.Name = prefix + c.Name
		all = append(all, c)
	}
	return all
}

// Status returns what is beyond interfaces. It is the control.Node's.
func (n *Node) Status() (control.Status, error) {
	s, err := n.engine.Status()
	if err != nil {
		return control.Status{}, err
	}
	shown := control.Status{
		Table: n.cfg.TableName, Entries: s.Local + s.Imported,
		Creator: n.cfg.Identity.Creator, Bulk: s.Bulk, Queued: s.Queued,
		States: control.States{Local: s.Local, Imported: s.Imported},
		Peers:  shownPeers(s),
	}
	if n.cfg.TableUse != nil {
		// Whether the daemon is well must not depend on it.
		if entries, limit, err := n.cfg.TableUse(); err == nil {
			shown.Entries, shown.Limit = entries, limit
		}
	}
	return shown, nil
}
