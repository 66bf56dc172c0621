package plan_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig/plan"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

func words(iface, text string) plan.Step {
	return plan.Step{Place: plan.Place{File: "f", Line: 3}, Interface: iface, Words: strings.Fields(text)}
}

func TestStepsAreShownAsAShellTakesThem(t *testing.T) {
	for _, test := range []struct {
		step         plan.Step
		want, secret string
	}{
		{words("pfsync0", "up syncdev sis2"), "ifconfig pfsync0 up syncdev sis2", ""},
		{words("carp0", "vhid 1 pass foo advskew 100"), "ifconfig carp0 vhid 1 pass ******** advskew 100", "ifconfig carp0 vhid 1 pass foo advskew 100"},
		{words("carp0", "pass"), "ifconfig carp0 pass", ""},
		{plan.Step{Interface: "sis0", Words: []string{"description", "it's; $x", ""}}, `ifconfig sis0 description 'it'\''s; $x' ''`, ""},
		{plan.Step{Do: plan.Shell, Command: "echo 'a  b'"}, "echo 'a  b'", ""},
		{plan.Step{Do: plan.DHCP, Interface: "sis0"}, "dhcp sis0", ""},
		{plan.Step{Do: plan.Route, Gateway: netip.MustParseAddr("10.0.0.1")}, "ip route replace default via 10.0.0.1", ""},
		{plan.Step{Do: plan.Route, Gateway: netip.MustParseAddr("fe80::1%sis0")}, "ip -6 route replace default via fe80::1 dev sis0", ""},
		{plan.Step{Do: plan.Sysctl, Setting: sysctl.Setting{Name: "net.inet.carp.preempt", Value: 1}}, "pfsyncctl sysctl net.inet.carp.preempt=1", ""},
	} {
		if test.secret == "" {
			test.secret = test.want
		}
		if got, secret := test.step.String(), test.step.Show(true); got != test.want || secret != test.secret {
			t.Errorf("%s and %s, want %s and %s", got, secret, test.want, test.secret)
		}
	}
}

func TestChangeReadsWhatIfconfigWould(t *testing.T) {
	c, err := words("pfsync0", "up syncdev sis2 maxupd 64").Change()
	if err != nil || c.Interface != "pfsync0" || !*c.Up || *c.Syncdev != "sis2" || *c.MaxUpd != 64 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, test := range []struct{ iface, words, want string }{
		{"pfsync0", "maxupd 300", "maxupd 300: too large (0 to 255)"},
		{"pfsync0", "synccdev sis2", "synccdev: bad value (did you mean 'syncdev'?)"},
		{"pfsync0", "destroy", "destroy: not at boot"},
		{"pfsync0", "key pfsync.key", "key pfsync.key: write the whole path, from / on"},
		{"pfsync0", "", "changes nothing"},
		{"pfsync0", "inet 10.0.0.1", "pfsync0: SIOCAIFADDR: Operation not supported (pfsync0 takes no address; give it to the syncdev)"},
		{"carp0", "vhid 0 pass foo", "vhid 0: too small (1 to 255)"},
	} {
		if _, err := words(test.iface, test.words).Change(); err == nil || err.Error() != test.want {
			t.Errorf("%s %s: %v, want %s", test.iface, test.words, err, test.want)
		}
	}
}

func TestPlaces(t *testing.T) {
	s := words("pfsync0", "up mtu 1400 up")
	if got := s.At("mtu").String(); got != "f:3" {
		t.Errorf("%s without places of the words", got)
	}
	s.Places = []plan.Place{{File: "a", Line: 1}, {File: "b", Line: 2}, {File: "b", Line: 2}, {File: "c", Line: 9}}
	for word, want := range map[string]string{"up": "c:9", "mtu": "b:2", "defer": "f:3"} {
		if got := s.At(word).String(); got != want {
			t.Errorf("%s at %s, want %s", word, got, want)
		}
	}
	if s.Has("defer") || !s.Has("mtu") {
		t.Error("Has")
	}
	if got := s.Errorf("mtu %d", 5).Error(); got != "f:3: mtu 5" {
		t.Errorf("error %s", got)
	}
	if got := fmt.Sprint(plan.Place{File: "f"}); got != "f" {
		t.Errorf("the whole file is %s", got)
	}
}
