package metrics_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/metrics"
)

// source shows these.
type source struct {
	counters   []pfstate.Counter
	histograms []pfstate.Histogram
	interfaces []ifconfig.Interface
	status     control.Status
	demotion   []ifconfig.Demotion
	err        error
}

func (s source) Counters() ([]pfstate.Counter, error)      { return s.counters, s.err }
func (s source) Interfaces() ([]ifconfig.Interface, error) { return s.interfaces, s.err }
func (s source) Status() (control.Status, error)           { return s.status, s.err }
func (s source) Demotion() ([]ifconfig.Demotion, error)    { return s.demotion, s.err }
func (s source) Histograms() ([]pfstate.Histogram, error)  { return s.histograms, s.err }

func registry(t *testing.T, s source) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.NewCollector(s, "v1"))
	return r
}

// pair is a firewall with a Linux peer in order, a dead one and a BSD.
func pair() source {
	peer := func(addr, kind, state, sync string, age time.Duration, problems ...string) ifconfig.Peer {
		return ifconfig.Peer{Addr: netip.MustParseAddr(addr), Kind: kind, State: state, Sync: sync, Age: ifconfig.Seconds(age),
			States: 7, Problems: problems}
	}
	return source{
		counters: []pfstate.Counter{
			{Name: "ipackets", Value: 812}, {Name: "ipackets6", Value: 34},
			{Name: "badauth", Value: 3},
			{Name: "bulkfailed", Value: 1},
			{Name: "iacts.INS ST", Value: 5},
			{Name: "oacts.BULK UPD STAT", Value: 2},
			{Name: "table_read_buffer_bytes", Value: 4096},
			{Name: "something_new", Value: 9},
		},
		interfaces: []ifconfig.Interface{{Name: "pfsync0", Flags: ifconfig.FlagUp | ifconfig.FlagRunning,
			PFSync: &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, SyncOK: true, Key: ifconfig.KeyOn}}},
		histograms: []pfstate.Histogram{
			{Name: "senddelay", Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{5, 2, 1}, Sum: 3500 * time.Millisecond},
			{Name: "bulkasked", Bounds: []time.Duration{time.Second}, Counts: []uint64{1, 0}, Sum: time.Second},
			{Name: "bulktold", Bounds: []time.Duration{time.Second}, Counts: []uint64{0, 0}},
		},
		status: control.Status{Table: "conntrack", Entries: 90, Limit: 100, Bulk: "done", Queued: 6,
			States: control.States{Local: 3, Imported: 4},
			Peers: []ifconfig.Peer{
				peer("10.0.0.2", "linux", "up", "yes", 400*time.Millisecond),
				peer("10.0.0.3", "linux", "dead", "no", time.Minute, "does not hear us"),
				peer("fe80::1%sis2", "openbsd", "up", "unknown", 0),
			}},
	}
}

func TestEverythingIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time begins at midnight UTC 2000-01-01: 946684800
		want := `
pfsync_bulk_duration_seconds_bucket{role="requester",le="1"} 1
pfsync_bulk_duration_seconds_bucket{role="requester",le="+Inf"} 1
pfsync_bulk_duration_seconds_sum{role="requester"} 1
pfsync_bulk_duration_seconds_count{role="requester"} 1
pfsync_bulk_duration_seconds_bucket{role="sender",le="1"} 0
pfsync_bulk_duration_seconds_bucket{role="sender",le="+Inf"} 0
pfsync_bulk_duration_seconds_sum{role="sender"} 0
pfsync_bulk_duration_seconds_count{role="sender"} 0
pfsync_bulk_state{state="bulk"} 0
pfsync_bulk_state{state="done"} 1
pfsync_bulk_state{state="failed"} 0
pfsync_bulk_state{state="listening"} 0
pfsync_bulk_state{state="none"} 0
pfsync_bulk_state{state="sent"} 0
pfsync_bulk_state{state="start"} 0
pfsync_bulk_transfers_total{result="failed",role="requester"} 1
pfsync_config_info{defer="false",key="on",maxupd="128",syncdev="sis2",syncpeer=""} 1
pfsync_conntrack_entries 90
pfsync_conntrack_entries_limit 100
pfsync_conntrack_read_buffer_bytes 4096
pfsync_discarded_packets_total{reason="bad_auth"} 3
pfsync_events_total{event="something_new"} 9
pfsync_link_up 1
pfsync_peer_in_sync{peer="10.0.0.2"} 1
pfsync_peer_in_sync{peer="10.0.0.3"} 0
pfsync_peer_info{kind="linux",peer="10.0.0.2"} 1
pfsync_peer_info{kind="linux",peer="10.0.0.3"} 1
pfsync_peer_info{kind="openbsd",peer="fe80::1%sis2"} 1
pfsync_peer_last_packet_timestamp_seconds{peer="10.0.0.2"} 9.466847996e+08
pfsync_peer_last_packet_timestamp_seconds{peer="10.0.0.3"} 9.4668474e+08
pfsync_peer_last_packet_timestamp_seconds{peer="fe80::1%sis2"} 9.466848e+08
pfsync_peer_problems{peer="10.0.0.2"} 0
pfsync_peer_problems{peer="10.0.0.3"} 1
pfsync_peer_problems{peer="fe80::1%sis2"} 0
pfsync_peer_state{peer="10.0.0.2",state="dead"} 0
pfsync_peer_state{peer="10.0.0.2",state="stale"} 0
pfsync_peer_state{peer="10.0.0.2",state="up"} 1
pfsync_peer_state{peer="10.0.0.3",state="dead"} 1
pfsync_peer_state{peer="10.0.0.3",state="stale"} 0
pfsync_peer_state{peer="10.0.0.3",state="up"} 0
pfsync_peer_state{peer="fe80::1%sis2",state="dead"} 0
pfsync_peer_state{peer="fe80::1%sis2",state="stale"} 0
pfsync_peer_state{peer="fe80::1%sis2",state="up"} 1
pfsync_peer_states{peer="10.0.0.2"} 7
pfsync_peer_states{peer="10.0.0.3"} 7
pfsync_peer_states{peer="fe80::1%sis2"} 7
pfsync_queue_entries 6
pfsync_received_messages_total{action="ins_st"} 5
pfsync_received_packets_total{family="ipv4"} 812
pfsync_received_packets_total{family="ipv6"} 34
pfsync_send_delay_seconds_bucket{le="0.001"} 5
pfsync_send_delay_seconds_bucket{le="1"} 7
pfsync_send_delay_seconds_bucket{le="+Inf"} 8
pfsync_send_delay_seconds_sum 3.5
pfsync_send_delay_seconds_count 8
pfsync_sent_messages_total{action="bulk_upd_stat"} 2
pfsync_states{origin="local"} 3
pfsync_states{origin="peer"} 4
pfsync_sync_ok 1
pfsync_up 1
`
		var got strings.Builder
		for line := range strings.Lines(scrape(t, pair())) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "pfsync_build_info") {
				got.WriteString(line)
			}
		}
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// scrape is one GET, without sockets.
func scrape(t *testing.T, s source) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.NewHandler(s, "v1", slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// A node without pfsync0 and without a limit is shown as such.
func TestNothingThere(t *testing.T) {
	got := scrape(t, source{status: control.Status{Bulk: "none"}})
	for _, want := range []string{"pfsync_up 0\n", "pfsync_link_up 0\n", "pfsync_sync_ok 0\n", `pfsync_bulk_state{state="none"} 1` + "\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, none := range []string{"pfsync_peer", "pfsync_config_info", "entries_limit"} {
		if strings.Contains(got, none) {
			t.Errorf("%s in:\n%s", none, got)
		}
	}
}

// Prometheus' own linter has nothing to say.
func TestLint(t *testing.T) {
	s := pair()
	for _, name := range metrics.Known() {
		s.counters = append(s.counters, pfstate.Counter{Name: name})
	}
	s.counters = s.counters[4:] // which Known has again
	problems, err := testutil.GatherAndLint(registry(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A node that does not answer makes the scrape fail: Prometheus shows it as down.
func TestNoAnswer(t *testing.T) {
	w := httptest.NewRecorder()
	s := pair()
	s.err = errors.New("the engine has stopped")
	metrics.NewHandler(s, "v1", slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "the engine has stopped") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestListenTakesNumbersOnly(t *testing.T) {
	for _, address := range []string{"localhost:9240", "127.0.0.1", ":9240", "127.0.0.1:http", "9240", "127.0.0.1:0", ""} {
		l, err := metrics.Listen(address)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "metrics "+address+": not a numeric address and port, as 127.0.0.1:9240") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestTCPServesMetricsOnly(t *testing.T) {
	l := httptest.NewUnstartedServer(nil).Listener
	ended := make(chan error)
	go func() {
		log := slog.New(slog.DiscardHandler)
		ended <- metrics.Serve(t.Context(), l, metrics.NewHandler(pair(), "v1", log), log)
	}()
	t.Cleanup(func() { // the test's context is done
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/metrics", 200},
		{"POST", "/metrics", 405},
		{"GET", "/", 404},
		{"GET", "/v1/status", 404},
		{"POST", "/v1/bulk", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+l.Addr().String()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || c.status == 200 != strings.Contains(string(body), "pfsync_up 1") {
			t.Errorf("%s %s: %s, %v: %s", c.method, c.path, resp.Status, err, body)
		}
	}
}

func TestCarpIsShown(t *testing.T) {
	s := pair()
	s.interfaces = append(s.interfaces, ifconfig.Interface{Name: "carp0", Carp: &ifconfig.Carp{Name: "carp0", State: "BACKUP", CarpDev: "sis0", VHID: 1, Changes: 3}})
	s.demotion = []ifconfig.Demotion{{Group: "carp", Count: 33, Shares: []ifconfig.DemotionShare{{Reason: "pfsync bulk", Count: 32}, {Reason: "carpdemote", Count: 1}}}}
	want := `
# HELP pfsync_carp_demotion By how much the carp interfaces of a group are less fit to be master.
# TYPE pfsync_carp_demotion gauge
pfsync_carp_demotion{group="carp"} 33
# HELP pfsync_carp_demotion_share The part that one reason has in the demotion of a group.
# TYPE pfsync_carp_demotion_share gauge
pfsync_carp_demotion_share{group="carp",reason="carpdemote"} 1
pfsync_carp_demotion_share{group="carp",reason="pfsync bulk"} 32
# HELP pfsync_carp_state The state of a carp interface: 1 for the one it is in.
# TYPE pfsync_carp_state gauge
pfsync_carp_state{carpdev="sis0",interface="carp0",state="backup",vhid="1"} 1
pfsync_carp_state{carpdev="sis0",interface="carp0",state="init",vhid="1"} 0
pfsync_carp_state{carpdev="sis0",interface="carp0",state="master",vhid="1"} 0
# HELP pfsync_carp_transitions_total Changes of state of a carp interface since it was made.
# TYPE pfsync_carp_transitions_total counter
pfsync_carp_transitions_total{interface="carp0",vhid="1"} 3
`
	if err := testutil.GatherAndCompare(registry(t, s), strings.NewReader(want),
		"pfsync_carp_demotion", "pfsync_carp_demotion_share", "pfsync_carp_state", "pfsync_carp_transitions_total"); err != nil {
		t.Error(err)
	}
}
