// Package responder plays the router's end of a WireGuard tunnel for a virtual
// building. Tests, the demo and load generation use it; the gateway never does.
//
// A [End] is a state machine without I/O, goroutine, timer or clock: it is
// handed datagrams, inner packets and the time, and gives datagrams and inner
// packets back. A building with a live session costs little more than one KiB, so one
// process plays tens of thousands. Whoever runs it owns the socket, calls
// [End.Expire] when [End.Deadline] has come, and asks for the
// deadline again after every call.
//
// It follows the WireGuard paper (https://www.wireguard.com/papers/wireguard.pdf)
// as the Linux kernel does. The Noise handshake is flynn/noise's.
//
// # Who calls whom
//
// An End without [Config.Endpoint] answers and, by itself, never calls: it
// starts a handshake only when [End.Initiate] is called, and to renew a
// session that began so. With an Endpoint it is a router that calls in, as one
// behind CGNAT must. Then it also calls when there is something to send and no
// session, when it has sent data and heard nothing for 15 s (§6.4), and when a
// persistent keepalive is due without a session.
//
// # Keepalives
//
// A peer that has sent data and hears nothing for 15 s takes the session for
// dead and makes a new one. In KNX that would happen after almost every
// telegram, because the gateway's acknowledgement is the last word. So, as §6.5
// demands, an End that has received data and sent nothing for 10 s sends
// one empty message, whether or not [Config.Keepalive] is set. This comes by way
// of Deadline and Expire. Whoever never calls Expire sees the gateway make a new
// handshake after 15 s of one-sided traffic, and no other harm.
//
// # What it leaves out
//
// Cookies (§5.4.7): an End is never under load, and ignores the replies of
// a peer that is; it calls again 5 s later. Queueing of packets while there is no
// session: [End.Send] says that there is none. Allowed IPs: the caller
// looks at the packets. Renewal after 2^60 messages. Rounding of the timestamps
// in initiations, which hides a real router's clock.
package wireguard
