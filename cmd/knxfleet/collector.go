package main

import (
	"os"
	"runtime/debug"
)

// collectorPercent is how much the heap may grow, in percent, before its garbage is
// collected; Go's own choice is 100. Of a building's heap two thirds are buffers that are
// never touched, which the collector counts and does not look at: with 100 the garbage
// would occupy more than everything else. See docs/adr/0022-garbage-collection.md.
const collectorPercent = 25

// tuneCollector sets collectorPercent, unless GOGC is in the environment.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
}
