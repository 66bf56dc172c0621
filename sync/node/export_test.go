package node

import (
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

// ShownPeers is shownPeers, for tests: an engine has peers only where packets come in.
var ShownPeers = shownPeers

// Shares are pfsync's parts in a demotion, for tests in fake time: a Node has sockets.
type Shares struct{ shares }

// NewShares has set told each of them.
func NewShares(set func(group, reason string, count int)) *Shares { return &Shares{shares{set: set}} }

// Hold is hold.
func (s *Shares) Hold(d time.Duration, over func()) { s.hold(d, over) }

// FreeBSD changes the dialect.
func (s *Shares) FreeBSD() { s.rules(carp.FreeBSD, 240) }
