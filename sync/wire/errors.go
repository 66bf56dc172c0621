package wire

import "errors"

// What can be wrong with a packet. Receivers count by them (OpenBSD's counter in brackets).
var (
	// ErrShort: fewer bytes than the header or the message has (hdrops).
	ErrShort = errors.New("too short")
	// ErrVersion: a packet of another version (badver).
	ErrVersion = errors.New("version not supported")
	// ErrLength: a length that does not fit what there is (badlen).
	ErrLength = errors.New("length does not fit")
	// ErrAction: unknown messages that cannot be stepped over (badact).
	ErrAction = errors.New("unknown action")
	// ErrValue: a field of a message has a value that pf refuses (badval).
	ErrValue = errors.New("invalid value")
)
