package carp

import (
	"net"
	"net/netip"
	"time"
)

// System is what this package needs of the operating system.
type System interface {
	// Open makes the interface name (or adopts one that a daemon before has left), a
	// macvlan with mac on carpdev, down and without addresses. Adverts for carpdev are
	// heard from then on. A carpdev that does not exist is no error: the Device tells so. The
	// error says what else is wrong with it; Open is tried anew each second then. It is
	// called by one goroutine at a time.
	Open(name, carpdev string, mac net.HardwareAddr) (Device, error)
}

// Device is one vhid's interface. Its methods may be called by one goroutine at a
// time, but for Send: that may run at the same time as any other but Close, and should
// not wait for it. They take some milliseconds at most, and delay nobody else if not.
//
// A carpdev that goes takes the interface with it; the Device makes it anew, down and
// without addresses, when the carpdev is back. One that cannot closes its Events, and
// is closed and opened anew.
type Device interface {
	// Serve makes this host the one that has the addresses: the interface is up, each
	// address is there for lifetime from now on, and what is not in the list is gone.
	// It is called anew three times in a lifetime, and changes nothing then but that.
	Serve(addresses []netip.Prefix, lifetime time.Duration) error
	// Announce tells the neighbours where the addresses are now: a gratuitous ARP for
	// each IPv4 one, an unsolicited neighbour advertisement for each IPv6 one.
	Announce(addresses []netip.Prefix) error
	// Withdraw is the opposite of Serve: no address, interface down.
	Withdraw() error
	// Send sends an advert, of the CARP header's length, from the virtual MAC: to peer,
	// or to the group of the family when peer is not valid. The source is the carpdev's
	// first address of the family, or source when it has none.
	Send(advert []byte, family Family, peer, source netip.Addr) error
	// Events tells what happens on the carpdev: the first says what is so now.
	Events() <-chan Event
	// Close withdraws, removes the interface and closes Events.
	Close() error
}

// Family is that of an advert's IP header.
type Family uint8

const (
	Inet  Family = 4
	Inet6 Family = 6
)

// Event is what a Device has to tell: a packet, or else how its carpdev is.
type Event struct {
	Packet *Packet
	Link   *Link
}

// Packet is one of protocol 112 as the carpdev has received it, whoever it is for.
type Packet struct {
	Family   Family
	Src, Dst netip.Addr
	TTL      int    // or hop limit; 255 unless it was forwarded
	Payload  []byte // behind the IP header; owned by the receiver of the event
}

// Link is the carpdev's condition.
type Link struct {
	Exists bool
	Up     bool // administratively
	Runs   bool // has carrier
	MAC    net.HardwareAddr
}

// Usable reports whether adverts can be sent and heard.
func (l Link) Usable() bool { return l.Exists && l.Up && l.Runs }
