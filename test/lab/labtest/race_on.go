//go:build race

package labtest

// raceFlags builds the programs as this test was built: with the race detector.
func raceFlags() []string { return []string{"-race"} }
