package pfconf

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// labelled is a rule that Labelled looks at: one that decides, or ends the search.
type labelled struct {
	test
	label  string
	pass   bool
	quick  bool
	judged bool
}

// labels gives the rules that Labelled looks at, in file order.
func labels(rules []Rule, tests []test) (list []labelled) {
	for i := range rules {
		if r := &rules[i]; r.Action == Pass || r.Quick {
			list = append(list, labelled{tests[i], r.Label, r.Action == Pass, r.Quick, r.Judged()})
		}
	}
	return list
}

// Labelled tells whether the rule that decides on the connection has the label: the last pass rule that
// matches, or the first with quick. A rule that cannot be judged (Rule.Judged) may match or not: it is
// true only if it is so either way. Marks, and what is never synchronised, make no difference.
// It allocates nothing.
func (f *Filter) Labelled(w *Flow, label string) bool {
	v := viewOf(w)
	sure := false // every rule that may have won so far has the label
	for i := range f.labels {
		r := &f.labels[i]
		if !f.matches(&r.test, &v) {
			continue
		}
		won := sure // if the rule matches
		if r.pass {
			won = r.label == label
		}
		switch {
		case r.quick && (r.judged || !won):
			return won
		case r.quick:
		case r.judged:
			sure = won
		default:
			sure = sure && won
		}
	}
	return sure
}

// CheckLabel tells why no connection can be Labelled so, and nil if some may be.
func (rs *Ruleset) CheckLabel(label string) error {
	found := false
	for i := range rs.Rules {
		if r := &rs.Rules[i]; r.Label == label && label != "" {
			if r.Action == Pass && r.Judged() {
				return nil
			}
			found = true
		}
	}
	if found {
		return fmt.Errorf("label %s: its rules are match rules or have on, in or out, which states do not tell; give a pass rule without those this label", ifconfig.Shown(label))
	}
	return fmt.Errorf("label %s: no rule has it", ifconfig.Shown(label))
}
