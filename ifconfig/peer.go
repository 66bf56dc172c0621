package ifconfig

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"
)

// Peer is another firewall as the daemon hears it. Its JSON is that of /v1/peers and of
// every --json: fields are added, never renamed.
type Peer struct {
	Addr     netip.Addr `json:"address"` // it sends from, of either family
	Creator  CreatorID  `json:"creatorid,omitzero"`
	Kind     string     `json:"kind"`  // one word: linux, openbsd, or what is not understood: version-5
	State    string     `json:"state"` // up, stale (quiet for a while) or dead
	Age      Seconds    `json:"age"`   // since its last packet
	States   int        `json:"states"`
	Sync     string     `json:"sync"`     // yes, no, or unknown: a BSD does not tell
	Problems []string   `json:"problems"` // short sentences, none: empty, not nil
}

// String is what the display has behind "peer: ". A creatorid that the peer has not told is
// "unknown"; the age is in seconds.
func (p Peer) String() string {
	creator := "unknown"
	if p.Creator != 0 {
		creator = p.Creator.String()
	}
	return fmt.Sprintf("%v creatorid: %s %s %s age: %.1f states: %d insync: %s",
		p.Addr, creator, p.Kind, p.State, time.Duration(p.Age).Seconds(), p.States, p.Sync)
}

// OK tells whether nothing is wrong with the peer, as far as its kind lets know: it is up, has no
// problems, and is in sync. Of a peer that is no Linux, unknown is the best there is.
func (p Peer) OK() bool {
	inSync := p.Sync == "yes" || p.Sync == "unknown" && p.Kind != "linux"
	return p.State == "up" && inSync && len(p.Problems) == 0
}

// Seconds is a duration as JSON has it: a number of seconds, exact to the millisecond.
type Seconds time.Duration

// MarshalJSON writes 0.4 for 400 ms.
func (s Seconds) MarshalJSON() ([]byte, error) {
	ms := time.Duration(s).Round(time.Millisecond).Milliseconds()
	return strconv.AppendFloat(nil, float64(ms)/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("duration %s: not a number of seconds", Shown(string(b)))
	}
	*s = Seconds(time.Duration(math.Round(f*1e3)) * time.Millisecond)
	return nil
}
