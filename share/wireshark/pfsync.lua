-- pfsync for Wireshark and tshark (4.0 or later): versions 5 (FreeBSD 13 to 15) and 6
-- (OpenBSD), and the trailer that pfsyncd puts behind its packets on Linux.
--
-- Wireshark loads it from a folder of Lua plugins (Help, About, Folders), or by
-- -X lua_script:pfsync.lua. What can be asked for is listed by
-- tshark -G fields -X lua_script:pfsync.lua | grep pfsync
--
-- The layouts are tables of rows: field, offset, length, and how it is shown if it is
-- not as a plain field. A row is read only if the capture has all of its message.

local pfsync = Proto("pfsync", "Packet Filter State Table Sync")

local IP_PROTOCOL = 240
local TTL = 255 -- BSD drops packets with another
local HEADER, SUBHEADER, TRAILER, ATTRIBUTE = 20, 4, 24, 4
local TRAILER_MAGIC, TRAILER_VERSION, BUCKETS = 0x70664c78, 1, 1024
local INET, INET6_OPENBSD, INET6_FREEBSD = 2, 24, 28
local TCP, ICMP, UDP, ICMPV6 = 6, 1, 17, 58

---------------------------------------------------------------------- names

local action_names = { -- as OpenBSD's tcpdump prints them
	[0] = "CLR ST", "INS ST OLD", "INS ST ACK", "UPD ST OLD", "UPD ST COMP", "UPD ST REQ", "DEL ST", "DEL ST COMP",
	"INS FR", "DEL FR", "BULK UPD STAT", "UPD TDB OLD", "EOF", "INS ST", "UPD ST", "UPD TDB",
}

local action_names_freebsd = {
	[0] = "CLR ST", "INS ST 1301", "INS ST ACK", "UPD ST 1301", "UPD ST COMP", "UPD ST REQ", "DEL ST", "DEL ST COMP",
	"INS FR", "DEL FR", "BULK UPD STAT", "UPD TDB", "EOF", "INS ST 1400", "UPD ST 1400", "INS ST 1500", "UPD ST 1500",
}

local tcp_states = {
	[0] = "CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1", "CLOSING",
	"LAST_ACK", "FIN_WAIT_2", "TIME_WAIT", "PROXY:SRC", "PROXY:DST",
}

local pseudo_states = { [0] = "NO_TRAFFIC", "SINGLE", "MULTIPLE" }

local max_peer_state = 12

local timeout_names = {
	[0] = "tcp.first", "tcp.opening", "tcp.established", "tcp.closing", "tcp.finwait", "tcp.closed",
	"udp.first", "udp.single", "udp.multiple", "icmp.first", "icmp.error",
	"other.first", "other.single", "other.multiple", "frag", "interval", "adaptive.start", "adaptive.end",
	"src.track", "tcp.tsdiff",
	"sctp.first", "sctp.opening", "sctp.established", "sctp.closing", "sctp.closed", -- FreeBSD 14
}

local directions = { [0] = "inout", "in", "out" }
local bus_status = { "start", "end" }
local families = { [INET] = "inet", [INET6_OPENBSD] = "inet6 (OpenBSD)", [INET6_FREEBSD] = "inet6 (FreeBSD)" }
local protocols = {
	[1] = "icmp", [2] = "igmp", [6] = "tcp", [17] = "udp", [47] = "gre", [50] = "esp", [51] = "ah",
	[58] = "ipv6-icmp", [112] = "carp", [132] = "sctp", [240] = "pfsync",
}

local attribute_names = {
	"hello", "heard", "digest", "oldest", "resend", "ask digests", "digests", "ask list", "list", "ask", "have",
	"same", "auth", [16] = "insert", [17] = "state", [18] = "update", [19] = "delete",
}

---------------------------------------------------------------------- fields

local f = {} -- by abbreviation

local function field(kind, abbr, name, ...)
	f[abbr] = ProtoField[kind]("pfsync." .. abbr, name, ...)
end

-- A field for IPv4 and one, _v6, for IPv6: a filter compares with one kind only.
local function address(abbr, name)
	field("ipv4", abbr, name)
	field("ipv6", abbr .. "_v6", name)
end

field("uint8", "version", "Version", base.DEC)
field("uint16", "len", "Length", base.DEC)
field("bytes", "chksum", "Checksum of the ruleset")
field("uint8", "action", "Action", base.DEC)
field("uint8", "size", "Size of a message in words", base.DEC)
field("uint16", "count", "Count", base.DEC)
field("bytes", "skipped", "Messages that are not known")
field("bytes", "extra", "More than is known of the message")
field("bytes", "foreign", "Bytes behind the packet")

field("uint64", "id", "Id", base.HEX)
field("uint32", "creatorid", "Creatorid", base.HEX)
address("addr", "Address of a state")
field("uint16", "port", "Port of a state", base.DEC)
field("bytes", "addr_raw", "Address of an unknown family")
field("uint8", "timeout", "Timeout", base.DEC, timeout_names)

field("stringz", "clr.ifname", "Interface")
field("uint32", "bus.endtime", "Seconds since the request", base.DEC)
field("uint8", "bus.status", "Status", base.DEC, bus_status)
field("uint32", "updc.expire", "Expire", base.DEC)
field("uint8", "updc.flags", "Flags", base.HEX)

field("uint32", "tdb.spi", "SPI", base.HEX)
field("uint8", "tdb.dst.len", "Length of the destination", base.DEC)
field("uint8", "tdb.dst.family", "Family of the destination", base.DEC, families)
field("uint16", "tdb.dst.port", "Port of the destination", base.DEC)
address("tdb.dst", "Destination")
field("uint64", "tdb.rpl", "Replay counter", base.DEC)
field("uint64", "tdb.cur_bytes", "Bytes", base.DEC)
field("uint8", "tdb.proto", "Protocol", base.DEC, protocols)
field("uint8", "tdb.updates", "Updates", base.DEC)
field("uint16", "tdb.rdomain", "Routing domain", base.DEC)

