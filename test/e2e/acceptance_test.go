package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// acceptance is the list of the operator's interface, one item after the other: the tests that
// show it.
var acceptance = []struct {
	what  string
	tests []string
}{
	{"ifconfig fxp0 inet 172.19.13.1/28 gives address and broadcast",
		[]string{"test/e2e/manual_test.go TestExamplesOfTheManuals", "ifconfig/words_test.go TestParseAddresses"}},
	{"ifconfig pfsync0 syncdev fxp0 makes pfsync0",
		[]string{"test/e2e/manual_test.go TestExamplesOfTheManuals", "ifconfig/print_test.go TestPrint"}},
	{"ifconfig pfsync0 syncpeer 10.0.0.2 syncdev enc0, with and without an enc0",
		[]string{"test/e2e/acceptance_test.go TestEnc0"}},
	{"the documents' hostname.if files: what netstart -n prints, netstart, netstart again",
		[]string{"ifconfig/hostname/hostname_test.go TestTheCustomersFiles", "cmd/netstart/testdata/documents.txtar", "test/e2e/carp_test.go TestDocumentsExample"}},
	{"the documents' two firewalls: addresses, states of A in pfctl -ss on B",
		[]string{"test/e2e/pair_test.go TestThePairOfTheManual", "test/e2e/carp_test.go TestDocumentsExample"}},
	{"A is killed: connections through the pair go on",
		[]string{"test/e2e/failover_test.go TestFailover", "test/e2e/carp_test.go TestDocumentsExample"}},
	{"pfctl -f with the two lines: loaded, three shown; carp and pfsync are never shared",
		[]string{"test/e2e/pair_test.go TestThePairOfTheManual", "ifconfig/pfconf/pfconf_test.go TestTheCustomersFile", "ifconfig/pfconf/filter_test.go TestSomeConnectionsAreNeverSynchronised"}},
	{"the line of sysctl.conf",
		[]string{"test/e2e/pair_test.go TestThePairOfTheManual", "cmd/netstart/testdata/sysctl.txtar", "sync/carp/pair_test.go TestLinkDownMovesTheOtherToo", "test/e2e/carp_test.go TestDocumentsExample"}},
	{"rc.conf, whole and damaged",
		[]string{"ifconfig/rcconf/rcconf_test.go TestTheCustomersFiles", "cmd/netstart/testdata/rcconf.txtar", "test/e2e/carp_test.go TestDocumentsExample"}},
	{"every word that is refused ends with 1 and says what to do",
		[]string{"ifconfig/words_test.go TestEveryRefusedWordSaysWhatToDo", "cmd/ifconfig/testdata/refused.txtar", "test/e2e/wrong_test.go TestWhatIsTypedWrongChangesNothing"}},
	{"no parser or printer panics; printer and dissector agree",
		[]string{"ifconfig/parse_test.go FuzzParse", "ifconfig/hostname/hostname_test.go FuzzParse", "ifconfig/rcconf/rcconf_test.go FuzzPlan", "ifconfig/pfconf/fuzz_test.go FuzzParse",
			"ifconfig/sysctl/sysctl_test.go FuzzParseFile", "sync/wire/pfsyncprint/print_test.go FuzzFrame", "test/wireshark/dissector_test.go TestDissectorAgreesWithOurDecoder"}},
	{"mandoc says nothing; the pages' examples work",
		[]string{"man/man_test.go TestMandocHasNothingToSay", "test/e2e/manual_test.go TestExamplesOfTheManuals"}},
	{"--style openbsd and freebsd",
		[]string{"ifconfig/print_test.go TestPrint", "cmd/ifconfig/testdata/display.txtar"}},
	{"installed and removed, nothing else's files differ",
		[]string{"test/packaging/deb_test.go TestPackage", "test/packaging/install_test.go TestInstall"}},
}

func TestAcceptance(t *testing.T) {
	if len(acceptance) != 14 {
		t.Errorf("%d items, the list has 14", len(acceptance))
	}
	for i, item := range acceptance {
		if len(item.tests) == 0 {
			t.Errorf("%d: nothing shows: %s", i+1, item.what)
		}
		for _, test := range item.tests {
			mustHave(t, test)
		}
	}
}

// The documents' line for an IPsec tunnel: with an interface enc0 it is used like any other; without
// one nothing is sent but through IPsec, of which there is none here (TestOnlyThroughIPsec has some).
func TestEnc0(t *testing.T) {
	l := newLab(t)
	startDaemon(t, l.A)
	line := strings.Fields("pfsync0 syncpeer 10.0.0.2 syncdev enc0")
	if _, err := l.A.Ifconfig(t.Context(), append(line, "up")...); err != nil {
		t.Fatal(err)
	}
	shows(t, l.A, "\tpfsync: syncdev: enc0 syncpeer: 10.0.0.2 ")
	shows(t, l.A, "\tstatus: waiting for ipsec\n")
	if n := counters(t, l.A)["link_sent"]; n != 0 {
		t.Errorf("%d packets sent", n)
	}

	startDaemon(t, l.B)
	labtest.Run(t, l.A.NS, "ip link add enc0 type veth peer name enc0 netns "+l.B.Name) // not every kernel has xfrm interfaces
	for i, f := range []*lab.Firewall{l.A, l.B} {
		mine, its := fmt.Sprint(1+i), fmt.Sprint(2-i)
		labtest.Run(t, f.NS, "ip address add 10.9.9."+mine+"/30 dev enc0")
		labtest.Run(t, f.NS, "ip link set enc0 up")
		labtest.Run(t, f.NS, "nft insert rule inet filter input iifname enc0 ip protocol 240 accept")
		labtest.Run(t, f.NS, "nft insert rule inet filter output oifname enc0 ip protocol 240 accept")
		line[2] = "10.9.9." + its
		if out, err := f.Ifconfig(t.Context(), append(line, "up")...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		shows(t, f, "\tpfsync: syncdev: enc0 syncpeer: 10.9.9."+its+" maxupd: 128 defer: off\n")
	}
	open(t, l.A, "10.128.0.1")
	bothHold(t, l, "10.128.0.1")
}
