package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// The demo's exit status is its proof, so the verdict must be able to fail.
func TestVerdict(t *testing.T) {
	lived := []traffic.Row{{Kind: traffic.TCP, Flows: 2, Survived: 2}, {Kind: traffic.ICMP, Flows: 1, Survived: 1}}
	died := []traffic.Row{{Kind: traffic.TCP, Flows: 2}, {Kind: traffic.ICMP, Flows: 1, Survived: 1}}
	stalled := []traffic.Row{{Kind: traffic.TCP, Flows: 2, Survived: 1, Beyond: 3 * time.Second}, {Kind: traffic.ICMP, Flows: 1, Survived: 1}}
	reset := []traffic.Row{{Kind: traffic.TCP, Flows: 2, Survived: 2, Resets: 1, Errors: []error{errors.New("reset")}}}
	for _, test := range []struct {
		name          string
		with, without []traffic.Row
		want          string // "": the claim holds
	}{
		{"as claimed", lived, died, ""},
		{"one stalled", stalled, died, "with pfsync: TCP: 1 of 2 did not survive"},
		{"one reset", reset, died, "with pfsync: TCP: 1 resets"},
		{"all died", died, died, "with pfsync: TCP: 2 of 2 did not survive"},
		{"all lived anyway", lived, lived, "without pfsync: TCP: 2 of 2 survived"},
	} {
		err := verdict(test.with, test.without)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
