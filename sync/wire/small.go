package wire

import (
	"encoding/binary"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// ParseID reads the 12 bytes of ActInsAck, ActUpdReq and ActDelC. Fewer: ErrShort.
func ParseID(m []byte) (id pfstate.ID, err error) {
	if err := long(m, ActDelC, IDLen); err != nil {
		return id, err
	}
	return pfstate.ID{State: binary.BigEndian.Uint64(m), Creator: binary.BigEndian.Uint32(m[8:])}, nil
}

// AppendID appends IDLen bytes.
func AppendID(b []byte, id pfstate.ID) []byte {
	b = binary.BigEndian.AppendUint64(b, id.State)
	return binary.BigEndian.AppendUint32(b, id.Creator)
}

// UpdC is the compressed update: what traffic changes in a state.
type UpdC struct {
	ID       pfstate.ID
	Src, Dst pfstate.Peer
	Expire   time.Duration // sent as 0 and ignored by OpenBSD, whole seconds
	Timeout  pfstate.Timeout
	Flags    uint8         // sent as 0 and ignored by OpenBSD
	Linux    pfstate.Linux // of the compact form; ActUpdC has nothing of it
}

// ParseUpdC reads the body of ActUpdC. Errors: ErrShort, ErrValue (with u.ID set).
func ParseUpdC(d Dialect, m []byte) (u UpdC, err error) {
	if err := long(m, ActUpdC, UpdCLen); err != nil {
		return u, err
	}
	u.ID = pfstate.ID{State: binary.BigEndian.Uint64(m), Creator: binary.BigEndian.Uint32(m[72:])}
	if err := checkProgress(dialects[d].maxTimeout, m[80], m[8+peerState], m[40+peerState]); err != nil {
		return u, err
	}
	u.Src = parsePeer(m[8:])
	u.Dst = parsePeer(m[40:])
	u.Expire = parseSeconds(m[76:])
	u.Timeout = pfstate.Timeout(m[80])
	u.Flags = m[81]
	return u, nil
}

// Append appends UpdCLen bytes.
func (u *UpdC) Append(d Dialect, b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, u.ID.State)
	b = appendPeer(b, &u.Src)
	b = appendPeer(b, &u.Dst)
	b = binary.BigEndian.AppendUint32(b, u.ID.Creator)
	b = appendSeconds(b, u.Expire)
	return append(b, uint8(d.Timeout(u.Timeout)), u.Flags, 0, 0)
}

// Clr removes the states of a creator, all or those bound to one interface.
type Clr struct {
	IfName  pfstate.IfName // zero: all
	Creator uint32
}

// ParseClr reads the body of ActClr. Fewer than ClrLen bytes are ErrShort.
func ParseClr(m []byte) (c Clr, err error) {
	if err := long(m, ActClr, ClrLen); err != nil {
		return c, err
	}
	return Clr{IfName: pfstate.IfName(m), Creator: binary.BigEndian.Uint32(m[16:])}, nil
}

// Append appends ClrLen bytes.
func (c Clr) Append(b []byte) []byte {
	b = append(b, c.IfName[:]...)
	return binary.BigEndian.AppendUint32(b, c.Creator)
}

// BusStatus tells where a bulk update is. Receivers ignore other values than these.
type BusStatus uint8

const (
	BusStart BusStatus = 1
	BusEnd   BusStatus = 2
)

func (s BusStatus) String() string {
	switch s {
	case BusStart:
		return "start"
	case BusEnd:
		return "end"
	}
	return "UNKNOWN"
}

// Bus is the bulk update status.
type Bus struct {
	Creator uint32        // host id of the one who sends the bulk update
	EndTime time.Duration // since the request, whole seconds; OpenBSD since 7.4 sends 0
	Status  BusStatus
}

// ParseBus reads the body of ActBus. Fewer than BusLen bytes are ErrShort. The
// status is not checked: receivers ignore a status that they do not know.
func ParseBus(m []byte) (u Bus, err error) {
	if err := long(m, ActBus, BusLen); err != nil {
		return u, err
	}
	return Bus{
		Creator: binary.BigEndian.Uint32(m), EndTime: parseSeconds(m[4:]), Status: BusStatus(m[8]),
	}, nil
}

// Append appends BusLen bytes.
func (u Bus) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, u.Creator)
	b = appendSeconds(b, u.EndTime)
	return append(b, uint8(u.Status), 0, 0, 0)
}
