package main

import (
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/control"
)

// No command line makes the program panic, and what it takes for a kill is one that the daemon takes.
func FuzzArguments(f *testing.F) {
	for _, words := range []string{
		"-ss", "-vvs states -i sis0", "-k 10.0.0.1 -k ::/0", "-k id -k 12/34", "-k key -k tcp_10.0.0.1:22_<-_10.0.0.2:4",
		"-nf pf.conf", "-Fall", "--json -sm", "--host=10.0.0.0/8 -ss", "-s", "-", "--", "-k", "\x00", "-ksé",
	} {
		f.Add(words)
	}
	f.Fuzz(func(t *testing.T, words string) {
		args := strings.Split(words, " ")
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		o, err := parse(args)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q: %q", words, err)
			}
			return
		}
		if len(o.kill) != 2 {
			return
		}
		switch o.kill[0] {
		case "id":
			var k control.Kill
			if parseID(o.kill[1], &k) == nil && k.Validate() != nil {
				t.Errorf("%q: %v", words, k.Validate())
			}
		case "key":
			if key, err := parseKey(o.kill[1]); err == nil {
				if err := (&control.Kill{Key: &key}).Validate(); err != nil {
					t.Errorf("%q: %v", words, err)
				}
			}
		}
	})
}
