//go:build race

package fleet

// seeds of TestVirtualHours: the race detector makes each ten times longer.
const seeds = 2

// raced: what is decrypted costs ten times as much, which says nothing of real costs.
const raced = true
