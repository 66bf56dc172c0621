package links_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig/links"
)

func TestWhatFailsHalfWayIsUndoneOrNamed(t *testing.T) {
	var log []string
	does := func(what string) func() error {
		return func() error { log = append(log, what); return nil }
	}
	fails := func() error { return errors.New("refused") }
	steps := []links.Step{
		{Word: "mtu 1400", Do: does("mtu"), Undo: does("undo mtu")},
		{Word: "-inet6", Do: does("-inet6")},
		{Word: "up", Do: does("up"), Undo: fails},
		{Word: "arp", Do: does("arp"), Undo: does("undo arp")},
		{Word: "inet 10.0.0.1/24", Do: fails},
		{Word: "name wan", Do: does("name")},
	}
	for _, test := range []struct {
		name   string
		steps  []links.Step
		making bool
		log    string
		want   string
	}{
		{"the first", steps[4:], false, "", "inet 10.0.0.1/24: refused"},
		{"all undone", append(steps[:1:1], steps[4:]...), false, "mtu, undo mtu", "inet 10.0.0.1/24: refused; nothing was changed"},
		{"some stay", steps, false, "mtu, -inet6, up, arp, undo arp, undo mtu",
			"inet 10.0.0.1/24: refused; already done, and not undone: -inet6, up"},
		{"a new interface vanishes", steps, true, "mtu, -inet6, up, arp, undo mtu", "inet 10.0.0.1/24: refused; nothing was changed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			log = nil
			if err := links.CarryOut(test.steps, test.making); err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if diff := cmp.Diff(test.log, strings.Join(log, ", ")); diff != "" {
				t.Errorf("done: -want +got:\n%s", diff)
			}
		})
	}
}
