// Package session is the client side of one KNXnet/IP tunnelling connection
// (KNX 03_08_02 Core and 03_08_04 Tunnelling, version 1 over UDP and version 2 over
// UDP and TCP) as a state machine without sockets, clock or goroutines. Where a bus
// has several interfaces, it uses the one that works.
//
// The owner feeds it datagrams, writes and the time, and drains what it wants
// done after every call:
//
//	m := session.New(cfg, rand.Float64)
//	m.Start(now)
//	for each event {
//		m.Receive(now, from, datagram) // or Write, Expire, Kick, Stop
//		for out, ok := m.Next(); ok; out, ok = m.Next() { … }
//		at, ok := m.Deadline()         // call Expire then
//	}
//
// The machine never gives up: whatever happens, it is connected, or waits for
// an answer, or waits for its next attempt, and there is always a deadline
// until it has stopped. Each input causes a small, bounded number of outputs.
//
// Where to look: phase.go has the states, standard.go the standard's times,
// tuning.go our own, reason.go what the states' reasons mean, transport.go UDP and
// TCP, interfaces.go which of several is next, and one file each for connecting,
// heartbeat, features, sending, receiving and disconnecting. Each rule has a golden
// script in testdata.
package session
