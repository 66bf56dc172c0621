package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// grown are the figures whose growth with the number of states is shown.
var grown = []string{
	"join s", "cpu primary s", "cpu backup s", "pair MiB", "pair MiB at rest", "idle cpu ms/s", "idle wire bytes/s",
	"mend 1000 s", "mend 1000 cpu s", "mend 1000 wire KiB", "pfctl states s", "pfctl states MiB held",
	"gc p99 ms primary", "gc p99 ms backup", "gc cpu s primary", "gc cpu s backup",
}

// printGrowth shows how figures grow from each size to the next, the double: x 2.00 is linear.
func (r *report) printGrowth(w io.Writer) {
	var sizes []string
	for _, t := range r.Trials {
		if strings.HasPrefix(t.Scenario, scalePrefix) && !slices.Contains(sizes, t.Scenario) {
			sizes = append(sizes, t.Scenario)
		}
	}
	fmt.Fprint(w, "\nGrowth: medians, and ratios to half as many states\n\n")
	tab := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(tab, "| contestant\t| figure")
	for _, s := range sizes {
		fmt.Fprintf(tab, "\t| %s", strings.TrimPrefix(s, scalePrefix))
	}
	fmt.Fprintf(tab, "\t|\n|---\t|---%s\t|\n", strings.Repeat("\t|---", len(sizes)))
	for _, k := range r.Contestants {
		for _, figure := range grown {
			if cells, there := r.growth(sizes, k, figure); there {
				fmt.Fprintf(tab, "| %s\t| %s\t| %s\t|\n", k, figure, strings.Join(cells, "\t| "))
			}
		}
	}
	tab.Flush()
}

// growth is a figure at each size.
func (r *report) growth(sizes []string, contestant, figure string) (cells []string, there bool) {
	before := 0.0
	for _, s := range sizes {
		list, doubted := r.values(s, contestant, figure)
		if len(list) == 0 {
			cells = append(cells, "-")
			before = 0
			continue
		}
		there = true
		now := median(list)
		text := short(now)
		if doubted {
			text += "?"
		}
		if before > 0 {
			text += fmt.Sprintf(" (x %.2f)", now/before)
		}
		cells = append(cells, text)
		before = now
	}
	return cells, there
}
