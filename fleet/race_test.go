//go:build race

package fleet

// seeds of TestVirtualHours: the race detector makes each ten times longer.
const seeds = 2
