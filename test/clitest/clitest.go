// Package clitest runs the scripts of our command-line programs, each in a network
// namespace of its own.
package clitest

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

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
//	daemon-set W.. set its pfsync0 as ifconfig would
//	daemon-shows   print what it has of pfsync0, and how often it was changed
//	fw PROG...     run a program in the namespace
//	guest PROG...  run it as the user nobody
//	owner UID F    give a file to a user
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
		})
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
		"daemon-set": func(ts *testscript.TestScript, _ bool, args []string) {
			c, err := ifconfig.ParseWords("pfsync0", args)
			ts.Check(err)
			ts.Check(node.Change(c))
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
