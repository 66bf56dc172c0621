// Package clitest runs the scripts of our command-line programs, each in a network
// namespace of its own.
package clitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// Run runs testdata/*.txtar; with update the expected output is rewritten. Beside
// testscript's commands the scripts have:
//
//	daemon         start a pfsyncd made of memory
//	daemon-late    the same, a moment later
//	daemon-hangs   start one that listens and answers nothing
//	daemon-holds   give it the states of controltest.Samples
//	daemon-hears F make these the daemon's peers: JSON as of /v1/peers
//	daemon-refuses WORD TEXT  have it refuse every change, because of that word
//	daemon-set W.. set its pfsync0 as ifconfig would
//	daemon-set-of IF W..  the same of a carp interface
//	daemon-demote N  demote its group carp
//	daemon-carps   print what it has of carp interfaces
//	daemon-events  print the holds and whose changes were asked for, in their order
//	daemon-shows   print what it has of pfsync0, and how often it was changed
//	daemon-sysctls print the variables that it keeps
//	fw PROG...     run a program in the namespace
//	guest PROG...  run it as the user nobody
//	owner UID F    give a file to a user
//
// and the condition [makes:KIND]: this kernel has links of that kind, dummy or vlan.
func Run(t *testing.T, update bool) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		testscript.Run(t, testscript.Params{
			Files:               []string{file},
			RequireExplicitExec: true,
			UpdateScripts:       update,
			Cmds:                commands(t),
			Condition:           condition(t),
			Setup: func(e *testscript.Env) error {
				e.Setenv("GORACE", "atexit_sleep_ms=0") // else each program sleeps a second when it ends
				return nil
			},
		})
	}
}

// condition asks the kernel in a namespace of its own.
func condition(t *testing.T) func(string) (bool, error) {
	return func(cond string) (bool, error) {
		kind, ok := strings.CutPrefix(cond, "makes:")
		if !ok {
			return false, fmt.Errorf("unknown condition %q", cond)
		}
		h, err := netlink.NewHandleAt(netns.NsHandle(labtest.NewNS(t).Fd()))
		if err != nil {
			return false, err
		}
		defer h.Close()
		parent := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "parent", Index: 77}, PeerName: "peer"}
		if err := h.LinkAdd(parent); err != nil {
			return false, err
		}
		attrs := netlink.LinkAttrs{Name: "probe", ParentIndex: 77}
		var link netlink.Link = &netlink.Dummy{LinkAttrs: attrs}
		if kind == "vlan" {
			link = &netlink.Vlan{LinkAttrs: attrs, VlanId: 7}
		}
		if err := h.LinkAdd(link); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return false, err
		} else if err != nil {
			return false, nil
		}
		return true, nil
	}
}

// commands are for one script: they share a namespace and a daemon.
func commands(t *testing.T) map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	ns, node := labtest.NewNS(t), controltest.NewNode()
	return map[string]func(*testscript.TestScript, bool, []string){
		"daemon": func(ts *testscript.TestScript, _ bool, _ []string) {
			stop, err := controltest.Serve(ns, node)
			ts.Check(err)
			ts.Defer(func() {
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		},
		"daemon-late": func(ts *testscript.TestScript, _ bool, _ []string) {
			started := make(chan func() error, 1)
			time.AfterFunc(300*time.Millisecond, func() {
				stop, err := controltest.Serve(ns, node)
				if err != nil {
					stop = func() error { return err }
				}
				started <- stop
			})
			ts.Defer(func() {
				if err := (<-started)(); err != nil {
					t.Error(err)
				}
			})
		},
		"daemon-hangs": func(ts *testscript.TestScript, _ bool, _ []string) {
			var l net.Listener
			ts.Check(ns.Do(func() (err error) { l, err = control.Listen(); return err }))
			ts.Defer(func() { l.Close() })
		},
		"daemon-holds": func(*testscript.TestScript, bool, []string) { node.Hold(controltest.Samples()...) },
		"daemon-hears": func(ts *testscript.TestScript, _ bool, args []string) {
			var peers []ifconfig.Peer
			ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &peers))
			node.Hear(peers...)
		},
		"daemon-refuses": func(_ *testscript.TestScript, _ bool, args []string) {
			node.RefuseAll(&control.WordError{Word: args[0], Err: errors.New(args[1])})
		},
		"daemon-sysctls": func(ts *testscript.TestScript, _ bool, _ []string) {
			list, err := node.Sysctls()
			ts.Check(err)
			for _, s := range list {
				fmt.Fprintln(ts.Stdout(), s)
			}
		},
		"daemon-set": func(ts *testscript.TestScript, _ bool, args []string) {
			c, err := ifconfig.ParseWords("pfsync0", args)
			ts.Check(err)
			ts.Check(node.Change(c))
		},
		"daemon-carps": func(ts *testscript.TestScript, _ bool, _ []string) {
			list, err := node.Interfaces()
			ts.Check(err)
			for _, i := range list {
				if i.Carp == nil {
					continue
				}
				prefixes := []netip.Prefix{}
				for _, a := range append(i.Inet, i.Inet6...) {
					prefixes = append(prefixes, a.Prefix)
				}
				fmt.Fprintf(ts.Stdout(), "%s: %s vhid %d advskew %d %v\n", i.Name, i.Carp.State, i.Carp.VHID, i.Carp.AdvSkew, prefixes)
			}
		},
		"daemon-set-of": func(ts *testscript.TestScript, _ bool, args []string) {
			c, err := ifconfig.ParseWords(args[0], args[1:])
			ts.Check(err)
			ts.Check(node.Change(c))
		},
		"daemon-demote": func(ts *testscript.TestScript, _ bool, args []string) {
			var n int
			_, err := fmt.Sscan(args[0], &n)
			ts.Check(err)
			ts.Check(node.Demote(ifconfig.Demote{Group: "carp", Count: n}))
		},
		"daemon-events": func(ts *testscript.TestScript, _ bool, _ []string) {
			for _, e := range node.Events() {
				fmt.Fprintln(ts.Stdout(), e)
			}
		},
		"daemon-shows": func(ts *testscript.TestScript, _ bool, _ []string) {
			list, err := node.Interfaces()
			ts.Check(err)
			fmt.Fprintf(ts.Stdout(), "%v mtu %d %+v, %d changes\n", list[0].Flags, list[0].MTU, *list[0].PFSync, len(node.Changes()))
		},
		"fw": func(ts *testscript.TestScript, neg bool, args []string) {
			err := ns.Do(func() error { return ts.Exec(args[0], args[1:]...) })
			if failed := err != nil; failed != neg {
				ts.Fatalf("%v: %v", args, err)
			}
		},
		"guest": func(ts *testscript.TestScript, neg bool, args []string) {
			nobody := []string{"--reuid=65534", "--regid=65534", "--clear-groups", "--"}
			err := ns.Do(func() error { return ts.Exec("setpriv", append(nobody, args...)...) })
			if failed := err != nil; failed != neg {
				ts.Fatalf("%v: %v", args, err)
			}
		},
		"owner": func(ts *testscript.TestScript, _ bool, args []string) {
			var uid int
			_, err := fmt.Sscan(args[0], &uid)
			ts.Check(err)
			ts.Check(syscall.Chown(ts.MkAbs(args[1]), uid, 0))
		},
	}
}
