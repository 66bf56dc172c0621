package carp

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
)

// Reasons for a demotion that this package knows.
const (
	operatorReason = "carpdemote" // ifconfig -g, or net.inet.carp.demotion
	carpdevReason  = "carpdev"
	sendReason     = "snderrors"
	serveReason    = "addresses"

	defaultGroup = "carp"
	allGroup     = "all" // every interface is in it: it is not counted
)

// mailbox holds the shares that others set until Run looks.
type mailbox struct {
	mu     sync.Mutex
	shares map[shareKey]int
	order  []shareKey
	full   chan struct{}
}

type shareKey struct{ group, reason string }

func (m *mailbox) put(k shareKey, count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, waits := m.shares[k]; !waits {
		m.order = append(m.order, k)
	}
	if m.shares == nil {
		m.shares = map[shareKey]int{}
	}
	m.shares[k] = count
	m.wake()
}

// wake has Run look.
func (m *mailbox) wake() {
	select {
	case m.full <- struct{}{}:
	default:
	}
}

// take empties the mailbox, calling f in the order of arrival.
func (m *mailbox) take(f func(k shareKey, count int)) {
	m.mu.Lock()
	order, shares := m.order, m.shares
	m.order, m.shares = nil, nil
	m.mu.Unlock()
	for _, k := range order {
		f(k, shares[k])
	}
}

// demotions are the groups' counters.
type demotions map[string][]Share

func (d demotions) share(group, reason string) int {
	for _, s := range d[group] {
		if s.Reason == reason {
			return s.Count
		}
	}
	return 0
}

// set makes count the share of reason and returns by how much it has changed.
func (d demotions) set(group, reason string, count int) int {
	count = max(0, count)
	i := slices.IndexFunc(d[group], func(s Share) bool { return s.Reason == reason })
	switch {
	case i < 0 && count == 0:
		return 0
	case i < 0:
		d[group] = append(d[group], Share{reason, count})
		return count
	}
	by := count - d[group][i].Count
	if d[group][i].Count = count; count == 0 {
		d[group] = slices.Delete(d[group], i, i+1)
	}
	return by
}

func (d demotions) sum(group string) (sum int) {
	for _, s := range d[group] {
		sum += s.Count
	}
	return sum
}

// groups are those that count for c.
func (c Config) groups() []string {
	all := []string{defaultGroup}
	for _, g := range c.Groups {
		if g != allGroup && !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

// demotion is what v is demoted by. FreeBSD has one number, group carp's here.
func (h *Host) demotion(v *vhid) int {
	if h.options.Dialect == FreeBSD {
		return h.demoted.sum(defaultGroup)
	}
	sum := 0
	for _, g := range v.cfg.groups() {
		sum += h.demoted.sum(g)
	}
	return min(255, sum) // it is one byte of the advert
}

// advskew is what v advertises: FreeBSD adds its demotion and goes up to 240.
func (h *Host) advskew(v *vhid) int {
	if h.options.Dialect == FreeBSD {
		return min(240, v.cfg.AdvSkew+h.demotion(v))
	}
	return v.cfg.AdvSkew
}

// setShare changes a share and tells the log.
func (h *Host) setShare(group, reason string, count int) {
	if by := h.demoted.set(group, reason, count); by != 0 {
		h.logAt(3, slog.LevelWarn, "carp group demoted", "group", group, "by", by, "to", h.demoted.sum(group), "reason", reason)
	}
}

// redemote computes the shares that follow from the interfaces anew, and lets the
// masters whose demotion has changed advertise at once.
func (h *Host) redemote() {
	h.dirty = false
	ifdown, senderr := 1, 1
	if h.options.Dialect == FreeBSD {
		ifdown, senderr = h.options.IfdownFactor, h.options.SenderrFactor
	}
	sums := map[shareKey]int{}
	for g := range h.demoted {
		for _, r := range []string{carpdevReason, sendReason, serveReason} {
			sums[shareKey{g, r}] = 0
		}
	}
	for _, v := range h.vhids {
		groups := v.cfg.groups()
		if h.options.Dialect == FreeBSD {
			groups = groups[:1]
		}
		for _, g := range groups {
			if v.carpdevDown() {
				sums[shareKey{g, carpdevReason}] += ifdown
			}
			if v.sendTrouble.held {
				sums[shareKey{g, sendReason}] += senderr
			}
			if v.serveTrouble.held {
				sums[shareKey{g, serveReason}] += senderr
			}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(sums), shareKey.compare) {
		h.setShare(k.group, k.reason, sums[k])
	}
	for g, shares := range h.demoted {
		if len(shares) == 0 {
			delete(h.demoted, g)
		}
	}
	for _, v := range h.vhids {
		d := h.demotion(v)
		if d != v.demotion && v.state == Master && !v.adv.IsZero() {
			v.adv = h.now
		}
		v.demotion = d
	}
}

func (k shareKey) compare(other shareKey) int {
	return cmp.Or(cmp.Compare(k.group, other.group), cmp.Compare(k.reason, other.reason))
}

// trouble is errors in a row.
type trouble struct {
	errors, successes int
	held              bool // a demotion
}

const inARow = 3 // errors to demote and successes to end it, as in OpenBSD

// note counts an outcome.
func (t *trouble) note(err error) {
	switch {
	case err != nil:
		t.errors, t.successes = t.errors+1, 0
		t.held = t.held || t.errors >= inARow
	case t.held:
		if t.successes++; t.successes >= inARow {
			*t = trouble{}
		}
	default:
		t.errors = 0
	}
}
