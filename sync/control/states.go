package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	// statesTimeout is how long a reader may leave a part unread. People read long lists in
	// a pager; who goes away for good must not hold the connection for ever.
	statesTimeout = 10 * time.Minute

	// statesType is the content type of an answer of /v1/states.
	statesType = "application/vnd.pfsync.states"
)

// Selection chooses states. Its zero value chooses all.
type Selection struct {
	Interface string       // exact, as in the state ("all" for floating ones); "": any
	Host      netip.Prefix // of either end, before or after translation; zero: any
}

// Matches tells whether a state is one of the selection.
func (sel Selection) Matches(s *pfstate.State) bool {
	if sel.Interface != "" && s.IfName != pfstate.NewIfName(sel.Interface) {
		return false
	}
	if !sel.Host.IsValid() {
		return true
	}
	orig, reply := s.Tuples()
	return sel.Host.Contains(orig.Src) || sel.Host.Contains(orig.Dst) ||
		sel.Host.Contains(reply.Src) || sel.Host.Contains(reply.Dst)
}

// query is the selection as it stands behind /v1/states.
func (sel Selection) query() string {
	v := url.Values{}
	if sel.Interface != "" {
		v.Set("interface", sel.Interface)
	}
	if sel.Host.IsValid() {
		v.Set("host", sel.Host.String())
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

func parseSelection(v url.Values) (sel Selection, err error) {
	for key, values := range v {
		switch {
		case len(values) != 1:
			return sel, fmt.Errorf("states: %s: given %d times", key, len(values))
		case key == "interface":
			sel.Interface = values[0]
		case key == "host":
			if sel.Host, err = netip.ParsePrefix(values[0]); err != nil {
				return sel, fmt.Errorf("states: host: %w", err)
			}
			sel.Host = sel.Host.Masked()
		default:
			return sel, fmt.Errorf("states: %q: unknown, choose interface or host", key)
		}
	}
	return sel, nil
}

// states sends all states, one part after the other, each only when the one before has been
// taken over by the reader's side.
func (s *Server) states(w http.ResponseWriter, r *http.Request) error {
	sel, err := parseSelection(r.URL.Query())
	if err != nil {
		return httpError{http.StatusBadRequest, err.Error()}
	}
	flow := http.NewResponseController(w)
	// The time for the question is over, and its end must not be taken for the reader's.
	if err := flow.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var part []byte
	begun := false
	send := func(states []pfstate.State) error {
		part = part[:0]
		for i := range states {
			if sel.Matches(&states[i]) {
				part = wire.AppendState(wire.OpenBSD6, part, &states[i])
			}
		}
		if !begun {
			begun = true
			w.Header().Set("Content-Type", statesType)
		}
		if err := flow.SetWriteDeadline(time.Now().Add(statesTimeout)); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		return flow.Flush()
	}
	if err := s.node.States(r.Context(), send); err != nil {
		if !begun {
			return err
		}
		s.log.Debug("states not delivered", "err", err)
		panic(http.ErrAbortHandler) // so that the reader sees that states are missing
	}
	if !begun {
		return send(nil)
	}
	return nil
}

// Kill says which states are removed: those that meet all that is set. Nothing set is an error,
// for it is a slip more likely than the wish to remove all.
type Kill struct {
	Interface string             `json:"interface,omitzero"` // exact, as in the state
	Src       []netip.Prefix     `json:"src,omitempty"`      // one of them holds the initiator, before translation
	Dst       []netip.Prefix     `json:"dst,omitempty"`      // one of them holds the responder, before or after translation
	ID        HexID              `json:"id,omitzero"`
	Creator   ifconfig.CreatorID `json:"creatorid,omitzero"`
	Key       *KillKey           `json:"key,omitzero"`
	Label     string             `json:"label,omitzero"` // of the rule that decides, as far as that can be told
}

// KillKey is a connection by one of its keys.
type KillKey struct {
	Proto    uint8          `json:"proto"`
	From, To netip.AddrPort // the initiator's and the responder's
}

// HexID is the id of a state, in JSON a string of 16 hexadecimal digits.
type HexID uint64

// MarshalText writes all digits.
func (h HexID) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(h)), nil }

// UnmarshalText reads hexadecimal digits.
func (h *HexID) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	*h = HexID(n)
	return err
}

// Validate tells what makes no sense.
func (k *Kill) Validate() error {
	if k.Interface == "" && k.Src == nil && k.Dst == nil && k.ID == 0 && k.Creator == 0 && k.Key == nil && k.Label == "" {
		return errors.New("kill: says nothing of the states to kill; flush removes all")
	}
	for _, p := range append(append([]netip.Prefix(nil), k.Src...), k.Dst...) {
		if !p.IsValid() {
			return errors.New("kill: bad address")
		}
	}
	if k.Key != nil && (!k.Key.From.IsValid() || !k.Key.To.IsValid()) {
		return errors.New("kill: key: bad address")
	}
	return nil
}

// Matcher returns what tells whether a state is to be removed, under rules. Its error is that none has the label.
func (k *Kill) Matcher(rules *pfconf.Ruleset) (func(*pfstate.State) bool, error) {
	if k.Label == "" {
		return k.Matches, nil
	}
	if err := rules.CheckLabel(k.Label); err != nil {
		return nil, err
	}
	f, err := pfconf.Compile(rules)
	if err != nil {
		return nil, err
	}
	return func(s *pfstate.State) bool {
		if !k.Matches(s) {
			return false
		}
		flow := pfconf.FlowOf(s, 0)
		return f.Labelled(&flow, k.Label)
	}, nil
}

// Matches tells whether a state is to be removed as far as the state alone tells: Label is not looked at.
func (k *Kill) Matches(s *pfstate.State) bool {
	switch {
	case k.Interface != "" && s.IfName != pfstate.NewIfName(k.Interface),
		k.ID != 0 && s.ID.State != uint64(k.ID),
		k.Creator != 0 && s.ID.Creator != uint32(k.Creator):
		return false
	}
	if k.Src == nil && k.Dst == nil && k.Key == nil {
		return true
	}
	orig, reply := s.Tuples()
	if k.Src != nil && !holds(k.Src, orig.Src) {
		return false
	}
	if k.Dst != nil && !holds(k.Dst, orig.Dst) && !holds(k.Dst, reply.Src) {
		return false
	}
	return k.Key == nil || s.Proto == k.Key.Proto && (k.Key.is(s, orig) || k.Key.is(s, reply.Reversed()))
}

func (k *KillKey) is(s *pfstate.State, t pfstate.Tuple) bool {
	if s.Proto == pfstate.ProtoICMP || s.Proto == pfstate.ProtoICMPv6 {
		t.DstPort = t.SrcPort // the id stands at both ends when they are shown
	}
	return k.From == netip.AddrPortFrom(t.Src, t.SrcPort) && k.To == netip.AddrPortFrom(t.Dst, t.DstPort)
}

func holds(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Killed tells what was removed.
type Killed struct {
	States int `json:"states"`
}
