package knxbridge

import "github.com/knxfleet/knxfleet/knxbridge/session"

// Stats counts what a Bridge has done since New.
type Stats struct {
	session.Counters
	DatagramsIn  uint64 // read from the socket
	DatagramsOut uint64 // handed to the socket
	ReadErrors   uint64 // errors of the network that the socket reported when read
	SendErrors   uint64 // datagrams that could not be sent, and sockets not opened
	QueueWaiting int    // writes that wait now
	QueueRefused uint64 // writes refused because the queue was full
}

// Reconnects returns how often a session was granted again after the first.
func (s Stats) Reconnects() uint64 { return max(s.Sessions, 1) - 1 }

// Plus returns what two Bridges did together; the writes that wait are those of s.
func (s Stats) Plus(other Stats) Stats {
	s.Counters = s.Counters.Plus(other.Counters)
	s.DatagramsIn += other.DatagramsIn
	s.DatagramsOut += other.DatagramsOut
	s.ReadErrors += other.ReadErrors
	s.SendErrors += other.SendErrors
	s.QueueRefused += other.QueueRefused
	return s
}

// Stats returns what was counted up to the owner loop's last wakeup. It may be
// called from any goroutine.
func (b *Bridge) Stats() Stats {
	b.mu.Lock()
	s := b.stats
	b.mu.Unlock()
	s.QueueWaiting, s.QueueRefused = b.queue.depth()
	return s
}

// publish takes the snapshot that Stats returns: once at each wakeup, so that
// nothing is locked or atomic for each telegram.
func (b *Bridge) publish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats = Stats{
		Counters:     b.machine.Counters(),
		DatagramsIn:  b.datagramsIn,
		DatagramsOut: b.datagramsOut,
		ReadErrors:   b.readErrors,
		SendErrors:   b.sendErrors,
	}
}
