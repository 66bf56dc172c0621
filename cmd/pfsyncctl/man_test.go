package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

// The manual page has every variable with its meaning, range and default, as the registry has them.
func TestTheManualHasEveryVariable(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsyncctl.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range sysctl.Variables() {
		meaning := strings.ToUpper(v.Meaning[:1]) + v.Meaning[1:]
		want := fmt.Sprintf(".It Va %s\n%s\n.Pq %d to %d; default %d\n", v.Name, meaning, v.Min, v.Max, v.Default)
		switch {
		case v.Opaque:
			want = ".Va " + v.Name + "\n"
		case v.Linux != "":
			want = fmt.Sprintf(".It Va %s\n%s\n.Po %d to %d; Linux's own\n.Va %s\n.Pc\n", v.Name, meaning, v.Min, v.Max, v.Linux)
		case v.ReadOnly != "":
			want = fmt.Sprintf(".It Va %s\n%s\n.Pq read only; default %d\n", v.Name, meaning, v.Default)
		}
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no line %s", want)
		}
	}
}

// What pfsync does not do stands where pfsync(4) begins.
func TestTheManualSaysWhatIsNotShared(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsync.4")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n.Sh DESCRIPTION\n")
	text, _, _ = strings.Cut(text, "\n.Ss ")
	for _, word := range []string{"rules", "addresses", "routes", "neighbours"} {
		if !strings.Contains(text, word) {
			t.Errorf("nothing is said of %s", word)
		}
	}
}
