// Package simulator plays buildings: each with a WireGuard router, a LAN and a
// KNX interface, all with the same subnet, one process and one UDP socket for
// thousands of them. It is for tests, the demo and load, and far cheaper than the
// gateway, so that it can be measured against it.
//
// Package responder is the router's WireGuard, package knxserver the KNX
// interface with its bus; both are state machines. This package is the shell: the
// Simulator's loop owns all buildings, gives them datagrams and the time, and
// spoils the network between them and the gateway as told (see Link).
package simulator
