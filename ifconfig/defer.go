package ifconfig

// DeferState is what has become of defer, where it is on.
type DeferState string

// The states of defer. Only in the first three are packets held.
const (
	DeferReady      DeferState = "ready"                                           // no new connection has been seen yet
	DeferHolding    DeferState = "holding first packets"                           //
	DeferEarly      DeferState = "holding first packets before they are confirmed" // the kernel gives the connections with them
	DeferNoPeer     DeferState = "no peer to wait for"
	DeferWrongOrder DeferState = "rule order wrong: nothing is held" // pfsyncctl check tells more
	DeferFailed     DeferState = "nothing can be held"
)
