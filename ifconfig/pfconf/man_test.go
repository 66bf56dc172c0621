package pfconf_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
)

// Every display of the manual page is a pf.conf.
func TestExamplesOfTheManualParse(t *testing.T) {
	page, err := os.ReadFile("../../man/pf.conf.5")
	must(t, err)
	var examples []string
	_, rest, found := strings.Cut(string(page), ".Bd -literal -offset indent\n")
	for found {
		var example string
		example, rest, _ = strings.Cut(rest, ".Ed\n")
		examples = append(examples, strings.NewReplacer(`\e`, `\`, `\&`, "").Replace(example))
		_, rest, found = strings.Cut(rest, ".Bd -literal -offset indent\n")
	}
	if len(examples) < 4 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		rs, notes, err := pfconf.Loader{}.Parse("/etc/pf.conf", example)
		if err != nil {
			t.Errorf("%s\n%v", example, err)
			continue
		}
		again(t, rs)
		for _, n := range notes {
			if !strings.Contains(n.Text, "rules only decide") {
				t.Errorf("%s\n%v", example, n)
			}
		}
	}
	// The errors that the page shows are those that are given.
	for _, file := range []string{"\n\n\npass proto pfsnyc\n", "block all"} {
		_, _, err := pfconf.Loader{}.Parse("/etc/pf.conf", file)
		if err == nil || !strings.Contains(string(page), `.It "`+err.Error()+`"`) {
			t.Errorf("the page does not have: %v", err)
		}
	}
}
