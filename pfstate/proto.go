package pfstate

// IP protocol numbers that pf treats by name.
const (
	ProtoICMP   = 1
	ProtoIGMP   = 2
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoGRE    = 47
	ProtoICMPv6 = 58
	ProtoCARP   = 112
	ProtoSCTP   = 132
	ProtoPFSync = 240
)
