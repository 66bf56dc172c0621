package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// counter numbers the reasons for which something was counted. Each is a name in
// the control API and in metrics.
type counter uint8

const (
	inPackets counter = iota
	inPackets6
	badInterface
	badTTL
	shortHeader
	badVersion
	badAuth
	badAction
	badLength
	badValue
	stale
	badState
	outPackets
	outPackets6
	noMemory
	outErrors

	notRunning
	ownPackets
	ownCreator
	foreignClear
	skippedSections
	duplicateFlow
	buried
	neverSynced
	requestsLimited
	requestsLost
	tableOverruns
	tableLost
	tableRefused
	tableFull
	tableUnsupported
	tableClash
	copiesExpired
	heldDeletes
	refreshed
	bulkRequested
	bulkDone
	bulkFailed
	bulkServed
	bulkRepeated
	bulkForeign
	demotionsFailed
	loosened

	outBare
	duplicates
	recovered
	lostPackets
	resendsAsked
	resendsSent
	resendsLimited
	drifts
	repairs
	mendedMissing
	mendedExtra
	mendedChanged
	crossedClaims
	requestsRefused
	badTrailer
	noTrailer
	badPeer
	oldPackets
	unprovedPackets
	tooManyPeers
	peerRestarts
	peerDeaths
	oneWayLinks
	peerLimit
	requestsFlood
	leasesRenewed
	leasesEnded
	takenOver
	spared
	staleCopies
	endedAway
	insertsRetried
	noSync
	otherFormat
	pairHalves
	pairsWhole
	deferredPackets
	deferAcked
	deferTimedOut
	deferQueueFull
	deferPassed
	outCompact
	inCompact
	formChanges
	unsent
	unasked
	unanswered

	numCounters
)

