package pfconf_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
)

func TestLabelled(t *testing.T) {
	web := flow(pfstate.ProtoTCP, "192.168.0.20:40000", "198.51.100.80:80")
	for file, want := range map[string]bool{
		"":                           false,
		"pass":                       false,
		"pass label web":             true,
		"pass label www":             false,
		"pass proto udp label web":   false,
		"pass label web\npass":       false,
		"pass\npass label web":       true,
		"pass quick label web\npass": true,
		"match label web\npass":      false,
		"pass label web\nmatch":      true,
		"set no-sync mark 0/1\npass label web keep state (no-sync)": true,
		// What cannot be judged: only if it makes no difference.
		"pass in on sis0 label web":                           false,
		"pass in quick label web\npass":                       false,
		"pass in quick label web\npass label web":             true,
		"pass label web\npass out":                            false,
		"pass label web\npass out label web":                  true,
		"pass label web\nmatch quick on sis0\npass":           false,
		"pass label web\nmatch quick on sis0\npass label web": true,
		"pass\nmatch quick on sis0\npass label web":           false,
		"pass label web\nmatch quick\npass":                   true,
	} {
		if got := compile(t, file).Labelled(&web, "web"); got != want {
			t.Errorf("%q: labelled %v, want %v", file, got, want)
		}
	}
}

func TestLabelThatNoConnectionHas(t *testing.T) {
	const vain = "label web: its rules are match rules or have on, in or out, which states do not tell; give a pass rule without those this label"
	for file, want := range map[string]string{
		"pass label web": "",
		"pass in label web\npass quick label web": "",
		"pass label www":            "label web: no rule has it",
		"":                          "label web: no rule has it",
		"match label web\npass":     vain,
		"pass in on sis0 label web": vain,
	} {
		rs, _, err := pfconf.Loader{}.Parse("pf.conf", file)
		must(t, err)
		got := ""
		if err := rs.CheckLabel("web"); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: error %q, want %q", file, got, want)
		}
	}
}
