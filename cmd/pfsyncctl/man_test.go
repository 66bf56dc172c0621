package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

// The manual page has every variable with its default and range, as the registry has them.
func TestTheManualHasEveryVariable(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsyncctl.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range sysctl.Variables() {
		want := fmt.Sprintf(".It %s Ta %d Ta %d to %d\n", v.Name, v.Default, v.Min, v.Max)
		switch {
		case v.Opaque:
			want = ".Va " + v.Name + "\n"
		case v.Linux != "":
			want = fmt.Sprintf(".It %s Ta Ta %d to %d\n", v.Name, v.Min, v.Max)
		case v.ReadOnly != "":
			want = fmt.Sprintf(".It %s Ta %d Ta read only\n", v.Name, v.Default)
		}
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no line %s", want)
		}
		if v.Linux != "" && !strings.Contains(string(page), ".Va "+v.Linux) {
			t.Errorf("the page does not name %s", v.Linux)
		}
	}
}
