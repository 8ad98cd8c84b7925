// Package knxbridge runs one KNXnet/IP tunnelling session: it gives the state
// machine of package session a socket, a clock and a queue of writes.
//
// A Bridge is one goroutine, Run, that owns all state. It gets its socket from a
// function, so it does not know in what network it works, and hands telegrams
// and states to a Handler. Datagrams are acknowledged as soon as they are read,
// before anybody sees what is in them. Writes are paced, wait in a bounded queue,
// and are answered by the bus.
package knxbridge
