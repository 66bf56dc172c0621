package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// stateLine is a state for programs. Of each key the initiator comes first, whatever the direction.
type stateLine struct {
	ID        control.HexID      `json:"id"`
	Creator   ifconfig.CreatorID `json:"creatorid"`
	Interface string             `json:"interface"`
	Proto     string             `json:"proto"`
	Direction string             `json:"direction"`
	Wire      [2]stateEnd        `json:"wire"`
	Stack     [2]stateEnd        `json:"stack"`
	RDomain   uint16             `json:"rdomain"`
	State     [2]string          `json:"state"`
	Age       int64              `json:"age"`     // seconds
	Expires   int64              `json:"expires"` // in seconds
	Packets   [2]uint64          `json:"packets"`
	Bytes     [2]uint64          `json:"bytes"`
	NoSync    bool               `json:"nosync,omitempty"` // no peer hears of it
}

type stateEnd struct {
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`
}

// marshalState is a state as a line of JSON, without its end.
func marshalState(s *pfstate.State) ([]byte, error) {
	first := 0
	if s.Direction == pfstate.Out {
		first = 1
	}
	ends := func(k *pfstate.Key) [2]stateEnd {
		return [2]stateEnd{{k.Addr[first], k.Port[first]}, {k.Addr[1-first], k.Port[1-first]}}
	}
	return json.Marshal(&stateLine{
		ID: control.HexID(s.ID.State), Creator: ifconfig.CreatorID(s.ID.Creator),
		Interface: strings.ToValidUTF8(s.IfName.String(), "?"), Proto: pfstate.ProtoName(s.Proto), Direction: s.Direction.String(),
		Wire: ends(&s.Wire), Stack: ends(&s.Stack), RDomain: s.Stack.RDomain,
		State: [2]string{s.Src.State.Name(s.Proto), s.Dst.State.Name(s.Proto)},
		Age:   int64(s.Creation / time.Second), Expires: int64(s.Expire / time.Second), Packets: s.Packets, Bytes: s.Bytes,
		NoSync: s.Flags&pfstate.FlagNoSync != 0,
	})
}
