package man_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/man"
	"github.com/pfsync-linux/pfsync/test/lab"
)

func pages(t *testing.T) map[string]string {
	t.Helper()
	all, err := man.Pages()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 9 {
		t.Fatalf("%d pages", len(all))
	}
	return all
}

func TestExamples(t *testing.T) {
	const page = `.Sh DESCRIPTION
.Dl synopsis
.Bd -literal
one \e
.Ed
.Sh EXAMPLES
.Pa /etc/other
is not meant.
.Pp
.Pa /etc/hostname.sis0
has
.Bd -literal -offset indent
up

mtu 1400
.Ed
.Dl # echo \(dq1\(dq
.Bd -filled
text
.Ed
`
	want := []man.Example{
		{Text: "one \\\n"},
		{File: "/etc/hostname.sis0", Text: "up\n\nmtu 1400\n"},
		{Text: "# echo \"1\"\n"},
	}
	if diff := cmp.Diff(want, man.Examples(page)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMandocHasNothingToSay(t *testing.T) {
	if err := lab.Require("mandoc"); err != nil {
		t.Fatal(err)
	}
	for name := range pages(t) {
		if out, err := exec.CommandContext(t.Context(), "mandoc", "-Tlint", "-Wwarning", name).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// reference is a page that another one names.
var reference = regexp.MustCompile(`(?m)^\.Xr (\S+) ([1-9])`)

// SEE ALSO is in order, by section and name, and has every page of ours that the text names.
func TestSeeAlso(t *testing.T) {
	all := pages(t)
	for name, text := range all {
		before, list, found := strings.Cut(text, "\n.Sh SEE ALSO\n")
		if !found {
			t.Errorf("%s has no SEE ALSO", name)
			continue
		}
		list, after, _ := strings.Cut(list, "\n.Sh ")
		var also []string
		for _, m := range reference.FindAllStringSubmatch(list, -1) {
			also = append(also, m[2]+" "+m[1])
		}
		sorted := slices.Compact(slices.Sorted(slices.Values(also)))
		if diff := cmp.Diff(sorted, also); diff != "" {
			t.Errorf("%s: SEE ALSO, -want +got:\n%s", name, diff)
		}
		for _, m := range reference.FindAllStringSubmatch(before+after, -1) {
			page := m[1] + "." + m[2]
			_, ours := all[page]
			if ours && page != name && !slices.Contains(also, m[2]+" "+m[1]) {
				t.Errorf("%s names %s, and SEE ALSO does not", name, page)
			}
		}
		for _, ref := range also {
			section, page, _ := strings.Cut(ref, " ")
			if page+"."+section == name {
				t.Errorf("%s: SEE ALSO names itself", name)
			}
			for other := range all {
				if base := strings.TrimSuffix(other, other[len(other)-2:]); base == page && other != page+"."+section {
					t.Errorf("%s: SEE ALSO has %s(%s), which is %s", name, page, section, other)
				}
			}
		}
	}
}

// A page has the name of what it is about, which for a program is that of its folder.
func TestNames(t *testing.T) {
	for name, text := range pages(t) {
		base, section := name[:len(name)-2], name[len(name)-1:]
		if !strings.Contains(text, "\n.Dt "+strings.ToUpper(base)+" "+section+"\n") || !strings.Contains(text, "\n.Sh NAME\n.Nm "+base+"\n.Nd ") {
			t.Errorf("%s is about something else", name)
		}
	}
	for _, name := range []string{"ifconfig", "netstart"} {
		if !strings.Contains(pages(t)[name+".8"], "\n.Nm pf"+name+"\n") && !strings.Contains(pages(t)[name+".8"], "\n.Nm pf"+name+" ") {
			t.Errorf("%s.8 does not say that it is installed as pf%s", name, name)
		}
	}
}
