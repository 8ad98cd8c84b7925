//go:build !race

package fleet

// seeds of TestVirtualHours.
const seeds = 20

// raced: costs are as they are.
const raced = false
