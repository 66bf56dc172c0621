package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/clitest"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain lets the scripts run pfctl as a program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pfctl": main})
}

// TestScripts runs testdata/*.txtar; their commands are those of clitest.Run.
func TestScripts(t *testing.T) { clitest.Run(t, *update) }

// What is a mistake on the command line is said before anything is asked or changed: there is no daemon here.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", usage},
		{"-v", usage},
		{"-z", "-z: not supported on Linux"},
		{"-T show", "-T: not supported on Linux"},
		{"-K 10.0.0.1", "-K: not supported on Linux"},
		{"-D x=1 -f pf.conf", "-D: not supported on Linux"},
		{"-Y", "-Y: unknown option (" + usage + ")"},
		{"--watch", "--watch: unknown option (" + usage + ")"},
		{"states", "states: unexpected (" + usage + ")"},
		{"-s", "-s: needs a word (" + usage + ")"},
		{"-s foo", "-s foo: unknown, choose states, info, rules, memory, timeouts, all"},
		{"-s S", "-s Sources: not supported on Linux; use meters of nft"},
		{"-sI", "-s Interfaces: not supported on Linux; use ip -s link"},
		{"-F foo", "-F foo: unknown, choose states, rules, all"},
		{"-F r -F R", "-F Reset: not supported on Linux; use -F all"},
		{"-F info", "-F info: not supported on Linux; counters only ever grow"},
		{"-e -d", "-d and -e contradict each other"},
		{"-k a -k b -k c", "-k: can be given twice only"},
		{"-k label", "no label specified"},
		{"-k gateway -k 10.0.0.1", "-k gateway: not supported on Linux; give hosts, or -k key"},
		{"-k id", "no id specified"},
		{"-k id -k xyz", "wrong id format specified: xyz"},
		{"-k id -k 12/xyz", "wrong id format specified: 12/xyz"},
		{"-k id -k 0", "cannot kill id 0"},
		{"-k key", "no key specified"},
		{"-N -k no.such.host", "no IP address found for no.such.host"},
		{"-k 10.0.0.0/33", "10.0.0.0/33: neither an address nor a network"},
		{"-k 10.0.0.1 -k 1.2.3/4", "1.2.3/4: neither an address nor a network"},
		{"-ss --host 10.0.0.0/99", "--host: 10.0.0.0/99: neither an address nor a network"},
		{"-si --host 10.0.0.1", "--host: goes with -s states only; -k takes a host itself"},
		{"-sr -i eth0", "-i eth0: goes with -s states, -k and -F states"},
		{"-ss -i a_name_too_long_1", "-i a_name_too_long_1: not a name of 1 to 15 characters"},
		{"-F states --json", "--json: goes with -s"},
		{"-sa --json", "--json: one at a time, not -s all"},
		{"-f /no/such/file", "open /no/such/file: no such file or directory"},
	} {
		var stdout, stderr bytes.Buffer
		p := program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		code := p.run(t.Context(), strings.Fields(c.args))
		if want := "pfctl: " + c.want + "\n"; code != 1 || stderr.String() != want || stdout.Len() > 0 {
			t.Errorf("pfctl %s: status %d %s%q, want %q", c.args, code, &stdout, &stderr, want)
		}
	}
}

func TestKeys(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		text string
		want control.KillKey
		err  string
	}{
		{"tcp 10.0.0.1:22 <- 10.0.0.2:4000", control.KillKey{Proto: 6, From: at("10.0.0.2:4000"), To: at("10.0.0.1:22")}, ""},
		{"udp 2001:db8::1[5] -> 2001:db8::2[53]", control.KillKey{Proto: 17, From: at("[2001:db8::1]:5"), To: at("[2001:db8::2]:53")}, ""},
		{"47 10.0.0.1 -> 10.0.0.2", control.KillKey{Proto: 47, From: at("10.0.0.1:0"), To: at("10.0.0.2:0")}, ""},
		{"icmp 10.0.0.1:77 -> 10.0.0.2:77", control.KillKey{Proto: 1, From: at("10.0.0.1:77"), To: at("10.0.0.2:77")}, ""},
		{"tcp 10.0.0.1:22", control.KillKey{}, `key must be "protocol host1:port1 direction host2:port2" format`},
		{"tpc 10.0.0.1:22 <- 10.0.0.2:4000", control.KillKey{}, "invalid protocol: tpc"},
		{"tcp 10.0.0.1:22 -- 10.0.0.2:4000", control.KillKey{}, "invalid direction: --"},
		{"tcp 10.0.0.1:22222222 <- 10.0.0.2:4000", control.KillKey{}, "invalid host: 10.0.0.1:22222222"},
		{"tcp 10.0.0.1:22 <- host:4000", control.KillKey{}, "invalid host: host:4000"},
	} {
		got, err := parseKey(c.text)
		if c.err != "" && (err == nil || err.Error() != c.err) || c.err == "" && (err != nil || got != c.want) {
			t.Errorf("%s: %+v %v, want %+v %s", c.text, got, err, c.want, c.err)
		}
	}
}

// Every state that is shown can be killed by what is shown of it.
func TestWhatIsShownIsAKey(t *testing.T) {
	for _, s := range controltest.Samples() {
		turn(&s, map[netip.Addr]bool{})
		f := strings.Fields(strings.Split(s.String(), "       ")[0])[1:] // without the interface
		var words []string
		for _, w := range f {
			if !strings.HasPrefix(w, "(") {
				words = append(words, w)
			}
		}
		key, err := parseKey(strings.Join(words, " "))
		if err != nil {
			t.Errorf("%v: %v", &s, err)
			continue
		}
		if k := (control.Kill{Key: &key}); !k.Matches(&s) {
			t.Errorf("%v is not killed by %q", &s, words)
		}
	}
}

func TestTurn(t *testing.T) {
	own := map[netip.Addr]bool{netip.MustParseAddr("192.168.0.20"): true}
	var got []string
	for _, s := range controltest.Samples() {
		turn(&s, own)
		got = append(got, s.Direction.String())
		turn(&s, own) // it stays so
		if s.Direction.String() != got[len(got)-1] {
			t.Errorf("%v: turned twice", &s)
		}
	}
	want := []string{"out", "in", "out", "in", "out", "in"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// broken is a daemon whose list of states ends early.
type broken struct{ daemon }

func (broken) States(_ context.Context, _ control.Selection, yield func(*pfstate.State) error) error {
	s := controltest.Samples()[0]
	if err := yield(&s); err != nil {
		return err
	}
	return errors.New("cut off")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestListsThatEndEarly(t *testing.T) {
	var stdout, stderr bytes.Buffer
	p := program{daemon: broken{}, stdout: &stdout, stderr: &stderr}
	if code := p.run(t.Context(), []string{"-ss"}); code != 1 || stderr.String() != "pfctl: cut off\n" || strings.Count(stdout.String(), "\n") != 1 {
		t.Errorf("status %d %s%s", code, &stdout, &stderr)
	}
	p = program{daemon: broken{}, stdout: full{}, stderr: &stderr}
	stderr.Reset()
	if code := p.run(t.Context(), []string{"-ss"}); code != 1 || stderr.Len() == 0 {
		t.Errorf("a full disk: status %d %s", code, &stderr)
	}
}
