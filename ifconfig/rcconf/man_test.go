package rcconf_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The rc.conf of the manual page becomes these commands.
func TestExampleOfTheManual(t *testing.T) {
	page, err := os.ReadFile("../../man/netstart.8")
	must(t, err)
	_, example, found := strings.Cut(string(page), ".Bd -literal -offset indent\nnetwork_interfaces")
	if !found {
		t.Fatal("the page has no rc.conf")
	}
	example, _, _ = strings.Cut("network_interfaces"+example, ".Ed\n")
	want := "2: ifconfig sis0 inet 10.0.0.254/24 up\n3: ifconfig sis2 inet 192.168.254.254/24 up\n5: ifconfig pfsync0 syncdev sis2 up\n"
	if diff := cmp.Diff(want, planned(t, example)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
