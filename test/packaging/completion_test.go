package packaging_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// These complete the last of their arguments, and print one candidate a line.
var shells = map[string][]string{
	"bash": {"bash", "-c", `. /usr/share/bash-completion/completions/"$1"
		[[ $(complete -p "$1") == *"-F _pfsync"* ]] || exit
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_pfsync
		printf '%s\n' "${COMPREPLY[@]}"`, "bash"},
	// Outside of its line editor zsh has no compadd: it says what it is given.
	"zsh": {"zsh", "-f", "-c", `autoload -U compinit && compinit -u -D && [[ $_comps[$1] == _pfsync ]] || exit
		compadd() { print -rl -- ${(M)values:#$words[CURRENT]*} }
		_files() { }
		words=("$@") CURRENT=$#
		_pfsync`, "zsh"},
	"fish": {"fish", "--no-config", "-c", `set -p fish_complete_path /usr/share/fish/vendor_completions.d
		complete -C "$argv" | string replace -r '\t.*' ''; true`},
}

// completes asks each shell for what may come next.
func completes(t *testing.T, r root) {
	if err := lab.Require("bash", "zsh", "fish"); err != nil {
		t.Fatal(err)
	}
	var keywords []string
	for _, k := range ifconfig.Keywords("pfsync0") {
		if !strings.HasPrefix(k.Word, "-") { // fish hides these until one has typed the -
			keywords = append(keywords, k.Word)
		}
	}
	for _, c := range []struct {
		name      string
		line      []string
		want, not []string
	}{
		{"commands", []string{"pfsyncctl", ""}, []string{"bulk", "check", "diff", "peers", "save", "stats", "status", "sysctl", "yield"}, []string{"pfsync0"}},
		{"the beginning of a command", []string{"pfsyncctl", "st"}, []string{"stats", "status"}, []string{"bulk", "peers"}},
		{"options of a command", []string{"pfsyncctl", "stats", "--"}, []string{"--bsd", "--json"}, []string{"--metrics"}},
		{"options", []string{"pfsyncd", "--"}, []string{"--metrics", "--state-dir", "--table", "--version"}, []string{"--json"}},
		{"an argument", []string{"pfsyncd", "--table", ""}, []string{"conntrack", "memory"}, []string{"--table"}},
		{"options of one letter", []string{"pfsyncdump", "-"}, []string{"-r", "-i", "-c", "-n", "-v"}, nil},
		{"interfaces", []string{"pfifconfig", ""}, []string{"lo", "pfsync0"}, []string{"syncdev"}},
		{"keywords of pfsync0", []string{"pfifconfig", "pfsync0", ""}, keywords, []string{"lo"}},
		{"keywords that take away", []string{"pfifconfig", "pfsync0", "up", "-s"}, []string{"-syncdev", "-syncpeer"}, []string{"-key", "up"}},
		{"keywords of another", []string{"pfifconfig", "lo", ""}, []string{"up", "mtu"}, []string{"syncdev"}},
		{"the interface behind a keyword", []string{"pfifconfig", "pfsync0", "syncdev", "l"}, []string{"lo"}, []string{"syncpeer"}},
		{"a choice of the usage line", []string{"pfifconfig", "--style", ""}, []string{"openbsd", "both"}, []string{"lo"}},
		{"a choice of pfctl's", []string{"pfctl", "-s", ""}, []string{"states", "info", "rules"}, []string{"-s"}},
		{"options of netstart", []string{"pfnetstart", "-"}, []string{"-n", "-C", "-f", "--show-secrets"}, nil},
		{"interfaces to start", []string{"pfnetstart", "pf"}, []string{"pfsync0"}, []string{"lo"}},
	} {
		for shell, args := range shells {
			line := c.line
			if shell == "fish" {
				line = []string{strings.Join(line, " ")}
			}
			got := strings.Split(r.run(t, append(slices.Clone(args), line...)...), "\n")
			for _, w := range c.want {
				if !slices.Contains(got, w) {
					t.Errorf("%s: %s: no %s in %q", shell, c.name, w, got)
				}
			}
			for _, w := range c.not {
				if slices.Contains(got, w) {
					t.Errorf("%s: %s: %s in %q", shell, c.name, w, got)
				}
			}
		}
	}
}
