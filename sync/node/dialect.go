package node

import (
	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// dialectOf is what version, as ifconfig says it, means: nil is no change, "" to
// learn it. What is no version has been refused by Change.Validate.
func dialectOf(version *string, s engine.Settings) (d wire.Dialect, set bool) {
	switch {
	case version == nil:
		return s.Dialect, s.DialectSet
	case *version == "":
		return 0, false
	}
	d, err := wire.ParseDialect(*version)
	return d, err == nil
}

// showDialect adds to the display what is spoken, and whether both halves of a
// connection are told.
func showDialect(p *ifconfig.PFSync, s engine.Status) {
	p.Version = s.Dialect.String()
	switch {
	case s.Settings.DialectSet:
		p.From = ifconfig.VersionSet
	case s.Learnt:
		p.From = ifconfig.VersionLearnt
	}
	switch s.Settings.Pair {
	case engine.PairOn:
		p.Pair = new(true)
	case engine.PairOff:
		p.Pair = new(false)
	}
}
