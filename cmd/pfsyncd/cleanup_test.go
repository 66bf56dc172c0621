package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// What a killed daemon has left goes; what is another's stays, and so does all while a daemon runs.
func TestCleanup(t *testing.T) {
	ns := labtest.NewNS(t)
	for _, args := range []string{
		"link add sis0 type veth peer name far0",
		"link add link sis0 name carp0 type macvlan mode bridge",
		"link add link sis0 name carp1 type macvlan mode bridge", "link set dev carp1 up",
		"link add link sis0 name carp2 type macvlan mode bridge",
	} {
		labtest.Run(t, ns, "ip "+args)
	}
	for _, name := range []string{"carp0", "carp1", "far0"} { // the last is no macvlan
		if _, err := ns.Run(t.Context(), "ip", "link", "set", "dev", name, "alias", "carp interface of pfsyncd"); err != nil {
			t.Fatal(err)
		}
	}
	cleanup := func() (code int, said string) {
		var stderr bytes.Buffer
		err := ns.Do(func() error {
			code = run(t.Context(), []string{"pfsyncd", "--cleanup"}, &stderr, &stderr)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return code, stderr.String()
	}
	left := func() string {
		var out []byte
		err := ns.Do(func() (err error) {
			out, err = exec.CommandContext(t.Context(), "ip", "-o", "link").CombinedOutput()
			return err
		})
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		names := ""
		for _, name := range []string{"sis0", "far0", "carp0", "carp1", "carp2"} {
			if strings.Contains(string(out), " "+name+"@") {
				names += name + " "
			}
		}
		return names
	}
	stop, err := controltest.Serve(ns, controltest.NewNode())
	if err != nil {
		t.Fatal(err)
	}
	if code, said := cleanup(); code != 1 || left() != "sis0 far0 carp0 carp1 carp2 " {
		t.Errorf("while a daemon runs: status %d, left %s: %s", code, left(), said)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("pfsyncd: %s: removed, it was left over\npfsyncd: %s: removed, it was left over\n", "carp0", "carp1")
	for _, want := range []string{want, ""} { // the second time there is nothing
		if code, said := cleanup(); code != 0 || said != want || left() != "sis0 far0 carp2 " {
			t.Errorf("status %d, left %s, said %q, want %q", code, left(), said, want)
		}
	}
}

// The unit has it done, with the path of the program that is installed.
func TestUnitCleansUp(t *testing.T) {
	if got := strings.Join(unitSetting(t, "ExecStopPost"), " "); got != "pfsyncd --cleanup" {
		t.Errorf("ExecStopPost=%s", got)
	}
}
