package carpif_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

// hostWith is the advskew of a process that is a carp host of its own, with preempt.
const hostWith = "CARPIF_TEST_HOST"

func runHost(advskew string) int {
	fmt.Println("served:", func() error {
		log := slog.New(slog.DiscardHandler)
		s, err := carpif.New(log)
		if err != nil {
			return err
		}
		h := carp.New(s, log)
		go h.Run(context.Background())
		o := carp.DefaultOptions()
		o.Preempt = true
		if err := h.SetOptions(o); err != nil {
			return err
		}
		c := carp.Config{
			Name: "carp0", VHID: 1, Pass: "mekmitasdigoat", AdvBase: 1, CarpDev: "sis0",
			Addresses: []netip.Prefix{vip}, Groups: []string{"carp"}, Up: true,
		}
		if _, err := fmt.Sscan(advskew, &c.AdvSkew); err != nil {
			return err
		}
		return h.Configure(c)
	}())
	select {} // until it is killed
}

// ucarp runs Debian's ucarp in ns.
func ucarp(t *testing.T, ns *lab.NS, words ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	for name, verb := range map[string]string{"up": "replace", "down": "del"} {
		script := fmt.Sprintf("#!/bin/sh\nexec ip addr %s 10.0.0.1/24 dev sis0\n", verb)
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700))
	}
	cmd := exec.Command("ucarp", append([]string{"-i", "sis0", "-s", "10.0.0.253", "-v", "1", "-p", "mekmitasdigoat", "-a", "10.0.0.1",
		"-u", filepath.Join(dir, "up"), "-d", filepath.Join(dir, "down"), "-z"}, words...)...)
	check(t, ns.Start(cmd))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	check(t, cmd.Process.Kill())
	cmd.Wait()
}

// Each side wins in turn, by advskew and by the death of the other.
func TestInTurnWithUcarp(t *testing.T) {
	if err := lab.Require("ucarp"); err != nil {
		t.Fatal(err)
	}
	l := newLAN(t)
	has := func(ns *lab.NS, name string) bool {
		out, err := ns.Run(t.Context(), "ip", "-o", "addr", "show", "dev", name)
		return err == nil && strings.Contains(out, "10.0.0.1/24")
	}
	masters := func(what string, ours, theirs bool) {
		t.Helper()
		labtest.Eventually(t, what, func() bool { return has(l.a, "carp0") == ours && has(l.b, "sis0") == theirs })
	}
	// What ucarp leaves behind when it is killed, which does not vanish.
	bury := func() { labtest.Run(t, l.b, "ip addr del 10.0.0.1/24 dev sis0") }

	other := ucarp(t, l.b, "-k", "100")
	masters("ucarp alone is master", false, true)
	host := launch(t, l.a, hostWith+"=0")
	masters("ours, of advskew 0, takes over from ucarp's 100", true, false)
	kill(t, host)
	masters("ours is killed: its address vanishes, and ucarp takes over", false, true)

	host = launch(t, l.a, hostWith+"=200")
	wire := newPort(t, l.a, "sis0")
	for range 3 { // of ucarp's adverts, which it heeds
		wire.next("an advert of ucarp", 0x0800, func(b []byte) bool { return b[23] == 112 })
	}
	masters("ours, of advskew 200, leaves the address to ucarp", false, true)
	kill(t, other)
	bury()
	masters("ucarp is killed, ours takes over", true, false)
	ucarp(t, l.b, "-k", "0", "-P")
	masters("ucarp, of advskew 0, takes over from ours", false, true)
	kill(t, host)
}
