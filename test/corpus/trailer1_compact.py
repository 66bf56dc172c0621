#!/usr/bin/env python3
"""Vectors of compact messages, from the layout in the package comment of sync/wire."""
import json, struct, ipaddress, sys

MASK = (1 << 64) - 1
def rotl(x, b): return ((x << b) | (x >> (64 - b))) & MASK
def siphash24(key, m):
    k0, k1 = struct.unpack('<QQ', key)
    v = [k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573]
    def rnd():
        v[0] = (v[0] + v[1]) & MASK; v[1] = rotl(v[1], 13) ^ v[0]; v[0] = rotl(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK; v[3] = rotl(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK; v[3] = rotl(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK; v[1] = rotl(v[1], 17) ^ v[2]; v[2] = rotl(v[2], 32)
    b = len(m) & 0xff
    m = m + b'\0' * ((8 - (len(m) + 1) % 8) % 8) + bytes([b])
    for i in range(0, len(m), 8):
        w = struct.unpack('<Q', m[i:i + 8])[0]
        v[3] ^= w; rnd(); rnd(); v[0] ^= w
    v[2] ^= 0xff
    for _ in range(4): rnd()
    return v[0] ^ v[1] ^ v[2] ^ v[3]
assert siphash24(bytes(range(16)), bytes(range(15))) == 0xa129ca6149be45e5

def key(k):
    return (ipaddress.ip_address(k['src']).packed + ipaddress.ip_address(k['dst']).packed +
            struct.pack('>HH', k['sport'], k['dport']))
def seqadj(s):
    return b''.join(struct.pack('>Iii', a['pos'], a['before'], a['after']) for a in s)
def progress(b, mask, f, bits):
    """bits: name -> bit, in their order"""
    for name, bit in bits:
        if name not in f: continue
        mask |= bit
        v = f[name]
        if name == 'translated': b += key(v)
        elif name in ('wscale', 'tcp'): b += bytes(v)
        elif name == 'status': b += bytes([v])
        elif name == 'mark': b += struct.pack('>I', int(v, 16))
        elif name == 'zones': b += struct.pack('>HH', *v)
        elif name == 'creation': b += struct.pack('>I', v)
        elif name == 'state_flags': b += struct.pack('>H', v)
        elif name == 'tags': b += struct.pack('>II', *(int(x, 16) for x in v))
        elif name == 'labels': b += bytes.fromhex(v)
        elif name == 'helper': b += v.encode().ljust(16, b'\0')
        elif name == 'master':
            b += bytes([v['proto']]) + b''.join(ipaddress.ip_address(v[x]).packed.ljust(16, b'\0') for x in ('src', 'dst'))
            b += struct.pack('>HH', v['sport'], v['dport'])
        elif name == 'seqadj': b += seqadj(v)
    return b, mask
STATE = [('translated', 4), ('wscale', 8), ('tcp', 0x10), ('status', 0x20), ('mark', 0x40), ('zones', 0x80), ('creation', 0x100),
         ('state_flags', 0x200), ('tags', 0x400), ('labels', 0x800), ('helper', 0x1000), ('master', 0x2000), ('seqadj', 0x4000)]
UPDATE = [('wscale', 1), ('tcp', 2), ('status', 4), ('mark', 8), ('tags', 0x10), ('labels', 0x20), ('seqadj', 0x40)]

def state(f, extra=b'', bits=0):
    mask = bits
    if ':' in f['key']['src']: mask |= 1
    if f['direction'] == 'in': mask |= 2
    tail, mask = progress(b'', mask, f, STATE)
    e = struct.pack('>HQBBB', mask, int(f['id'], 16), f['proto'], f['src'] << 4 | f['dst'], f['timeout'])
    e += key(f['key']) + struct.pack('>I', f['expire']) + tail + extra
    return bytes([len(e)]) + e
def update(f, extra=b'', bits=0):
    tail, mask = progress(b'', bits, f, UPDATE)
    e = struct.pack('>BQBB', mask, int(f['id'], 16), f['src'] << 4 | f['dst'], f['timeout']) + tail + extra
    return bytes([len(e)]) + e

CREATOR = 'a1a1a1a1'
NAMES = {16: 'insert', 17: 'state', 18: 'update', 19: 'delete'}
def attr(typ, entries, creator=CREATOR, extra=b'', bits=0):
    body = struct.pack('>I', int(creator, 16))
    for f in entries:
        if typ == 19: body += struct.pack('>Q', int(f, 16))
        elif typ == 18: body += update(f, extra, bits)
        else: body += state(f, extra, bits)
    return (struct.pack('>BBH', typ, 0, 4 + len(body)) + body,
            {'type': typ, 'name': NAMES[typ], 'body': {'creatorid': creator, 'states': entries}})
EPOCH = '0123456789abcdef'
out = []
def trailer(name, attrs, flags=0, kind='trailer', seq=77):
    raw = b''.join(a[0] for a in attrs)
    b = struct.pack('>IBBHQQ', 0x70664c78, 1, flags, 24 + len(raw), int(EPOCH, 16), seq) + raw
    out.append({'name': name, 'dialect': 'trailer1', 'kind': kind, 'action_number': -1,
                'fields': {'flags': flags, 'epoch': EPOCH, 'seq': seq, 'attributes': [a[1] for a in attrs]},
                'size': len(b), 'hex': b.hex()})

def k(src, dst, sport, dport): return {'src': src, 'dst': dst, 'sport': sport, 'dport': dport}
def st(id, proto, src, dst, timeout, key, expire=0, direction='out', **more):
    return dict({'id': id, 'proto': proto, 'src': src, 'dst': dst, 'timeout': timeout, 'key': key, 'expire': expire, 'direction': direction}, **more)
def up(id, src, dst, timeout, **more): return dict({'id': id, 'src': src, 'dst': dst, 'timeout': timeout}, **more)

v4, v6 = k('10.1.0.2', '10.2.0.2', 40000, 443), k('2001:db8:1::2', '2001:db8:2::2', 40000, 443)
syn = st('00000000c0ffee01', 6, 2, 0, 0, v4, 120, wscale=[0x87, 0])
trailer('insert_syn', [attr(16, [syn])])
trailer('insert_nat', [attr(16, [st('00000000c0ffee02', 6, 4, 4, 2, k('10.1.0.2', '198.51.100.7', 40000, 443), 432000,
        translated=k('203.0.113.1', '10.9.9.9', 5001, 8443), wscale=[0x87, 0x89], tcp=[3, 3], mark='deadbeef')])])
trailer('insert_ipv6', [attr(16, [st('00000000c0ffee03', 17, 1, 0, 6, v6, 30),
        st('00000000c0ffee04', 58, 0, 0, 9, k('2001:db8:1::2', '2001:db8:2::2', 777, 128), 30)])])
rich = st('00000000c0ffee05', 6, 7, 4, 3, v4, 119, 'in', translated=k('203.0.113.1', '10.2.0.2', 1, 2), wscale=[0x80, 0x8e], tcp=[7, 3], status=2,
        mark='00000001', zones=[7, 8], creation=86400, state_flags=0x0012, labels='01000000000000000000000000000080',
        helper='ftp', master={'proto': 6, 'src': '10.1.0.2', 'dst': '10.2.0.2', 'sport': 33000, 'dport': 21},
        seqadj=[{'pos': 1000, 'before': -3, 'after': 7}, {'pos': 0xfffffff0, 'before': 0, 'after': -20}])
trailer('state_everything', [attr(17, [rich])])
trailer('state_everything_ipv6', [attr(17, [dict(rich, id='00000000c0ffee06', proto=132, key=v6, state_flags=1, src=1, dst=2, timeout=12, status=4,
        translated=k('2001:db8:9::1', '2001:db8:2::2', 1, 2), tags=['11223344', '55667788'],
        master={'proto': 17, 'src': '2001:db8:1::2', 'dst': '2001:db8:2::2', 'sport': 1, 'dport': 5060})])])
trailer('state_answer', [attr(17, [syn])], flags=1)
trailer('state_heir', [attr(17, [syn], creator='b2b2b2b2')], flags=2)
trailer('update_progress', [attr(18, [up('00000000c0ffee01', 4, 2, 1, wscale=[0x87, 0x89]), up('00000000c0ffee01', 4, 4, 2, wscale=[0x87, 0x89], tcp=[3, 3])])])
trailer('update_everything', [attr(18, [up('00000000c0ffee05', 9, 9, 5, wscale=[0x80, 0x8e], tcp=[7, 0x83], status=6, mark='80000000', tags=['00000000', '55667788'],
        labels='ffffffffffffffffffffffffffffffff', seqadj=[{'pos': 0, 'before': 0, 'after': 0}, {'pos': 1, 'before': 2147483647, 'after': -2147483648}])])])
trailer('delete_two', [attr(19, ['00000000c0ffee01', 'fedcba9876543210'])])
trailer('mixed', [attr(18, [up('00000000c0ffee07', 2, 1, 7)]), attr(19, ['00000000c0ffee08']), attr(19, ['00000000c0ffee09'], creator='b2b2b2b2'), attr(16, [syn])])
trailer('newer_state_longer', [attr(16, [syn, syn], extra=b'\xaa\xbb')], kind='newer')
trailer('newer_state_field', [attr(17, [syn], extra=b'\xaa', bits=0x8000)], kind='newer')
trailer('newer_update_field', [attr(18, [up('00000000c0ffee01', 4, 2, 1, mark='00000009'), up('00000000c0ffee02', 4, 4, 2)], extra=b'\xaa\xbb\xcc', bits=0x80)], kind='newer')

def said(n, id, creator, src, dst, ws, timeout, fields, tcp=(0, 0), status=0, mark=0, labels=bytes(16)):
    b = struct.pack('>QIBBBBB', id, creator, src, dst, ws[0], ws[1], timeout)
    if fields: b += bytes([fields]) + bytes(tcp) + bytes([status]) + struct.pack('>I', mark) + labels
    h = siphash24(bytes(range(16)), b) or 1
    out.append({'name': 'said_compact_%d' % n, 'dialect': 'trailer1', 'kind': 'said_compact', 'action_number': -1,
        'fields': {'id': '%016x' % id, 'creatorid': '%08x' % creator, 'src_state': src, 'dst_state': dst, 'src_wscale': ws[0], 'dst_wscale': ws[1],
                   'timeout': timeout, 'fields': fields, 'tcp': list(tcp), 'status': status, 'mark': '%08x' % mark, 'labels': labels.hex(), 'said': '%016x' % h},
        'size': len(b), 'hex': b.hex()})
said(0, 0x101, 0xc0ffee01, 4, 4, (135, 138), 2, 0)
said(1, 0x101, 0xc0ffee01, 4, 4, (135, 138), 2, 8, mark=1)
said(2, 0x101, 0xc0ffee01, 4, 4, (135, 138), 2, 2, tcp=(3, 3))
said(3, 0x101, 0xc0ffee01, 4, 4, (135, 138), 2, 2, tcp=(0, 0))
said(4, 0x102, 0xc0ffee01, 9, 9, (0, 0), 5, 4, status=2)
said(5, 0x103, 0xa1a1a1a1, 2, 2, (0, 0), 8, 0x20, labels=bytes([1] + [0] * 14 + [0x80]))
said(6, 0x104, 0xa1a1a1a1, 7, 4, (0x80, 0x8e), 3, 0x2e, (7, 3), 4, 0xdeadbeef, bytes(range(16)))
print('[\n' + ',\n'.join(json.dumps(v) for v in out) + '\n]')
