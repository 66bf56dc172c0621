package conntrack_test

import "strings"

// words reduces what `conntrack -L` prints to its one entry, without the timeout,
// the mark and the use count.
func words(out string) string {
	var keep []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] == "conntrack" {
			continue
		}
		for i, w := range f {
			if i == 2 || strings.HasPrefix(w, "mark=") || strings.HasPrefix(w, "use=") {
				continue
			}
			keep = append(keep, w)
		}
	}
	return strings.Join(keep, " ")
}