for _, key in ipairs({ "wire", "stack" }) do
	local abbr = "state." .. key .. "."
	for n = 0, 1 do
		address(abbr .. "addr" .. n, "Address " .. n)
		field("uint16", abbr .. "port" .. n, "Port " .. n, base.DEC)
	end
	field("uint16", abbr .. "rdomain", "Routing domain", base.DEC)
	field("uint8", abbr .. "af", "Family", base.DEC, families)
	field("uint8", abbr .. "proto", "Protocol", base.DEC, protocols)
end

for _, peer in ipairs({ "src", "dst" }) do
	local abbr = peer .. "."
	field("uint16", abbr .. "scrub.flags", "Scrub flags", base.HEX)
	field("uint8", abbr .. "scrub.ttl", "Scrub TTL", base.DEC)
	field("uint8", abbr .. "scrub.valid", "Scrub valid", base.DEC)
	field("uint32", abbr .. "scrub.ts_mod", "Scrub timestamp modulator", base.DEC)
	field("uint32", abbr .. "seqlo", "seqlo", base.DEC)
	field("uint32", abbr .. "seqhi", "seqhi", base.DEC)
	field("uint32", abbr .. "seqdiff", "seqdiff", base.DEC)
	field("uint16", abbr .. "max_win", "max_win", base.DEC)
	field("uint16", abbr .. "mss", "mss", base.DEC)
	field("uint8", abbr .. "state", "State", base.DEC)
	field("uint8", abbr .. "wscale", "wscale", base.HEX)
	field("uint8", abbr .. "wscale.shift", "Shift", base.DEC, nil, 0x0f)
	field("bool", abbr .. "wscale.sent", "Option sent", 8, nil, 0x80)
end

field("stringz", "state.ifname", "Interface")
address("state.rt_addr", "Next hop")
field("uint32", "state.rule", "Rule", base.DEC)
field("uint32", "state.anchor", "Anchor", base.DEC)
field("uint32", "state.nat_rule", "NAT rule", base.DEC)
field("uint32", "state.creation", "Age in seconds", base.DEC)
field("uint32", "state.expire", "Expires in seconds", base.DEC)
field("uint64", "state.packets0", "Packets", base.DEC)
field("uint64", "state.packets1", "Packets of the reply", base.DEC)
field("uint64", "state.bytes0", "Bytes", base.DEC)
field("uint64", "state.bytes1", "Bytes of the reply", base.DEC)
field("int32", "state.rtableid0", "Routing table 0", base.DEC)
field("int32", "state.rtableid1", "Routing table 1", base.DEC)
field("int32", "state.rtableid", "Routing table", base.DEC)
field("uint16", "state.max_mss", "Maximum MSS", base.DEC)
field("uint8", "state.af", "Family", base.DEC, families)
field("uint8", "state.proto", "Protocol", base.DEC, protocols)
field("uint8", "state.direction", "Direction", base.DEC, directions)
field("uint8", "state.log", "Log", base.HEX)
field("uint8", "state.rt", "Route", base.DEC)
field("uint8", "state.sync_flags", "Sync flags", base.HEX)
field("uint8", "state.updates", "Updates", base.DEC)
field("uint8", "state.min_ttl", "Minimum TTL", base.DEC)
field("uint8", "state.set_tos", "Set TOS", base.HEX)
field("uint8", "state.set_prio0", "Set priority", base.DEC)
field("uint8", "state.set_prio1", "Set priority of low delay", base.DEC)
field("uint16", "state.flags", "Flags", base.HEX)
local flag_names = {
	{ "allow_opts", 0x0001 }, { "sloppy", 0x0002 }, { "pflow", 0x0004 }, { "no_sync", 0x0008 }, { "ack", 0x0010 },
	{ "no_df", 0x0020 }, { "set_tos", 0x0040 }, { "random_id", 0x0080 }, { "scrub_tcp", 0x0100 }, { "set_prio", 0x0200 },
}
for _, flag in ipairs(flag_names) do
	field("bool", "state.flags." .. flag[1], flag[1], 16, nil, flag[2])
end
field("uint16", "state.qid", "Queue", base.DEC)
field("uint16", "state.pqid", "Queue of low delay", base.DEC)
field("uint16", "state.dnpipe", "Pipe", base.DEC)
field("uint16", "state.dnrpipe", "Pipe of the reply", base.DEC)
field("stringz", "state.rt_ifname", "Interface of the next hop")
field("stringz", "state.orig_ifname", "Original interface")
field("stringz", "state.tag", "Tag")
field("uint8", "state.rt_af", "Family of the next hop", base.DEC, families)

field("uint32", "trailer.magic", "Magic", base.HEX)
field("uint8", "trailer.version", "Version", base.DEC)
field("uint8", "trailer.flags", "Flags", base.HEX)
field("bool", "trailer.flags.answer", "Answer: the sender does not answer for these states", 8, nil, 0x01)
field("bool", "trailer.flags.heir", "Heir: the owner of these states is gone", 8, nil, 0x02)
field("bool", "trailer.flags.pair", "Pair: for a pf that has two states of a connection", 8, nil, 0x04)
field("uint16", "trailer.len", "Length", base.DEC)
field("uint64", "trailer.epoch", "Epoch", base.HEX)
field("uint64", "trailer.seq", "Sequence", base.DEC)
field("uint8", "attr.type", "Attribute", base.DEC, attribute_names)
field("uint16", "attr.len", "Length", base.DEC)
field("bytes", "attr.body", "Body")
field("uint64", "attr.epoch", "For the node with epoch", base.HEX)
field("uint32", "hello.features", "Features", base.HEX)
field("uint64", "heard.epoch", "Heard epoch", base.HEX)
field("uint64", "heard.seq", "Heard up to sequence", base.DEC)
field("uint32", "digest.states", "States", base.DEC)
field("uint64", "digest.sum", "Sum", base.HEX)
field("uint64", "oldest.seq", "Oldest sequence", base.DEC)
field("uint64", "resend.first", "First sequence", base.DEC)
field("uint32", "resend.count", "Packets", base.DEC)
field("uint16", "digests.first", "First bucket", base.DEC)
field("uint64", "digests.sum", "Sum of a bucket", base.HEX)
field("uint16", "bucket", "Bucket", base.DEC)
field("uint8", "list.flags", "Flags", base.HEX)
field("bool", "list.first", "First part", 8, nil, 0x01)
field("bool", "list.last", "Last part", 8, nil, 0x02)
field("uint64", "list.said", "Said", base.HEX)
field("bytes", "same.bits", "Bits of the buckets")
field("bytes", "auth.hint", "Hint of the key")
field("bytes", "auth.code", "Code")

