package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is how many of /proc's units of processor time make a second: USER_HZ.
const ticks = 100

// processor is the time that a process has had on the processors, in seconds. The
// scheduler's own account is finer, but forgets threads that have ended.
func processor(pid int) float64 {
	coarse := 0.0
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // the name may hold anything
		const utime, stime = 11, 12
		if len(fields) > stime {
			coarse = (number(fields[utime]) + number(fields[stime])) / ticks
		}
	}
	fine := 0.0
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // no error: the pattern is good
	for _, t := range tasks {
		if b, err := os.ReadFile(t); err == nil {
			if fields := strings.Fields(string(b)); len(fields) > 0 {
				fine += number(fields[0]) / 1e9
			}
		}
	}
	const error = 0.03 // of the coarse one
	if fine == 0 || coarse > fine+error {
		return coarse
	}
	return fine
}

// memory is what a process holds of the machine's, in bytes, shared pages in equal parts (PSS).
func memory(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			return number(strings.Fields(value)[0]) * 1024
		}
	}
	return 0
}

// busy is the time that all processors have worked since boot, in seconds, without what
// they did for the network: that is counted as no program's or as that of whom it
// interrupts. What the hypervisor took is in it.
func busy() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	sum := 0.0
	for i, field := range strings.Fields(line) {
		switch i {
		case 1, 2, 3, 8: // user, nice, system, steal
			sum += number(field)
		}
	}
	return sum / ticks
}

func number(s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return n
}
