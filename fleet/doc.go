// Package fleet turns the buildings that are desired and owned into running
// sites, and is the one place that knows how each of them is.
//
// A site is a building's tunnel, TCP/IP stack and KNX session; site.go puts the
// three together. The telegrams of all sites meet in the Hub, from which every
// subscriber gets those that its Filter selects. Names and values come from the
// building's group address table (package tables): table.go puts them to a
// telegram, once for all subscribers, and write.go takes address and type of a
// write from it.
//
// The board in board.go holds what clients see of a building: what is desired of
// it, and its state, which exactly one writer sets at a time.
package fleet