field("uint8", "compact.len", "Length", base.DEC)
field("uint16", "compact.fields", "Fields", base.HEX)
field("uint8", "compact.src", "State of src", base.DEC, nil, 0xf0)
field("uint8", "compact.dst", "State of dst", base.DEC, nil, 0x0f)
field("uint32", "compact.tag", "Verification tag", base.HEX)
field("uint8", "linux.tcp_flags", "TCP flags of conntrack", base.HEX)
field("uint8", "linux.status", "Status of conntrack", base.HEX)
field("uint32", "linux.mark", "Mark", base.HEX)
field("uint16", "linux.zone", "Zone", base.DEC)
field("bytes", "linux.labels", "Labels")
field("stringz", "linux.helper", "Helper")
field("bytes", "linux.master", "Master")
field("uint32", "linux.seqadj.pos", "Sequence adjustment from", base.DEC)
field("int32", "linux.seqadj.before", "Before", base.DEC)
field("int32", "linux.seqadj.after", "After", base.DEC)

local all = {}
for _, field in pairs(f) do
	all[#all + 1] = field
end
pfsync.fields = all

local malformed = ProtoExpert.new("pfsync.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
local cut = ProtoExpert.new("pfsync.cut", "Cut off by the capture", expert.group.UNDECODED, expert.severity.NOTE)
local unknown = ProtoExpert.new("pfsync.unknown", "Not known", expert.group.UNDECODED, expert.severity.NOTE)
local bad_ttl = ProtoExpert.new("pfsync.bad_ttl", "TTL is not 255", expert.group.PROTOCOL, expert.severity.WARN)
pfsync.experts = { malformed, cut, unknown, bad_ttl }

local ip_ttl, ipv6_hlim = Field.new("ip.ttl"), Field.new("ipv6.hlim")

---------------------------------------------------------------------- how fields are shown

-- show.KIND(tree, range, abbr, message) adds a field that is not a plain one.
local show = {}

-- name_of is the text up to the first NUL.
local function name_of(range)
	local n = 0
	while n < range:len() and range(n, 1):uint() ~= 0 do
		n = n + 1
	end
	return n == 0 and "" or range(0, n):string()
end

function show.name(tree, range, abbr)
	tree:add(f[abbr], range, name_of(range))
end

function show.rule(tree, range, abbr)
	local item = tree:add(f[abbr], range)
	if range:uint() == 0xffffffff then
		item:append_text(" (none)")
	end
end

function show.flags(tree, range)
	local item = tree:add(f["state.flags"], range)
	for _, flag in ipairs(flag_names) do
		item:add(f["state.flags." .. flag[1]], range)
	end
end

-- The low byte alone, of FreeBSD's format 1301.
function show.flags8(tree, range)
	tree:add(f["state.flags"], range, range:uint())
end

-- add_address adds 16 bytes, the first four of them for IPv4, and hidden, for filters,
-- the address of either end.
local function add_address(tree, range, abbr, family, hidden)
	local suffix
	if family == INET then
		range, suffix = range(0, 4), ""
	elseif family == INET6_OPENBSD or family == INET6_FREEBSD then
		suffix = "_v6"
	else
		tree:add(f.addr_raw, range)
		return
	end
	tree:add(f[abbr .. suffix], range)
	if hidden then
		tree:add(f["addr" .. suffix], range):set_hidden()
	end
end

local function address_text(range, family)
	if family == INET then
		return tostring(range(0, 4):ipv4())
	elseif family == INET6_OPENBSD or family == INET6_FREEBSD then
		return tostring(range:ipv6())
	end
	return "?"
end

-- end_text is an address and its port, 0 to be left out.
local function end_text(key, n, family)
	local text, port = address_text(key(n * 16, 16), family), key(32 + n * 2, 2):uint()
	if port == 0 then
		return text
	end
	return family == INET and text .. ":" .. port or text .. "[" .. port .. "]"
end

-- A key: its family is in the message, as m.wire_af or m.stack_af.
local function show_key(tree, range, name, m)
	local family, abbr = m[name .. "_af"], "state." .. name .. "."
	local branch = tree:add(range, string.format("%s: %s, %s", name, end_text(range, 0, family), end_text(range, 1, family)))
	for n = 0, 1 do
		add_address(branch, range(n * 16, 16), abbr .. "addr" .. n, family, true)
		local port = range(32 + n * 2, 2)
		branch:add(f[abbr .. "port" .. n], port)
		branch:add(f.port, port):set_hidden()
	end
	if range:len() > 36 then -- OpenBSD
		branch:add(f[abbr .. "rdomain"], range(36, 2))
		branch:add(f[abbr .. "af"], range(38, 1))
	end
end

function show.wire(tree, range, _, m)
	show_key(tree, range, "wire", m)
end

function show.stack(tree, range, _, m)
	show_key(tree, range, "stack", m)
end

function show.rt_addr(tree, range, abbr, m)
	if m.rt_af ~= 0 then -- FreeBSD 15 has 0 without a route
		add_address(tree, range, abbr, m.rt_af)
	end
end

local function state_name(state, proto)
	if proto == TCP then
		return tcp_states[state] or tostring(state)
	elseif proto == ICMP or proto == ICMPV6 then
		return tostring(state)
	end
	return pseudo_states[state] or tostring(state)
end

local peer_rows = {
	{ "scrub.flags", 0, 2 }, { "scrub.ttl", 2, 1 }, { "scrub.valid", 3, 1 }, { "scrub.ts_mod", 4, 4 },
	{ "seqlo", 8, 4 }, { "seqhi", 12, 4 }, { "seqdiff", 16, 4 }, { "max_win", 20, 2 }, { "mss", 22, 2 },
}

local function show_peer(tree, range, name, m)
	local state = range(24, 1)
	local text = state_name(state:uint(), m.proto)
	local branch = tree:add(range, name .. ": " .. text)
	for _, row in ipairs(peer_rows) do
		branch:add(f[name .. "." .. row[1]], range(row[2], row[3]))
	end
	branch:add(f[name .. ".state"], state):append_text(" (" .. text .. ")")
	local wscale = branch:add(f[name .. ".wscale"], range(25, 1))
	wscale:add(f[name .. ".wscale.shift"], range(25, 1))
	wscale:add(f[name .. ".wscale.sent"], range(25, 1))
end

function show.src(tree, range, _, m)
	show_peer(tree, range, "src", m)
end

function show.dst(tree, range, _, m)
	show_peer(tree, range, "dst", m)
end

-- A BSD socket address.
function show.sockaddr(tree, range, abbr)
	local family = range(1, 1):uint()
	tree:add(f[abbr .. ".len"], range(0, 1))
	tree:add(f[abbr .. ".family"], range(1, 1))
	tree:add(f[abbr .. ".port"], range(2, 2))
	if family == INET then
		tree:add(f[abbr], range(4, 4))
	elseif family == INET6_OPENBSD or family == INET6_FREEBSD then
		tree:add(f[abbr .. "_v6"], range(8, 16))
	end
end

---------------------------------------------------------------------- messages

local id_rows = { { "id", 0, 8 }, { "creatorid", 8, 4 } }

local clr_rows = { { "clr.ifname", 0, 16, show.name }, { "creatorid", 16, 4 } }

local bus_rows = { { "creatorid", 0, 4 }, { "bus.endtime", 4, 4 }, { "bus.status", 8, 1 } }

local updc_rows = {
	{ "id", 0, 8 }, { "src", 8, 32, show.src }, { "dst", 40, 32, show.dst }, { "creatorid", 72, 4 },
	{ "updc.expire", 76, 4 }, { "timeout", 80, 1 }, { "updc.flags", 81, 1 },
}

local tdb_rows = {
	{ "tdb.spi", 0, 4 }, { "tdb.dst", 4, 28, show.sockaddr }, { "tdb.rpl", 32, 8 }, { "tdb.cur_bytes", 40, 8 },
	{ "tdb.proto", 48, 1 }, { "tdb.updates", 49, 1 }, { "tdb.rdomain", 50, 2 },
}

local old_tdb_rows = {
	{ "tdb.spi", 0, 4 }, { "tdb.dst", 4, 28, show.sockaddr }, { "tdb.rpl", 32, 4 }, { "tdb.cur_bytes", 36, 8 },
	{ "tdb.proto", 44, 1 }, { "tdb.updates", 45, 1 }, { "tdb.rdomain", 46, 2 },
}

local openbsd_rows = {
	{ "id", 0, 8 }, { "state.ifname", 8, 16, show.name }, { "wire", 24, 40, show.wire }, { "stack", 64, 40, show.stack },
	{ "src", 104, 32, show.src }, { "dst", 136, 32, show.dst }, { "state.rt_addr", 168, 16, show.rt_addr },
	{ "state.rule", 184, 4, show.rule }, { "state.anchor", 188, 4, show.rule }, { "state.nat_rule", 192, 4, show.rule },
	{ "state.creation", 196, 4 }, { "state.expire", 200, 4 }, { "state.packets0", 204, 8 }, { "state.packets1", 212, 8 },
	{ "state.bytes0", 220, 8 }, { "state.bytes1", 228, 8 }, { "creatorid", 236, 4 }, { "state.rtableid0", 240, 4 },
	{ "state.rtableid1", 244, 4 }, { "state.max_mss", 248, 2 }, { "state.af", 250, 1 }, { "state.proto", 251, 1 },
	{ "state.direction", 252, 1 }, { "state.log", 253, 1 }, { "state.rt", 254, 1 }, { "timeout", 255, 1 },
	{ "state.sync_flags", 256, 1 }, { "state.updates", 257, 1 }, { "state.min_ttl", 258, 1 }, { "state.set_tos", 259, 1 },
	{ "state.flags", 260, 2, show.flags }, { "state.set_prio0", 262, 1 }, { "state.set_prio1", 263, 1 },
}

-- The first 232 bytes of FreeBSD's three formats.
local freebsd_rows = {
	{ "id", 0, 8 }, { "state.ifname", 8, 16, show.name }, { "wire", 24, 36, show.wire }, { "stack", 60, 36, show.stack },
	{ "src", 96, 32, show.src }, { "dst", 128, 32, show.dst }, { "state.rt_addr", 160, 16, show.rt_addr },
	{ "state.rule", 176, 4, show.rule }, { "state.anchor", 180, 4, show.rule }, { "state.nat_rule", 184, 4, show.rule },
	{ "state.creation", 188, 4 }, { "state.expire", 192, 4 }, { "state.packets0", 196, 8 }, { "state.packets1", 204, 8 },
	{ "state.bytes0", 212, 8 }, { "state.bytes1", 220, 8 }, { "creatorid", 228, 4 },
}

local function behind(rows, more)
	local both = {}
	for _, list in ipairs({ rows, more }) do
		for _, row in ipairs(list) do
			both[#both + 1] = row
		end
	end
	return both
end

local rows_1301 = behind(freebsd_rows, {
	{ "state.af", 232, 1 }, { "state.proto", 233, 1 }, { "state.direction", 234, 1 }, { "state.log", 237, 1 },
	{ "state.flags", 238, 1, show.flags8 }, { "timeout", 239, 1 }, { "state.sync_flags", 240, 1 }, { "state.updates", 241, 1 },
})

local rows_1400 = behind(freebsd_rows, {
	{ "state.af", 232, 1 }, { "state.proto", 233, 1 }, { "state.direction", 234, 1 }, { "state.flags", 235, 2, show.flags },
	{ "state.log", 237, 1 }, { "timeout", 239, 1 }, { "state.sync_flags", 240, 1 }, { "state.updates", 241, 1 },
	{ "state.qid", 242, 2 }, { "state.pqid", 244, 2 }, { "state.dnpipe", 246, 2 }, { "state.dnrpipe", 248, 2 },
	{ "state.rtableid", 250, 4 }, { "state.min_ttl", 254, 1 }, { "state.set_tos", 255, 1 }, { "state.max_mss", 256, 2 },
	{ "state.set_prio0", 258, 1 }, { "state.set_prio1", 259, 1 }, { "state.rt", 260, 1 },
	{ "state.rt_ifname", 261, 16, show.name },
})

local rows_1500 = behind(freebsd_rows, {
	{ "state.tag", 232, 64, show.name }, { "state.rt_ifname", 296, 16, show.name }, { "state.orig_ifname", 312, 16, show.name },
	{ "state.rtableid", 328, 4 }, { "state.flags", 332, 2, show.flags }, { "state.qid", 334, 2 }, { "state.pqid", 336, 2 },
	{ "state.dnpipe", 338, 2 }, { "state.dnrpipe", 340, 2 }, { "state.max_mss", 342, 2 }, { "state.wire.af", 344, 1 },
	{ "state.stack.af", 345, 1 }, { "state.rt_af", 346, 1 }, { "state.wire.proto", 347, 1 }, { "state.stack.proto", 348, 1 },
	{ "state.proto", 347, 1 }, -- the name that all formats have
	{ "state.log", 349, 1 }, { "timeout", 350, 1 }, { "state.direction", 351, 1 }, { "state.rt", 352, 1 },
	{ "state.min_ttl", 353, 1 }, { "state.set_tos", 354, 1 }, { "state.set_prio0", 355, 1 }, { "state.set_prio1", 356, 1 },
})

-- An action: the size of its messages, their rows, and, for those with peers, where to
-- find what decides how the rest is shown.
local id_message = { size = 12, rows = id_rows }
local clr_message = { size = 20, rows = clr_rows }
local bus_message = { size = 12, rows = bus_rows }
local updc_message = { size = 84, rows = updc_rows, timeout = 80, src = 8, dst = 40 }
local old_tdb_message = { size = 48, rows = old_tdb_rows }

local function state_message(m)
	m.state = true
	return m
end

local openbsd_state = state_message({
	size = 264, rows = openbsd_rows, wire = 24, stack = 64, src = 104, dst = 136, creatorid = 236,
	af = 250, wire_af = 62, stack_af = 102, proto = 251, direction = 252, timeout = 255,
})
local state_1301 = state_message({
	size = 242, rows = rows_1301, wire = 24, stack = 60, src = 96, dst = 128, creatorid = 228,
	af = 232, proto = 233, direction = 234, timeout = 239,
})
local state_1400 = state_message({
	size = 277, rows = rows_1400, wire = 24, stack = 60, src = 96, dst = 128, creatorid = 228,
	af = 232, proto = 233, direction = 234, timeout = 239,
})
local state_1500 = state_message({
	size = 360, rows = rows_1500, wire = 24, stack = 60, src = 96, dst = 128, creatorid = 228,
	wire_af = 344, stack_af = 345, rt_af = 346, proto = 347, direction = 351, timeout = 350,
})

-- What differs between the versions. Sizes of messages are in the packet in version 6 alone.
local versions = {
	[5] = {
		names = action_names_freebsd, inet6 = INET6_FREEBSD, max_timeout = 25, eof = 12,
		messages = {
			[0] = clr_message, [1] = state_1301, [2] = id_message, [3] = state_1301, [4] = updc_message, [5] = id_message,
			[6] = state_1301, [7] = id_message, [10] = bus_message, [11] = old_tdb_message,
			[13] = state_1400, [14] = state_1400, [15] = state_1500, [16] = state_1500,
		},
	},
	[6] = {
		names = action_names, inet6 = INET6_OPENBSD, max_timeout = 20, sizes = true,
		messages = {
			[0] = clr_message, [2] = id_message, [4] = updc_message, [5] = id_message, [6] = openbsd_state, [7] = id_message,
			[10] = bus_message, [11] = old_tdb_message, [13] = openbsd_state, [14] = openbsd_state,
			[15] = { size = 52, rows = tdb_rows },
		},
	},
}

local function action_name(version, action)
	return versions[version].names[action] or "UNKNOWN id " .. action
end

-- families_of finds the families of the keys, and returns the word for one that pf refuses.
local function families_of(m, layout, range, version)
	local function valid(af)
		return af == INET or af == version.inet6
	end
	m.wire_af = layout.wire_af and range(layout.wire_af, 1):uint() or 0
	m.stack_af = layout.stack_af and range(layout.stack_af, 1):uint() or 0
	if layout.af then
		local af = range(layout.af, 1):uint()
		if m.wire_af == 0 and m.stack_af == 0 then
			m.wire_af, m.stack_af = af, af
		end
		m.rt_af = m.wire_af
		if not valid(af) then
			return "address family"
		end
	else
		m.rt_af = range(layout.rt_af, 1):uint()
	end
	if not valid(m.wire_af) then
		return "address family of the wire key"
	elseif not valid(m.stack_af) then
		return "address family of the stack key"
	end
end

-- facts reads what decides how a message with peers is shown, and which value pf would refuse.
local function facts(layout, range, version)
	local m = {}
	if not layout.timeout then
		return m
	end
	local timeout = range(layout.timeout, 1):uint()
	if layout.state then
		m.proto, m.direction = range(layout.proto, 1):uint(), range(layout.direction, 1):uint()
		m.refused = families_of(m, layout, range, version)
		if not m.refused and range(layout.creatorid, 4):uint() == 0 then
			m.refused = "creatorid"
		end
		if m.direction > 2 then
			m.refused = "direction"
		end
	elseif timeout <= 5 then -- a compressed update has no other word of the protocol
		m.proto = TCP
	elseif timeout == 9 or timeout == 10 then
		m.proto = ICMP
	else
		m.proto = UDP
	end
	if range(layout.dst + 24, 1):uint() > max_peer_state then
		m.refused = "state of dst"
	end
	if range(layout.src + 24, 1):uint() > max_peer_state then
		m.refused = "state of src"
	end
	if timeout >= version.max_timeout then
		m.refused = "timeout"
	end
	return m
end

-- flow is initiator > responder of a state, before translation.
local function flow(layout, range, m)
	local key, family, initiator = layout.wire, m.wire_af, 0
	if m.direction == 2 then
		key, family, initiator = layout.stack, m.stack_af, 1
	end
	local k = range(key, 36)
	return string.format("%s %s > %s", protocols[m.proto] or m.proto, end_text(k, initiator, family), end_text(k, 1 - initiator, family))
end

local function show_rows(tree, range, rows, m)
	for _, row in ipairs(rows) do
		local part = range(row[2], row[3])
		if row[4] then
			row[4](tree, part, row[1], m)
		else
			tree:add(f[row[1]], part)
		end
	end
end

-- show_message adds a message of layout at the front of range, which has at least its size.
local function show_message(tree, range, layout, version, name)
	local m = facts(layout, range, version)
	local text = name
	if layout.state then
		text = text .. " " .. flow(layout, range, m)
	end
	local branch = tree:add(range, text)
	show_rows(branch, range, layout.rows, m)
	if range:len() > layout.size then
		branch:add(f.extra, range(layout.size, range:len() - layout.size))
	end
	if m.refused then
		branch:add_proto_expert_info(malformed, "Malformed: " .. m.refused .. " has a value that pf refuses")
	end
end

-- show_section adds the section at offset. It returns the offset of the next one, nil when
-- the packet cannot be read further, and the section's text for the Info column. The packet
-- ends at last, and what there is of it in the capture at have.
local function show_section(tree, tvb, offset, last, have, number)
	local version = versions[number]
	local action, count = tvb(offset, 1):uint(), tvb(offset + 2, 2):uint()
	local layout, name = version.messages[action], action_name(number, action)
	local size = layout and layout.size or 0
	if version.sizes then
		size = tvb(offset + 1, 1):uint() * 4
	end
	local body = offset + SUBHEADER
	local n = size * count
	local branch = tree:add(tvb(offset, math.min(SUBHEADER + n, have - offset)), string.format("%s, count %d", name, count))
	branch:add(f.action, tvb(offset, 1)):append_text(" (" .. name .. ")")
	if version.sizes then
		branch:add(f.size, tvb(offset + 1, 1))
	end
	branch:add(f.count, tvb(offset + 2, 2))
	local text = count == 1 and name or name .. "×" .. count
	if action == version.eof then
		if body < last then
			branch:add_proto_expert_info(malformed, string.format("Malformed: %d bytes behind EOF", last - body))
		end
		return nil, text
	end
	local skipped = not layout or size < layout.size
	if skipped and (size == 0 or count == 0) then
		branch:add_proto_expert_info(malformed, "Malformed: unknown action, which cannot be skipped")
		return nil, text
	end
	if body + n > last then
		branch:add_proto_expert_info(malformed, string.format("Malformed: %d messages of %d bytes in %d bytes", count, size, last - body))
		return nil, text
	end
	if skipped then
		branch:add_proto_expert_info(unknown, "Messages of this kind or size are not known")
		if body < have then
			branch:add(f.skipped, tvb(body, math.min(n, have - body)))
		end
	else
		for i = 0, count - 1 do
			local at = body + i * size
			if at + size > have then
				return nil, text -- cut off here
			end
			if size > 0 then
				show_message(branch, tvb(at, size), layout, version, name)
			end
		end
	end
	return body + n, text
end

---------------------------------------------------------------------- trailer

-- each adds the rows of each entry of a list.
local function each(tree, range, size, rows)
	for offset = 0, range:len() - size, size do
		show_rows(tree, range(offset, size), rows)
	end
end

local bucket_rows = { { "bucket", 0, 2 } }
local listed_rows = { { "id", 0, 8 }, { "creatorid", 8, 4 }, { "list.said", 12, 8 } }

-- An attribute: the size of what precedes its list, the rows of that, the size of an entry
-- and its rows; check tells what is wrong with its values.
local attributes = {
	{ size = 8, rows = { { "creatorid", 0, 4 }, { "hello.features", 4, 4 } } },
	{ size = 0, rows = {}, entry = 16, list = { { "heard.epoch", 0, 8 }, { "heard.seq", 8, 8 } } },
	{ size = 16, rows = { { "digest.states", 0, 4 }, { "digest.sum", 8, 8 } } },
	{ size = 8, rows = { { "oldest.seq", 0, 8 } } },
	{ size = 8, rows = { { "attr.epoch", 0, 8 } }, entry = 12, list = { { "resend.first", 0, 8 }, { "resend.count", 8, 4 } } },
	{ size = 8, rows = { { "attr.epoch", 0, 8 } } },
	{ size = 4, rows = { { "digests.first", 0, 2 } }, entry = 8, list = { { "digests.sum", 0, 8 } } },
	{ size = 8, rows = { { "attr.epoch", 0, 8 } }, entry = 2, list = bucket_rows },
	{ size = 4, rows = { { "bucket", 0, 2 }, { "list.flags", 2, 1 }, { "list.first", 2, 1 }, { "list.last", 2, 1 } },
		entry = 20, list = listed_rows },
	{ size = 8, rows = { { "attr.epoch", 0, 8 } }, entry = 12, list = id_rows },
	{ size = 4, rows = { { "digests.first", 0, 2 } }, entry = 8, list = { { "digests.sum", 0, 8 } } },
	{ size = 136, rows = { { "attr.epoch", 0, 8 }, { "same.bits", 8, 128 } } },
	{ size = 20, rows = { { "auth.hint", 0, 4 }, { "auth.code", 4, 16 } } },
}

local function digests_in_range(body)
	return body(0, 2):uint() + math.floor((body:len() - 4) / 8) <= BUCKETS
end

attributes[7].check, attributes[11].check = digests_in_range, digests_in_range

attributes[8].check = function(body)
	for offset = 8, body:len() - 2, 2 do
		if body(offset, 2):uint() >= BUCKETS then
			return false
		end
	end
	return true
end

attributes[9].check = function(body)
	return body(0, 2):uint() < BUCKETS
end

---------------------------------------------------------------------- compact messages

-- A cursor over the fields of an entry; it stops where a field goes beyond the entry.
local function cursor(tree, range)
	local c = { at = 0, short = false }
	function c.take(n)
		if c.short or c.at + n > range:len() then
			c.short = true
			return nil
		end
		c.at = c.at + n
		return range(c.at - n, n)
	end
	function c.add(abbr, n)
		local r = c.take(n)
		if r then
			tree:add(f[abbr], r)
		end
		return r
	end
	return c
end

-- show_tuple adds the addresses and ports of one direction.
local function show_tuple(c, v6)
	for _ = 1, 2 do
		if v6 then
			c.add("addr_v6", 16)
		else
			c.add("addr", 4)
		end
	end
	c.add("port", 2)
	c.add("port", 2)
end

-- The fields that both kinds of entries have, by name.
local compact_fields = {}

function compact_fields.wscale(c)
	c.add("src.wscale", 1)
	c.add("dst.wscale", 1)
end

function compact_fields.tcp(c)
	c.add("linux.tcp_flags", 1)
	c.add("linux.tcp_flags", 1)
end

function compact_fields.status(c) c.add("linux.status", 1) end
function compact_fields.mark(c) c.add("linux.mark", 4) end
function compact_fields.labels(c) c.add("linux.labels", 16) end

function compact_fields.tags(c)
	c.add("compact.tag", 4)
	c.add("compact.tag", 4)
end

function compact_fields.seqadj(c)
	for _ = 1, 2 do
		c.add("linux.seqadj.pos", 4)
		c.add("linux.seqadj.before", 4)
		c.add("linux.seqadj.after", 4)
	end
end

function compact_fields.zone(c)
	c.add("linux.zone", 2)
	c.add("linux.zone", 2)
end

function compact_fields.creation(c) c.add("state.creation", 4) end
function compact_fields.flags(c) c.add("state.flags", 2) end
function compact_fields.helper(c) c.add("linux.helper", 16) end
function compact_fields.master(c) c.add("linux.master", 37) end

-- Their bits, in their order.
local state_fields = {
	{ 0x08, "wscale" }, { 0x10, "tcp" }, { 0x20, "status" }, { 0x40, "mark" }, { 0x80, "zone" }, { 0x100, "creation" },
	{ 0x200, "flags" }, { 0x400, "tags" }, { 0x800, "labels" }, { 0x1000, "helper" }, { 0x2000, "master" }, { 0x4000, "seqadj" },
}
local update_fields = {
	{ 0x01, "wscale" }, { 0x02, "tcp" }, { 0x04, "status" }, { 0x08, "mark" }, { 0x10, "tags" }, { 0x20, "labels" }, { 0x40, "seqadj" },
}

local function has(mask, bit)
	return math.floor(mask / bit) % 2 == 1
end

-- show_entry adds what follows the length of an entry, and returns false if it is too short.
local function show_entry(tree, range, update)
	local c = cursor(tree, range)
	local mask = c.add("compact.fields", update and 1 or 2)
	local id = c.add("id", 8)
	if not update then
		c.add("state.proto", 1)
	end
	local states = c.take(1)
	local timeout = c.add("timeout", 1)
	if c.short then
		return false
	end
	tree:add(f["compact.src"], states)
	tree:add(f["compact.dst"], states)
	mask = mask:uint()
	if timeout:uint() >= 20 or states:uint() >= 13 * 16 or states:uint() % 16 >= 13 or id:uint64() == UInt64(0) then
		tree:add_proto_expert_info(malformed, "Malformed: a value that cannot be")
	end
	if not update then
		local v6 = has(mask, 1)
		show_tuple(c, v6)
		c.add("state.expire", 4)
		if has(mask, 4) then
			show_tuple(c, v6)
		end
	end
	for _, field in ipairs(update and update_fields or state_fields) do
		if has(mask, field[1]) then
			compact_fields[field[2]](c)
		end
	end
	if not c.short and c.at < range:len() then
		tree:add(f.extra, range(c.at, range:len() - c.at))
	end
	return not c.short
end

-- show_entries adds the entries of a compact attribute.
local function show_entries(tree, range, update, creator)
	local at, last = 0, range:len()
	if creator == 0 then
		tree:add_proto_expert_info(malformed, "Malformed: a creatorid of 0")
	end
	while at < last do
		local len = range(at, 1):uint()
		if at + 1 + len > last then
			tree:add_proto_expert_info(malformed, string.format("Malformed: an entry of %d bytes, %d left", len, last - at - 1))
			return
		end
		local branch = tree:add(range(at, 1 + len), update and "update" or "state")
		branch:add(f["compact.len"], range(at, 1))
		if len == 0 or not show_entry(branch, range(at + 1, len), update) then
			branch:add_proto_expert_info(malformed, "Malformed: the entry is shorter than its fields")
			return
		end
		at = at + 1 + len
	end
end

local creator_rows = { { "creatorid", 0, 4 } }
attributes[16] = { size = 4, rows = creator_rows, entries = function(tree, range, body) show_entries(tree, range, false, body(0, 4):uint()) end }
attributes[17] = attributes[16]
attributes[18] = { size = 4, rows = creator_rows, entries = function(tree, range, body) show_entries(tree, range, true, body(0, 4):uint()) end }
attributes[19] = { size = 4, rows = creator_rows, entry = 8, list = { { "id", 0, 8 } } }

-- show_attribute adds the attribute at offset and returns the offset of the next one, nil
-- when there is none or it cannot be read, and its name.
local function show_attribute(tree, tvb, offset, last)
	if last - offset < ATTRIBUTE then
		tree:add_proto_expert_info(malformed, string.format("Malformed: an attribute of %d bytes", last - offset))
		return nil
	end
	local kind, len = tvb(offset, 1):uint(), tvb(offset + 2, 2):uint()
	local layout, name = attributes[kind], attribute_names[kind] or "attribute " .. kind
	local fits = len >= ATTRIBUTE and offset + len <= last
	local branch = tree:add(tvb(offset, fits and len or last - offset), name)
	branch:add(f["attr.type"], tvb(offset, 1))
	branch:add(f["attr.len"], tvb(offset + 2, 2))
	if not fits then
		branch:add_proto_expert_info(malformed, string.format("Malformed: says %d bytes of %d", len, last - offset))
		return nil
	end
	local n = len - ATTRIBUTE
	if not layout then
		branch:add_proto_expert_info(unknown, "Attributes of this type are not known")
		if n > 0 then
			branch:add(f["attr.body"], tvb(offset + ATTRIBUTE, n))
		end
		return offset + len, name
	end
	if n < layout.size then
		branch:add_proto_expert_info(malformed, string.format("Malformed: %d of %d bytes", n, layout.size))
		return nil
	elseif layout.entry and (n - layout.size) % layout.entry ~= 0 then
		branch:add_proto_expert_info(malformed, string.format("Malformed: %d bytes are no list of %d each", n - layout.size, layout.entry))
		return nil
	end
	if n > 0 then
		local body = tvb(offset + ATTRIBUTE, n)
		show_rows(branch, body, layout.rows)
		if layout.entry and n > layout.size then
			each(branch, body(layout.size, n - layout.size), layout.entry, layout.list)
		elseif layout.entries and n > layout.size then
			layout.entries(branch, body(layout.size, n - layout.size), body)
		elseif n > layout.size then
			branch:add(f.extra, body(layout.size, n - layout.size))
		end
		if layout.check and not layout.check(body) then
			branch:add_proto_expert_info(malformed, "Malformed: a bucket that does not exist")
		end
	end
	return offset + len, name
end

-- show_behind adds what lies behind the packet, from offset on, and returns the names of
-- the trailer's attributes.
local function show_behind(tree, tvb, offset)
	local have, n = tvb:len() - offset, tvb:reported_len() - offset
	if have <= 0 then
		if n > 0 then
			tree:add_proto_expert_info(cut)
		end
		return {}
	end
	local range = tvb(offset, have)
	if have < 4 or range(0, 4):uint() ~= TRAILER_MAGIC then
		tree:add(f.foreign, range)
		if have < n then
			tree:add_proto_expert_info(cut)
		end
		return {}
	end
	local branch = tree:add(range, "Trailer")
	branch:add(f["trailer.magic"], range(0, 4))
	if have < 8 then
		branch:add_proto_expert_info(have < n and cut or malformed)
		return {}
	end
	local version, len = range(4, 1), range(6, 2)
	branch:add(f["trailer.version"], version)
	if version:uint() ~= TRAILER_VERSION then
		branch:add_proto_expert_info(unknown, "A trailer of another version")
		branch:add(f.foreign, range)
		if have < n then
			branch:add_proto_expert_info(cut)
		end
		return {}
	end
	local flags = branch:add(f["trailer.flags"], range(5, 1))
	flags:add(f["trailer.flags.answer"], range(5, 1))
	flags:add(f["trailer.flags.heir"], range(5, 1))
	flags:add(f["trailer.flags.pair"], range(5, 1))
	branch:add(f["trailer.len"], len)
	if have < n then
		branch:add_proto_expert_info(cut)
		return {}
	end
	if len:uint() < TRAILER or len:uint() ~= n then
		branch:add_proto_expert_info(malformed, string.format("Malformed: says %d bytes of %d", len:uint(), n))
		return {}
	end
	local epoch, seq = range(8, 8), range(16, 8)
	branch:add(f["trailer.epoch"], epoch)
	branch:add(f["trailer.seq"], seq)
	branch:append_text(string.format(", epoch %s, sequence %s", epoch:bytes():tohex(true), tostring(seq:uint64())))
	if epoch:uint64() == UInt64(0) or seq:uint64() == UInt64(0) then
		branch:add_proto_expert_info(malformed, "Malformed: epoch or sequence is 0")
		return {}
	end
	local names, at, name = {}, offset + TRAILER, nil
	while at and at < offset + n do
		at, name = show_attribute(branch, tvb, at, offset + n)
		names[#names + 1] = name
	end
	return names
end

---------------------------------------------------------------------- packet

-- last_of is the latest value of a field: of the innermost IP header.
local function last_of(values)
	return #values > 0 and values[#values].value or nil
end

local function show_packet(tree, tvb, pinfo)
	local have, whole = tvb:len(), tvb:reported_len()
	if have < HEADER then
		if have < whole then
			tree:add_proto_expert_info(cut)
		else
			tree:add_proto_expert_info(malformed, string.format("Malformed: %d of the header's %d bytes", have, HEADER))
		end
		pinfo.cols.info = "PFSYNC"
		return
	end
	local number, len = tvb(0, 1):uint(), tvb(2, 2):uint()
	tree:append_text(string.format(", version %d, length %d", number, len))
	tree:add(f.version, tvb(0, 1))
	tree:add(f.len, tvb(2, 2))
	tree:add(f.chksum, tvb(4, 16))
	local info = "PFSYNCv" .. number
	pinfo.cols.info = info
	if not versions[number] then
		tree:add_proto_expert_info(unknown, "This version is not known")
		return
	end
	if len < HEADER or len > whole then
		tree:add_proto_expert_info(malformed, string.format("Malformed: says %d bytes, packet has %d", len, whole))
		return
	end
	local ttl = last_of({ ip_ttl() }) or last_of({ ipv6_hlim() })
	if ttl and ttl ~= TTL then
		tree:add_proto_expert_info(bad_ttl)
	end
	local limit = math.min(len, have)
	local offset, words, text = HEADER, {}, nil
	while offset and limit - offset >= SUBHEADER do
		offset, text = show_section(tree, tvb, offset, len, limit, number)
		words[#words + 1] = text
	end
	if limit < len then
		tree:add_proto_expert_info(cut)
	elseif offset and offset < len then
		tree:add_proto_expert_info(malformed, string.format("Malformed: %d bytes behind the last section", len - offset))
	end
	if limit == len then
		for _, name in ipairs(show_behind(tree, tvb, len)) do
			words[#words + 1] = name
		end
	end
	if #words > 0 then
		info = info .. " " .. table.concat(words, ", ")
	end
	pinfo.cols.info = info
end

function pfsync.dissector(tvb, pinfo, root)
	pinfo.cols.protocol = "PFSYNC"
	local tree = root:add(pfsync, tvb())
	show_packet(tree, tvb, pinfo)
	return tvb:len()
end

-- The table is that of IPv4's protocols and of IPv6's next headers.
DissectorTable.get("ip.proto"):add(IP_PROTOCOL, pfsync)
