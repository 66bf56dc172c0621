//go:build race

package e2e_test

// raceFlags builds the programs as this test was built: with the race detector.
var raceFlags = []string{"-race"}
