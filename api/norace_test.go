//go:build !race

package api

// raceEnabled tells that this is a build with the race detector.
const raceEnabled = false
