package links

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// groupFiles give names to the numbers of Linux's groups. The first of the two files that
// exists counts, and those in the folders are read too, as iproute2 does.
var groupFiles = [2]string{"/etc/iproute2/group", "/usr/share/iproute2/group"}

// groups are the names of Linux's groups. An interface of Linux's is in one group, which has
// a number; 0 is the group of all that are in no other.
type groups struct {
	names   map[uint32]string
	numbers map[string]uint32
}

func readGroups() (groups, error) {
	g := groups{map[uint32]string{}, map[string]uint32{}}
	read := false
	for _, path := range groupFiles {
		if !read {
			err := g.readFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return g, fmt.Errorf("groups: %w", err)
			}
			read = err == nil
		}
		more, _ := filepath.Glob(path + ".d/*.conf") // the pattern is a good one
		for _, path := range more {
			if err := g.readFile(path); err != nil {
				return g, fmt.Errorf("groups: %w", err)
			}
		}
	}
	return g, nil
}

// readFile reads lines of a number and a name; it skips what it does not understand, as iproute2 does.
func (g groups) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		n, err := strconv.ParseUint(fields[0], 0, 32)
		if err != nil {
			continue
		}
		g.names[uint32(n)], g.numbers[fields[1]] = fields[1], uint32(n)
	}
	return in.Err()
}

// name is what a group is called: its number if it has no name.
func (g groups) name(n uint32) string {
	if name, ok := g.names[n]; ok {
		return name
	}
	return strconv.FormatUint(uint64(n), 10)
}

// number finds a group. The error says how to make it known.
func (g groups) number(name string) (uint32, error) {
	if n, ok := g.numbers[name]; ok {
		return n, nil
	}
	free := uint32(1)
	for ; g.names[free] != ""; free++ {
	}
	return 0, fmt.Errorf("has no number in %s (echo %d %s >>%s)", groupFiles[0], free, name, groupFiles[0])
}

// change finds the group that an interface is to be in, which is in group now and, by itself,
// in its own ones. word is what asks for it.
func (g groups) change(c ifconfig.Change, now uint32, own []string) (want uint32, word string, err error) {
	want = now
	if name := c.Ungroup; name != nil {
		word = "-group " + *name
		if slices.Contains(own, *name) {
			return 0, "", fmt.Errorf("%s: %s: it is in this group by its name", c.Interface, word)
		}
		n, ok := g.numbers[*name]
		if !ok || n != now {
			return 0, "", fmt.Errorf("%s: %s: the interface is not in it", c.Interface, word)
		}
		want = 0
	}
	if name := c.Group; name != nil && !slices.Contains(own, *name) {
		word = "group " + *name
		n, err := g.number(*name)
		if err != nil {
			return 0, "", fmt.Errorf("%s: %s: %w", c.Interface, word, err)
		}
		if want != 0 && want != n {
			return 0, "", fmt.Errorf("%s: %s: it is in group %s, and Linux has one for each interface (-group %s before)",
				c.Interface, word, g.name(want), g.name(want))
		}
		want = n
	}
	return want, word, nil
}
