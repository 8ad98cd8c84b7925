//go:build race

package netstack

// raceEnabled tells that this is a build with the race detector.
const raceEnabled = true
