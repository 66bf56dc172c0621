package wire

// layout is where a dialect has the fields of a state message (OpenBSD pfvar.h,
// struct pfsync_state; FreeBSD pfvar.h, union pfsync_state_union). Offsets are in
// bytes; 0: the dialect does not have the field. What all have in the same order
// stands behind the keys, at the offsets st*.
type layout struct {
	size   int
	keyLen int // with routing domain and family: keyLenOpenBSD

	family      int // of both keys, or of the wire key if there is stackFamily
	stackFamily int
	routeFamily int
	proto       int // likewise
	stackProto  int
	direction   int
	timeout     int
	log         int
	flags       int
	flags8      int // the low byte of them alone
	rtable      int
	rtable2     int // without it, rtable is for the packets of the initiator
	maxMSS      int
	route       int
	routes      *[len(openbsdRoutes)]uint8 // numbers of the kinds of routes
	syncFlags   int
	updates     int
	minTTL      int
	setTOS      int
	setPrio     int

	// Of FreeBSD alone.
	queues  int // qid, pqid, dnpipe, dnrpipe
	routeIf int
	origIf  int
	tag     int
}

// Lengths of a key: two addresses, two ports; OpenBSD's has a routing domain, a family and a pad too.
const (
	keyLenFreeBSD = 36
	keyLenOpenBSD = 40
)

const stIfName, stKeys = 8, 24

// Offsets behind both keys.
const (
	stSrc       = 0
	stDst       = stSrc + peerLen
	stRouteAddr = stDst + peerLen
	stRule      = 80
	stAnchor    = 84
	stNATRule   = 88
	stCreation  = 92
	stExpire    = 96
	stPackets   = 100
	stBytes     = 116
	stCreator   = 132
	stCommon    = 136
)

// Numbers of route-to and its kin, by pfstate.Route.Kind.
var (
	openbsdRoutes = [...]uint8{0, 1, 2, 3}
	freebsdRoutes = [...]uint8{0, 2, 3, 4} // 1 is fastroute, which is gone
)

var openbsdLayout = layout{
	size: StateLen, keyLen: keyLenOpenBSD,
	rtable: 240, rtable2: 244, maxMSS: 248, family: 250, proto: 251, direction: 252, log: 253,
	route: 254, routes: &openbsdRoutes, timeout: 255, syncFlags: 256, updates: 257, minTTL: 258, setTOS: 259,
	flags: 260, setPrio: 262,
}

var layout1301 = layout{
	size: 242, keyLen: keyLenFreeBSD,
	family: 232, proto: 233, direction: 234, log: 237, flags8: 238, timeout: 239, syncFlags: 240, updates: 241,
}

var layout1400 = layout{
	size: 277, keyLen: keyLenFreeBSD,
	family: 232, proto: 233, direction: 234, flags: 235, log: 237, timeout: 239, syncFlags: 240, updates: 241,
	queues: 242, rtable: 250, minTTL: 254, setTOS: 255, maxMSS: 256, setPrio: 258,
	route: 260, routes: &freebsdRoutes, routeIf: 261,
}

var layout1500 = layout{
	size: 360, keyLen: keyLenFreeBSD,
	tag: 232, routeIf: 296, origIf: 312, rtable: 328, flags: 332, queues: 334, maxMSS: 342,
	family: 344, stackFamily: 345, routeFamily: 346, proto: 347, stackProto: 348,
	log: 349, timeout: 350, direction: 351, route: 352, routes: &freebsdRoutes, minTTL: 353, setTOS: 354, setPrio: 355,
}
