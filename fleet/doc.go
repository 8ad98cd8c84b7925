// Package fleet turns the buildings that are desired and owned into running
// sites, and is the one place that knows how each of them is.
//
// A site is a building's tunnel, TCP/IP stack and KNX session; site.go puts the
// three together. The telegrams of all sites meet in the Hub, from which every
// subscriber gets those that its Filter selects. The board in board.go holds
// what clients see of a building: what is desired of it, and its state, which
// exactly one writer sets at a time.
package fleet
