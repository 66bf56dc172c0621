package control_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
)

func TestHoldDemotion(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	for d, want := range map[time.Duration]string{
		time.Minute: "", control.MostHeld: "",
		control.MostHeld + time.Second: "hold: seconds 601: 0 to 600",
		-time.Second:                   "hold: seconds -1: 0 to 600",
	} {
		got := ""
		if err := h.client.HoldDemotion(t.Context(), d); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%v: error %q, want %q", d, got, want)
		}
	}
	got := node.Events()
	slices.Sort(got)
	if !slices.Equal(got, []string{"hold 10m0s", "hold 1m0s"}) {
		t.Errorf("holds %q", got)
	}
}
