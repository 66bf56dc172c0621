package e2e_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// complaints are what operators of other state synchronisers complain of: section 12 of the
// operator interface's specification. Each has the tests that prove our answer.
var complaints = []struct {
	number    string
	complaint string
	tests     []string // FOLDER TestName
}{
	{number: "12-1", complaint: "setting what is set already starts the bulk update anew, which may never end", tests: []string{
		"sync/engine TestSettingTheSameAgainAsksNothing", "sync/engine TestBulkRequestIsRepeatedAndGivenUp", "sync/engine TestSilentBulkIsAskedForAgain",
	}},
	{number: "12-2", complaint: "one node sends nothing, and only captures tell", tests: []string{
		"sync/engine TestOneWayLink", "test/e2e TestPeersAreShown", "test/e2e TestCheckNamesEverythingAtOnce",
	}},
	{number: "12-3", complaint: "no way to force a full sync, or to see that one is needed", tests: []string{
		"test/e2e TestBulkOnDemand", "test/e2e TestDiffOfAPair", "sync/engine TestNewPeerIsAskedAtOnce",
	}},
	{number: "12-4", complaint: "states do not match where the interfaces have other names", tests: []string{"test/e2e TestInterfacesOfOtherNames"}},
	{number: "12-5", complaint: "a peer of another version is not understood, silently", tests: []string{
		"sync/engine TestPeersOfOtherVersions", "cmd/pfsyncctl/check TestEachFindingIsNamed",
	}},
	{number: "12-6", complaint: "demotion stays up after a reboot", tests: []string{
		"test/e2e TestRebootOfTheMasterLeavesNoDemotion", "sync/engine TestDemotedUntilTheBulkUpdateHasCome", "sync/engine TestDemotionEndsWithTheLastTry",
		"sync/engine TestDemotionEndsWithoutALink", "sync/engine TestEndlessBulkUpdateEndsTheDemotion", "sync/node TestDemotionBySysctlAndGroup",
		"sync/node TestHoldEndsByItself",
	}},
	{number: "12-7", complaint: "the master is demoted because the backup's reboot took the link down", tests: []string{
		"test/e2e TestRebootOfTheBackupLeavesTheMasterAlone", "sync/engine TestOnlyTheFirstBulkUpdateDemotes", "sync/node TestHeldFirewallDoesNotPreempt",
	}},
	{number: "12-8", complaint: "two nodes with one host id take each other's states for their own", tests: []string{
		"sync/engine TestPeerWithOurCreatorid", "sync/engine TestOwnCreatoridFromAnotherFirewall", "sync/node TestIdentityIsKept",
		"cmd/pfsyncctl/check TestEachFindingIsNamed",
	}},
	{number: "12-9", complaint: "nobody can tell whether the peer is in sync", tests: []string{
		"test/e2e TestPeersAreShown", "cmd/pfsyncctl TestPeers", "sync/engine TestDriftIsMended",
	}},
	{number: "12-10", complaint: "a syncpeer on one side only works one way", tests: []string{"test/e2e TestCheckOfASyncpeerOnOneSide"}},
	{number: "12-11", complaint: "part of a refused update is copied", tests: []string{
		"sync/engine TestMerge", "sync/engine TestLatePacketsDoNotUndoNewerOnes", "sync/engine TestOldNewsDoNotSetTheEntryBack",
	}},
	{number: "12-12", complaint: "injecting stops, silently, until the other node is restarted", tests: []string{
		"sync/engine TestOverrunIsMendedByADump", "pfstate/conntrack TestOverrunIsNoticedAndADumpCuresIt", "sync/engine TestPeerIsHeardAgain",
		"sync/engine TestFullTableRecovers", "test/e2e TestDaemonRestart",
	}},
	{number: "12-13", complaint: "connections are reset between take-over and the commit of a cache", tests: []string{
		"pfstate/conntrack TestImportedStateCarriesTheConnection", "test/e2e TestFailover", "test/e2e TestWithoutPfsyncConnectionsDie",
	}},
	{number: "12-14", complaint: "caches grow for ever after lost events", tests: []string{
		"sync/engine TestOverrunIsMendedByADump", "sync/engine TestDriftIsMended", "test/e2e TestFlushOnTheBackup",
	}},
	{number: "12-15", complaint: "it fails on a link with an mtu above 1500", tests: []string{
		"test/e2e TestJumboFrames", "sync/link TestFollowsTheMTU", "sync/engine TestPacketsKeepToTheMTU",
	}},
	{number: "12-16", complaint: "flows drop when updates arrive out of order", tests: []string{
		"sync/engine TestPairWithDuplicatesAndReordering", "sync/engine TestReorderingAsksForNothing", "sync/engine TestSequenceNumbersOfAPeerAreKept",
	}},
	{number: "12-17", complaint: "anyone on the segment can add states", tests: []string{
		"test/e2e TestSharedKey", "test/e2e TestCheckNamesEverythingAtOnce", "cmd/pfsyncctl/check TestEachFindingIsNamed",
	}},
	{number: "12-18", complaint: "it is not known that rules, ARP and routes are not shared", tests: []string{
		"test/e2e TestCheckNamesEverythingAtOnce", "cmd/pfsyncctl TestTheManualSaysWhatIsNotShared",
	}},
}