var counterTable = [numCounters]struct{ name, help string }{
	inPackets:    {"ipackets", "packets received (IPv4)"},
	inPackets6:   {"ipackets6", "packets received (IPv6)"},
	badInterface: {"badif", "packets discarded for bad interface"},
	badTTL:       {"badttl", "packets discarded for bad ttl"},
	shortHeader:  {"hdrops", "packets shorter than header"},
	badVersion:   {"badver", "packets discarded for bad version"},
	badAuth:      {"badauth", "packets discarded for bad HMAC"},
	badAction:    {"badact", "packets discarded for bad action"},
	badLength:    {"badlen", "packets discarded for short packet"},
	badValue:     {"badval", "states discarded for bad values"},
	stale:        {"stale", "stale states"},
	badState:     {"badstate", "failed state lookup/inserts"},
	outPackets:   {"opackets", "packets sent (IPv4)"},
	outPackets6:  {"opackets6", "packets sent (IPv6)"},
	noMemory:     {"onomem", "send failed due to mbuf memory error"},
	outErrors:    {"oerrors", "send error"},

	notRunning:       {"notrunning", "packets ignored while pfsync0 is down or has no syncdev"},
	ownPackets:       {"ownpackets", "packets from our own address ignored"},
	ownCreator:       {"owncreator", "packets of another firewall with our creatorid"},
	foreignClear:     {"foreignclear", "requests of a peer to clear our own states ignored"},
	skippedSections:  {"skipped", "sections of an unknown action stepped over"},
	duplicateFlow:    {"duplicate", "states refused for a connection known under another id"},
	buried:           {"buried", "states refused because they ended a moment ago"},
	neverSynced:      {"neversynced", "states of protocols that are never installed refused"},
	requestsLimited:  {"reqlimited", "update requests not repeated within a second"},
	requestsLost:     {"reqlost", "update requests not made because too many were outstanding"},
	tableOverruns:    {"overruns", "times that changes of the state table were lost"},
	tableLost:        {"resyncmended", "lost changes found by a dump of the state table"},
	tableRefused:     {"tablerefused", "states refused by the state table"},
	tableFull:        {"tablefull", "states refused because the state table is full"},
	tableUnsupported: {"unsupported", "states that this system cannot express"},
	tableClash:       {"clash", "states whose translated address is taken here"},
	copiesExpired:    {"copiesexpired", "copies of a peer's states gone here without a word to the peers"},
	heldDeletes:      {"deletesdropped", "deletes dropped because the sync link was down too long"},
	refreshed:        {"refreshed", "updates sent because traffic had renewed a state's timeout"},
	bulkRequested:    {"bulkrequests", "bulk updates requested"},
	bulkDone:         {"bulkdone", "bulk updates received"},
	bulkFailed:       {"bulkfailed", "bulk updates given up"},
	bulkServed:       {"bulkserved", "bulk updates sent"},
	bulkRepeated:     {"bulkrepeated", "bulk requests that came while one was being served"},
	bulkForeign:      {"bulkforeign", "ends of bulk updates that were asked for before ours ignored"},
	loosened:         {"loosened", "connections that may have moved, whose windows the table checks no longer"},
	demotionsFailed:  {"undemotedfailed", "times that a demotion ended without the states of the peers"},

	outBare:         {"obare", "packets sent for their trailer alone"},
	duplicates:      {"duplicates", "packets that had come before, or were given up"},
	recovered:       {"recovered", "missing packets that came after all"},
	lostPackets:     {"lostpackets", "missing packets that were given up"},
	resendsAsked:    {"resendsasked", "packets asked for again"},
	resendsSent:     {"resendssent", "packets sent again"},
	resendsLimited:  {"resendslimited", "requests for packets cut short because a peer asked for too many"},
	drifts:          {"drifts", "times that a peer's table was found to differ"},
	repairs:         {"repairs", "times that a difference was found and mended"},
	mendedMissing:   {"mendedmissing", "states of a peer that were missing here"},
	mendedExtra:     {"mendedextra", "states held of a peer that it had no more"},
	mendedChanged:   {"mendedchanged", "states of a peer that were out of date here"},
	crossedClaims:   {"crossedclaims", "messages of a peer overtaken by ours"},
	requestsRefused: {"reqrefused", "requests of a peer that has not shown that it hears us refused"},
	badTrailer:      {"badtrailer", "trailers that could not be read"},
	noTrailer:       {"notrailer", "packets without a trailer from the address of a Linux peer discarded"},
	badPeer:         {"badpeer", "packets discarded because they are not from the syncpeer"},
	oldPackets:      {"oldpackets", "packets of a peer's life before its restart discarded"},
	unprovedPackets: {"unproved", "packets discarded because their sender has not heard us yet: they may be old ones sent again"},
	tooManyPeers:    {"toomanypeers", "packets discarded because too many peers are known"},
	peerRestarts:    {"peerrestarts", "restarts of peers"},
	peerDeaths:      {"peerdeaths", "peers that fell silent"},
	oneWayLinks:     {"onewaylinks", "times that a peer was heard but did not hear us"},
	peerLimit:       {"peerlimit", "states refused because their peer has too many"},
	requestsFlood:   {"reqflood", "update requests not answered because there were too many"},
	leasesRenewed:   {"leasesrenewed", "copies given more time because their owner lives"},
	leasesEnded:     {"leasesended", "copies put back on their own timeouts because their owner is gone"},
	takenOver:       {"takenover", "states of a peer whose traffic was seen to run through here"},
	spared:          {"spared", "states ended by a peer and kept because their traffic runs through here"},
	staleCopies:     {"stalecopies", "copies found at the start that their owner had ended meanwhile"},
	endedAway:       {"endedaway", "own states that had ended here while the daemon was not running"},
	noSync:          {"nosync", "changes of states that are not advertised (no-sync)"},
	otherFormat:     {"otherformat", "states that a peer wrote in another format than ours"},
	pairHalves:      {"pairhalves", "messages sent of the second states that a pf has of our connections"},
	pairsWhole:      {"pairswhole", "states with both ends translated sent whole for the sake of Linux peers: no pf can use them"},
	deferredPackets: {"deferred", "first packets held until a peer knows their state (defer)"},
	deferAcked:      {"deferacked", "first packets let go because a peer had acknowledged their state"},
	deferTimedOut:   {"defertimedout", "first packets let go because no peer had acknowledged their state in time"},
	deferQueueFull:  {"deferqueuefull", "first packets let go early because too many were held"},
	deferPassed:     {"deferpassed", "first packets let go at once: of known or no-sync states, or while no peer answers"},
	outCompact:      {"ocompact", "messages sent in the compact form (counted by action too)"},
	inCompact:       {"icompact", "messages received in the compact form (counted by action too)"},
	formChanges:     {"formchanges", "times that the form of messages changed, because a peer that does not understand compact ones came or went"},
	unsent:          {"unsent", "messages not sent because pfsync0 only listens"},
	unasked:         {"unasked", "messages about states that are not known here and are not asked for, because pfsync0 only listens"},
	unanswered:      {"unanswered", "requests of peers not answered because pfsync0 only listens"},
	insertsRetried:  {"insertsretried", "states offered to the table again after it had refused them"},
}

// counters is what the engine counts. Messages are counted by action.
type counters struct {
	n       [numCounters]uint64
	in, out [wire.ActMax]uint64
}

func (c *counters) add(k counter) { c.n[k]++ }

// list gives pf's counters first, in the order of netstat -s -p pfsync.
func (c *counters) list() []pfstate.Counter {
	var all []pfstate.Counter
	for k, t := range counterTable {
		all = append(all, pfstate.Counter{Name: t.name, Help: t.help, Value: c.n[k]})
	}
	for a := range wire.ActMax {
		all = append(all,
			pfstate.Counter{Name: "iacts." + a.String(), Help: "messages received: " + a.String(), Value: c.in[a]},
			pfstate.Counter{Name: "oacts." + a.String(), Help: "messages sent: " + a.String(), Value: c.out[a]})
	}
	return all
}
