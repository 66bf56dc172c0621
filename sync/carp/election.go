package carp

import "time"

// units are 1/256 seconds, CARP's unit of time: adverts are compared in them.
type units int

func (u units) duration() time.Duration { return time.Duration(u) * time.Second / 256 }

// interval is between two adverts of a master.
func interval(advbase, advskew int) units { return max(1, units(advbase*256+advskew)) }

// patience is how long a backup hears nothing before it takes over. One skew, not three.
func patience(advbase, advskew int) units {
	if advbase == 0 {
		return 3 * interval(0, advskew)
	}
	return units(3*advbase*256 + advskew)
}

// comparison is a received advert beside what this host would say.
type comparison struct {
	preempt      bool
	mine, theirs units
	lost         units // slower than this is as good as silent; 0: nothing is
	// How often either has been demoted: 0 in FreeBSD's dialect, which has it in the units.
	myDemotion, theirDemotion int
	bowOut                    bool // they are going down
	outranks                  bool // their counter is greater: it decides when all else is equal
}

// verdict is what follows from an advert.
type verdict uint8

const (
	carryOn  verdict = iota // a backup waits anew for the master to fall silent
	yield                   // the master becomes a backup
	insist                  // the master says at once that it is there: the other one will yield
	takeOver                // the backup becomes master
)

// rule is a row of an election: the first that applies counts.
type rule struct {
	applies func(comparison) bool
	verdict verdict
	why     string
}

var (
	bowsOut = func(c comparison) bool { return c.bowOut }
	slower  = func(c comparison) bool { return c.theirs > c.mine }
	silent  = func(c comparison) bool { return c.lost > 0 && c.theirs > c.lost }
	equal   = func(c comparison) bool { return c.theirs == c.mine && c.theirDemotion == c.myDemotion }
	better  = func(c comparison) bool { return c.theirDemotion < c.myDemotion }
	worse   = func(c comparison) bool { return c.theirDemotion > c.myDemotion }
	all     = func(comparison) bool { return true }
)

// elections are the rules of OpenBSD and FreeBSD ip_carp.c, but for three things: a
// master does not yield to one that bows out; of two equal masters the one with the
// greater counter stays (in BSD both yield, and may do so for ever); and a master that
// hears a worse one insists. BSD hosts, which yield to equals, go along with all.
var elections = map[Dialect]map[State][]rule{
	OpenBSD: {
		Master: {
			{bowsOut, carryOn, ""},
			{better, yield, "another master is less demoted"},
			{worse, insist, ""},
			{slower, insist, ""},
			{func(c comparison) bool { return equal(c) && !c.outranks }, insist, ""},
			{equal, yield, "another master is our equal"},
			{all, yield, "another master is better"},
		},
		Backup: {
			{bowsOut, takeOver, "master bowed out"},
			{func(c comparison) bool { return c.preempt && slower(c) && !better(c) }, takeOver, "preempting a slower master"},
			{worse, takeOver, "master is demoted"}, // without preempt too
			{silent, takeOver, "master is too slow"},
			{all, carryOn, ""},
		},
	},
	FreeBSD: {
		Master: {
			{bowsOut, carryOn, ""},
			{slower, insist, ""},
			{func(c comparison) bool { return equal(c) && !c.outranks }, insist, ""},
			{equal, yield, "another master is our equal"},
			{all, yield, "another master is better"},
		},
		Backup: {
			{bowsOut, takeOver, "master bowed out"},
			{func(c comparison) bool { return c.preempt && slower(c) }, takeOver, "preempting a slower master"},
			{silent, takeOver, "master is too slow"},
			{all, carryOn, ""},
		},
	},
}

// judge returns the verdict of a host in that state, and why.
func judge(d Dialect, s State, c comparison) (verdict, string) {
	for _, r := range elections[d][s] {
		if r.applies(c) {
			return r.verdict, r.why
		}
	}
	return carryOn, ""
}