// Every complaint has an answer, and every test named as its proof is there.
func TestFieldComplaintsAreAnswered(t *testing.T) {
	known := map[string][]string{} // by folder
	for i, c := range complaints {
		if want := fmt.Sprintf("12-%d", i+1); c.number != want || c.complaint == "" {
			t.Errorf("complaint %s, want %s", c.number, want)
		}
		if len(c.tests) == 0 {
			t.Errorf("%s has no test", c.number)
		}
		for _, name := range c.tests {
			folder, test, _ := strings.Cut(name, " ")
			if known[folder] == nil {
				known[folder] = testsIn(t, folder)
			}
			if !slices.Contains(known[folder], test) {
				t.Errorf("%s: %s has no %s", c.number, folder, test)
			}
		}
	}
	if len(complaints) != 18 {
		t.Errorf("%d complaints, want 18", len(complaints))
	}
}

// testsIn lists the test functions of a folder of this module.
func testsIn(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join("..", "..", folder), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") || filepath.Dir(file) != filepath.Join("..", "..", folder) {
			return err
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range syntax.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The second firewall has other names for all its interfaces: connections are shared and survive.
func TestInterfacesOfOtherNames(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startA(t, l)
	rules, err := l.B.Run(t.Context(), "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{lab.Outside: "em0", lab.Inside: "em1", lab.Sync: "em2"} {
		ip(t, l.B, "link set "+from+" down")
		ip(t, l.B, "link set "+from+" name "+to)
		ip(t, l.B, "link property add dev "+to+" altname "+from) // for the lab, which moves addresses
		ip(t, l.B, "link set "+to+" up")
		rules = strings.ReplaceAll(rules, `"`+from+`"`, `"`+to+`"`)
	}
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte("flush ruleset\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, l.B.NS, "nft -f "+file)
	startDaemon(t, l.B)
	if err := l.B.Netstart(t.Context(), "pfsync0", "up syncdev em2"); err != nil {
		t.Fatal(err)
	}
	waitSynced(t, l.B)
	add(t, tr, 5, traffic.TCP, traffic.UDP)
	alike(t, l)
	move := failover(t, l)
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}

// On a link with jumbo frames all states arrive, whether pfsync0 uses them or not.
func TestJumboFrames(t *testing.T) {
	for _, mtu := range []string{"1500", "9000"} {
		l := newLab(t)
		for _, f := range []*lab.Firewall{l.A, l.B} {
			ip(t, f, "link set sis2 mtu 9000")
		}
		startA(t, l)
		if err := l.A.Load(t.Context(), 500); err != nil { // the bulk update has them
			t.Fatal(err)
		}
		joinB(t, l)
		for _, f := range []*lab.Firewall{l.A, l.B} {
			if out, err := f.Ifconfig(t.Context(), "pfsync0", "mtu", mtu); err != nil {
				t.Fatal(out, err)
			}
			waitSynced(t, f)
		}
		if err := l.A.Load(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
		inSync(t, l, patience)
		if n := counters(t, l.A)["link_send_toobig"]; n > 0 {
			t.Errorf("mtu %s: %d packets were too large", mtu, n)
		}
		finds(t, l.B)
	}
}
