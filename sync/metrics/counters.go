package metrics

import "strings"

// family is a metric whose values are counters of the daemon.
type family struct {
	name, help string
	labels     []string
	rows       []row
}

// row is a counter, by the name that pfsyncctl stats prints, with the values of the labels.
type row struct {
	counter string
	values  []string
}

func is(counter string, values ...string) row { return row{counter, values} }

// families has each counter once.
var families = []family{
	{"pfsync_received_packets_total", "Packets received by pfsync, those that are discarded included.", []string{"family"}, []row{
		is("ipackets", "ipv4"),
		is("ipackets6", "ipv6"),
	}},
	{"pfsync_sent_packets_total", "Packets sent by pfsync.", []string{"family"}, []row{
		is("opackets", "ipv4"),
		is("opackets6", "ipv6"),
	}},
	{"pfsync_sent_bare_packets_total", "Packets sent when there was nothing to say, so that the peers hear something.", nil, []row{
		is("obare"),
	}},
	{"pfsync_discarded_packets_total", "Packets received and discarded.", []string{"reason"}, []row{
		is("badif", "bad_interface"),
		is("badttl", "bad_ttl"),
		is("hdrops", "short_header"),
		is("badver", "bad_version"),
		is("badauth", "bad_auth"),
		is("badact", "bad_action"),
		is("badlen", "bad_length"),
		is("notrunning", "not_running"),
		is("ownpackets", "own_address"),
		is("notrailer", "no_trailer"),
		is("badpeer", "not_the_syncpeer"),
		is("oldpackets", "before_restart"),
		is("unproved", "unproved"),
		is("toomanypeers", "too_many_peers"),
		is("duplicates", "duplicate"),
		is("link_malformed", "malformed"),
		is("link_other_group", "other_group"),
		is("link_receive_drops", "receive_queue_full"),
	}},
	{"pfsync_discarded_states_total", "States of peers that were not taken.", []string{"reason"}, []row{
		is("badval", "bad_value"),
		is("stale", "stale"),
		is("badstate", "unknown_id"),
		is("duplicate", "duplicate"),
		is("buried", "ended"),
		is("neversynced", "never_synced"),
		is("tablerefused", "kernel_refused"),
		is("tablefull", "table_full"),
		is("unsupported", "unsupported"),
		is("clash", "clash"),
		is("peerlimit", "peer_limit"),
	}},
	{"pfsync_send_failures_total", "Packets that could not be handed to the sync link.", []string{"reason"}, []row{
		is("onomem", "no_memory"),
		is("oerrors", "error"),
	}},
	{"pfsync_link_received_packets_total", "Packets received on the sync link.", nil, []row{is("link_received")}},
	{"pfsync_link_sent_packets_total", "Packets sent on the sync link.", nil, []row{is("link_sent")}},
	{"pfsync_received_bytes_total", "Bytes received on the sync link, IP headers included.", nil, []row{is("link_received_bytes")}},
	{"pfsync_sent_bytes_total", "Bytes sent on the sync link, IP headers included.", nil, []row{is("link_sent_bytes")}},
	{"pfsync_link_send_failures_total", "Packets that the sync link could not send.", []string{"reason"}, []row{
		is("link_send_down", "link_down"),
		is("link_send_full", "queue_full"),
		is("link_send_toobig", "too_big"),
		is("link_send_refused", "firewall_rule"),
		is("link_send_errors", "error"),
	}},
	{"pfsync_link_read_errors_total", "Errors while reading from the sync link.", nil, []row{is("link_read_errors")}},
	{"pfsync_link_reopened_total", "Times the socket of the sync link was opened again.", nil, []row{is("link_reopened")}},

	{"pfsync_bulk_requests_total", "Bulk updates asked for.", nil, []row{is("bulkrequests")}},
	{"pfsync_bulk_transfers_total", "Bulk updates that ended.", []string{"role", "result"}, []row{
		is("bulkdone", "requester", "done"),
		is("bulkfailed", "requester", "failed"),
		is("bulkserved", "sender", "done"),
	}},
	{"pfsync_deferred_packets_total", "First packets of connections that were held (defer), by what let them go.", []string{"result"}, []row{
		is("deferacked", "acked"),
		is("defertimedout", "timeout"),
		is("deferqueuefull", "overflow"),
	}},
	{"pfsync_defer_held_packets_total", "First packets of connections that were held (defer).", nil, []row{is("deferred")}},
	{"pfsync_defer_passed_packets_total", "First packets of connections that were not held: the queue was full or not read, or there was nothing to wait for.", []string{"reason"}, []row{
		is("hold_bypassed", "bypassed"),
		is("deferpassed", "nothing_to_wait_for"),
		is("hold_unread", "unreadable"),
	}},
	{"pfsync_defer_rules_restored_total", "Times that the rules which hold first packets were found removed, and made anew.", nil, []row{is("hold_restored")}},
	{"pfsync_overruns_total", "Times that changes of the state table were lost.", nil, []row{is("overruns")}},
	{"pfsync_lost_packets_total", "Packets of peers that were missing and given up.", nil, []row{is("lostpackets")}},
	{"pfsync_peer_deaths_total", "Peers that fell silent.", nil, []row{is("peerdeaths")}},
	{"pfsync_peer_restarts_total", "Restarts of peers.", nil, []row{is("peerrestarts")}},
	{"pfsync_one_way_links_total", "Times that a peer was heard but did not hear us.", nil, []row{is("onewaylinks")}},
	{"pfsync_drifts_total", "Times that a peer's table was found to differ.", nil, []row{is("drifts")}},
	{"pfsync_mended_states_total", "States of peers that were found wrong and put right.", []string{"fault"}, []row{
		is("mendedmissing", "missing"),
		is("mendedextra", "extra"),
		is("mendedchanged", "changed"),
	}},

	{"pfsync_conntrack_events_total", "Events of the kernel's table.", []string{"event"}, []row{
		is("table_events_new", "new"),
		is("table_events_update", "update"),
		is("table_events_destroy", "destroy"),
		is("table_events_expired", "expired"),
		is("table_events_own", "own"),
	}},
	{"pfsync_conntrack_ignored_total", "Entries of the kernel's table that are not shared.", []string{"reason"}, []row{
		is("table_ignored_protocol", "protocol"),
		is("table_ignored_neighbour", "neighbour"),
		is("table_ignored_loopback", "loopback"),
		is("table_ignored_unconfirmed", "unconfirmed"),
		is("table_ignored_unknown", "unknown"),
	}},
	{"pfsync_conntrack_overruns_total", "Times the kernel dropped events because they were read too slowly.", nil, []row{is("table_overruns")}},
	{"pfsync_conntrack_malformed_total", "Netlink messages that could not be read.", nil, []row{is("table_malformed")}},
	{"pfsync_conntrack_dumps_total", "Dumps of the kernel's whole table.", nil, []row{is("table_dumps")}},
	{"pfsync_conntrack_incomplete_dumps_total", "Dumps that ended early or were inconsistent.", nil, []row{is("table_dumps_incomplete")}},
	{"pfsync_conntrack_dumped_states_total", "States reported by dumps.", nil, []row{is("table_dumped")}},
	{"pfsync_conntrack_writes_total", "Writes to the kernel's table that were ordered.", []string{"operation"}, []row{
		is("table_writes_insert", "insert"),
		is("table_writes_update", "update"),
		is("table_writes_delete", "delete"),
		is("table_writes_probe", "probe"),
		is("table_writes_dump", "dump"),
	}},
	{"pfsync_conntrack_refused_writes_total", "Writes that the kernel refused.", []string{"reason"}, []row{
		is("table_refused_full", "full"),
		is("table_refused_clash", "clash"),
		is("table_refused_no_state", "no_state"),
		is("table_refused_unsupported", "unsupported"),
		is("table_refused_other", "other"),
	}},

	{"pfsync_device_written_packets_total", "Packets shown on pfsync0.", nil, []row{is("tun_written")}},
	{"pfsync_device_written_bytes_total", "Bytes shown on pfsync0.", nil, []row{is("tun_written_bytes")}},
	{"pfsync_device_write_failures_total", "Packets not shown on pfsync0.", []string{"reason"}, []row{
		is("tun_write_down", "down"),
		is("tun_write_full", "queue_full"),
		is("tun_write_gone", "deleted"),
		is("tun_write_errors", "error"),
	}},
	{"pfsync_device_discarded_packets_total", "Packets that the host sent into pfsync0, discarded.", nil, []row{is("tun_discarded")}},
	{"pfsync_device_discarded_bytes_total", "Bytes that the host sent into pfsync0, discarded.", nil, []row{is("tun_discarded_bytes")}},

	{"pfsync_carp_received_packets_total", "Adverts received, those that are discarded included.", []string{"family"}, []row{
		is("carp_ipackets", "ipv4"),
		is("carp_ipackets6", "ipv6"),
	}},
	{"pfsync_carp_sent_packets_total", "Adverts sent.", []string{"family"}, []row{
		is("carp_opackets", "ipv4"),
		is("carp_opackets6", "ipv6"),
	}},
	{"pfsync_carp_discarded_packets_total", "Adverts received and discarded.", []string{"reason"}, []row{
		is("carp_badif", "bad_interface"),
		is("carp_badttl", "bad_ttl"),
		is("carp_hdrops", "short_header"),
		is("carp_badsum", "bad_checksum"),
		is("carp_badver", "bad_version"),
		is("carp_badlen", "bad_length"),
		is("carp_badauth", "bad_auth"),
		is("carp_badvhid", "unknown_vhid"),
		is("carp_badaddrs", "bad_addresses"),
		is("carp_notallowed", "not_allowed"),
	}},
	{"pfsync_carp_masterships_total", "Times that an interface of carp became master.", nil, []row{is("carp_preempt")}},
	{"pfsync_carp_undemoted_failures_total", "Demotions by pfsync that ended without the states of the peers.", nil, []row{is("undemotedfailed")}},

	{"pfsync_control_refusals_total", "Requests and connections that the control socket refused.", []string{"reason"}, []row{
		is("ctldenied", "not_root"),
		is("ctlinvalid", "invalid"),
		is("ctlguests", "too_many"),
	}},
}

// durations has each histogram of the daemon once.
var durations = []family{
	{"pfsync_send_delay_seconds", "From a change of the state table to the packet that tells of it; of each packet's oldest message.", nil, []row{
		is("senddelay"),
	}},
	{"pfsync_apply_latency_seconds", "From a peer's packet to the state table that has carried out what it says; a sample, ten a second at most.", nil, []row{
		is("applydelay"),
	}},
	{"pfsync_bulk_duration_seconds", "How long bulk updates took that came to their end.", []string{"role"}, []row{
		is("bulkasked", "requester"),
		is("bulktold", "sender"),
	}},
}

// Messages are counted by action, under the names of OpenBSD's tcpdump.
const (
	receivedAction = "iacts."
	sentAction     = "oacts."
)

// action is an action as the value of a label: INS ST becomes ins_st.
func action(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "_") }

// readBuffer is the one among the counters that is none.
const readBuffer = "table_read_buffer_bytes"

// Known lists the daemon's counters that have a metric of their own, by their names.
func Known() (names []string) {
	for _, f := range families {
		for _, r := range f.rows {
			names = append(names, r.counter)
		}
	}
	return names
}
