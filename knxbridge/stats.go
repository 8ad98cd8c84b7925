package knxbridge

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Stats counts what a Bridge has done since New.
type Stats struct {
	session.Counters
	DatagramsIn  uint64 // read from the socket
	DatagramsOut uint64 // handed to the socket
	ReadErrors   uint64 // errors of the network that the socket reported when read
	SendErrors   uint64 // datagrams that could not be sent, and sockets not opened
	QueueWaiting int    // writes and reads that wait now
	QueueDropped uint64 // of them, refused because the queue was full, or not sent in time
	QueueLimit   int    // how many may wait
	// WriteRate is how many telegrams a second are sent at most.
	WriteRate float64
	// LastWait is how long the one sent last had waited.
	LastWait time.Duration
}

// Reconnects returns how often a session was granted again after the first.
func (s Stats) Reconnects() uint64 { return max(s.Sessions, 1) - 1 }

// Plus returns what two Bridges did together; the what is of now and not counted is that of s.
func (s Stats) Plus(other Stats) Stats {
	s.Counters = s.Counters.Plus(other.Counters)
	s.DatagramsIn += other.DatagramsIn
	s.DatagramsOut += other.DatagramsOut
	s.ReadErrors += other.ReadErrors
	s.SendErrors += other.SendErrors
	s.QueueDropped += other.QueueDropped
	return s
}

// Stats returns what was counted up to the owner loop's last wakeup or change of
// state. It may be called from any goroutine.
func (b *Bridge) Stats() Stats {
	b.mu.Lock()
	s := b.stats
	b.mu.Unlock()
	s.QueueWaiting, s.QueueLimit, s.QueueDropped = b.queue.depth()
	s.WriteRate = float64(b.pace.Limit())
	return s
}

// publish takes the snapshot that Stats returns: once at each wakeup and change of
// state, so that nothing is locked or atomic for each telegram.
func (b *Bridge) publish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats = Stats{
		Counters:     b.machine.Counters(),
		DatagramsIn:  b.datagramsIn,
		DatagramsOut: b.datagramsOut,
		ReadErrors:   b.readErrors,
		SendErrors:   b.sendErrors,
		LastWait:     b.lastWait,
	}
}
