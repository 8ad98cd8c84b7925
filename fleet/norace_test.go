//go:build !race

package fleet

// seeds of TestVirtualHours.
const seeds = 20
