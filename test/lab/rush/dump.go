package rush

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// seen is what is compared of an entry, as the kernel shows it.
type seen struct {
	reply           Flow
	status, timeout uint32
	mark            uint32
	tcp             uint8
	scales          [2]uint8
	made            int64 // ns since 1970, from CTA_TIMESTAMP_START; 0: not told
	ends            int64 // when it will, in seconds since 1970: timeout, seen from when it was read
	met             bool  // the other table has it
}

// read hands on the entries of this package.
func (t *Table) read(f func(Flow, seen)) error {
	return t.ask(ctget, unix.NLM_F_DUMP, false, func(payload []byte) {
		if key, e := decode(payload); key.ours() {
			e.ends = time.Now().Unix() + int64(e.timeout)
			f(key, e)
		}
	})
}

func decode(payload []byte) (key Flow, e seen) {
	w := nfattr.NewWalk(payload[nfattr.FamilyLen:])
	zone := uint16(0)
	for w.Next() {
		switch w.Type {
		case ctaOrig:
			key = decodeTuple(w.Data)
		case ctaReply:
			e.reply = decodeTuple(w.Data)
		case ctaStatus:
			e.status = w.Uint32()
		case ctaTimeout:
			e.timeout = w.Uint32()
		case ctaMark:
			e.mark = w.Uint32()
		case ctaZone:
			zone = w.Uint16()
		case ctaProto:
			e.decodeTCP(w.Data)
		case ctaTimestamp:
			for v := nfattr.NewWalk(w.Data); v.Next(); {
				if v.Type == 1 { // CTA_TIMESTAMP_START
					e.made = int64(v.Uint64())
				}
			}
		}
	}
	key.zone = zone
	return key, e
}

func (e *seen) decodeTCP(b []byte) {
	for w := nfattr.NewWalk(b); w.Next(); {
		if w.Type != 1 { // CTA_PROTOINFO_TCP
			continue
		}
		for v := nfattr.NewWalk(w.Data); v.Next(); {
			switch v.Type {
			case 1:
				e.tcp = v.Uint8()
			case 2, 3:
				e.scales[v.Type-2] = v.Uint8()
			}
		}
	}
}

func decodeTuple(b []byte) (f Flow) {
	for w := nfattr.NewWalk(b); w.Next(); {
		switch w.Type {
		case 1: // CTA_TUPLE_IP
			for v := nfattr.NewWalk(w.Data); v.Next(); {
				switch v.Type {
				case 1, 3:
					copy(f.src[:], v.Data)
				case 2, 4:
					copy(f.dst[:], v.Data)
				}
				f.six = v.Type >= 3
			}
		case 2: // CTA_TUPLE_PROTO
			for v := nfattr.NewWalk(w.Data); v.Next(); {
				switch v.Type {
				case 1:
					f.proto = v.Uint8()
				case 2, 4, 7: // port, or id
					f.sport = v.Uint16()
				case 3:
					f.dport = v.Uint16()
				case 5, 8: // type
					f.dport |= uint16(v.Uint8()) << 8
				case 6, 9: // code
					f.dport |= uint16(v.Uint8())
				}
			}
		}
	}
	return f
}
