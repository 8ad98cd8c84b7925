// Package knxserver is a virtual KNX IP interface together with the bus behind
// it: the server side of KNXnet/IP tunnelling over UDP (KNX 03_08_02 Core and
// 03_08_04 Tunnelling) as real interfaces play it, and group objects that live.
//
// A Server is a state machine without sockets, clock or goroutines. The owner
// feeds it datagrams and the time, and drains what it sends after every call:
//
//	s := knxserver.New(knxserver.Config{Profile: knxserver.Building()}, rand.Float64)
//	s.Start(now)
//	for each event {
//		s.Receive(now, from, datagram) // or Expire, Inject, SetFaults
//		for d, ok := s.Next(); ok; d, ok = s.Next() { … }
//		at, ok := s.Deadline()         // call Expire then
//	}
//
// Same seed, same calls: same behaviour. Faults of the interface are set by
// SetFaults or by a Script; faults of the network are not of this package. What
// the bus saw and what clients acknowledged is recorded, so that a test can
// compare telegram by telegram: see TakeRecord.
//
// Where to look: standard.go has the standard's times, core.go the services of
// a connection, tunnel.go those within one, channel.go what is sent to a client
// and repeated, bus.go and profile.go the bus and its objects, faults.go and
// script.go what goes wrong, record.go the referee.
package knxserver
