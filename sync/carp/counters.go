package carp

import "github.com/pfsync-linux/pfsync/pfstate"

// counter numbers what is counted. The first are OpenBSD's, in the order of netstat -s -p carp.
type counter uint8

const (
	inPackets counter = iota
	inPackets6
	badInterface
	badTTL
	headerDrops
	badChecksum
	badVersion
	badLength
	badAuth
	badVHID
	badAddresses
	outPackets
	outPackets6
	noMemory
	preempted

	looped
	notAllowed
	vrrp
	sendErrors
	sendBusy
	serveErrors
	announceErrors
	withdrawErrors
	openErrors
	graces
	hastenings
	transitionsLost

	numCounters
)

var counterTable = [numCounters]pfstate.Counter{
	inPackets:    {Name: "carp_ipackets", Help: "packets received (IPv4)"},
	inPackets6:   {Name: "carp_ipackets6", Help: "packets received (IPv6)"},
	badInterface: {Name: "carp_badif", Help: "packets discarded for bad interface"},
	badTTL:       {Name: "carp_badttl", Help: "packets discarded for wrong TTL"},
	headerDrops:  {Name: "carp_hdrops", Help: "packets shorter than header"},
	badChecksum:  {Name: "carp_badsum", Help: "discarded for bad checksums"},
	badVersion:   {Name: "carp_badver", Help: "discarded packets with a bad version"},
	badLength:    {Name: "carp_badlen", Help: "discarded because packets too short"},
	badAuth:      {Name: "carp_badauth", Help: "discarded for bad authentication"},
	badVHID:      {Name: "carp_badvhid", Help: "discarded for bad vhid"},
	badAddresses: {Name: "carp_badaddrs", Help: "discarded because of a bad address list"},
	outPackets:   {Name: "carp_opackets", Help: "packets sent (IPv4)"},
	outPackets6:  {Name: "carp_opackets6", Help: "packets sent (IPv6)"},
	noMemory:     {Name: "carp_onomem", Help: "send failed due to mbuf memory error"},
	preempted:    {Name: "carp_preempt", Help: "transitions to master"},

	looped:          {Name: "carp_looped", Help: "packets of our own that came back; badauth has them too, as in BSD"},
	notAllowed:      {Name: "carp_notallowed", Help: "packets ignored because net.inet.carp.allow is 0"},
	vrrp:            {Name: "carp_vrrp", Help: "packets that look like VRRP, among those discarded"},
	sendErrors:      {Name: "carp_oerrors", Help: "adverts that could not be sent"},
	sendBusy:        {Name: "carp_obusy", Help: "adverts not sent because the one before was still being sent"},
	serveErrors:     {Name: "carp_serveerrors", Help: "times that a master could not have its addresses"},
	announceErrors:  {Name: "carp_announceerrors", Help: "times that the neighbours could not be told of a new master"},
	withdrawErrors:  {Name: "carp_withdrawerrors", Help: "times that addresses could not be taken away"},
	openErrors:      {Name: "carp_openerrors", Help: "times that an interface could not be made"},
	graces:          {Name: "carp_graces", Help: "takeovers put off because this host had been busy and might have missed adverts"},
	hastenings:      {Name: "carp_hastenings", Help: "takeovers after two silent adverts, for pfsync's peers were silent too"},
	transitionsLost: {Name: "carp_transitionslost", Help: "changes of state that no hook was told of"},
}

// counts is what the host counts.
type counts [numCounters]uint64

func (c *counts) list() []pfstate.Counter {
	all := make([]pfstate.Counter, numCounters)
	for k, t := range counterTable {
		t.Value = c[k]
		all[k] = t
	}
	return all
}
