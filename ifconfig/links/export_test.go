package links

// Step and CarryOut are for tests: the kernel hardly refuses anything late.
type Step struct {
	Word     string
	Do, Undo func() error
}

// CarryOut is carryOut.
func CarryOut(list []Step, making bool) error {
	var steps []step
	for _, s := range list {
		steps = append(steps, step{s.Word, s.Do, s.Undo})
	}
	return carryOut(steps, making)
}
