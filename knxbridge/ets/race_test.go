//go:build race

package ets_test

// raceDetector slows a parser of one goroutine some thirty times, and finds nothing in it.
const raceDetector = true
