package hostname_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
	"github.com/pfsync-linux/pfsync/man"
)

// Every example of the manual page is a file, and becomes the commands below.
func TestExamplesOfTheManual(t *testing.T) {
	pages, err := man.Pages()
	must(t, err)
	var got []string
	for _, e := range man.Examples(pages["hostname.if.5"]) {
		name := "sis0"
		if strings.Contains(e.Text, "syncdev") {
			name = "pfsync0"
		}
		steps, err := hostname.Parse(strings.NewReader(e.Text), name, path)
		if err != nil {
			t.Errorf("%s\n%v", e.Text, err)
		}
		for _, s := range steps {
			if _, err := s.Change(); name == "pfsync0" && err != nil {
				t.Errorf("%v: %v", s, err)
			}
		}
		got = append(got, shown(steps))
	}
	want := []string{
		"1: ifconfig sis0 inet 192.168.254.254 netmask 255.255.255.0\n",
		"2: ifconfig pfsync0 up syncdev sis2\n",
		"1: ifconfig pfsync0 up syncdev sis2 syncpeer 192.168.254.253\n3: ifconfig pfsync0 maxupd 1 key /etc/pfsync.key\n",
		"1: ifconfig sis0 inet 10.0.1.12 netmask 255.255.255.0 description 'WAN uplink'\n2: ifconfig sis0 inet alias 10.0.1.13 netmask 0xffffffff\n" +
			"3: ifconfig sis0 inet6 2001:db8::12 prefixlen 64\n4: ifconfig sis0 up\n5: ip route replace 10.9.0.0/16 via 10.0.1.1 dev sis0\n",
		"1: ifconfig sis0 inet 10.0.2.1 10.0.2.2 netmask 255.255.255.252\n",
		"1: ifconfig sis0 up\n1: dhcp sis0\n2: ifconfig sis0 inet6 autoconf\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
