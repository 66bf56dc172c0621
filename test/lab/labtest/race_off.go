//go:build !race

package labtest

// raceFlags builds the programs as this test was built: without the race detector.
func raceFlags() []string { return nil }
