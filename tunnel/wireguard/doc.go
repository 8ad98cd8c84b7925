// Package wireguard is WireGuard's protocol for an interface with one peer, as a state
// machine without I/O, goroutine, timer or clock: it is handed datagrams, inner packets and
// the time, and gives datagrams and inner packets back. The gateway holds a building's
// tunnel with it, and the simulator plays a building's router. A tunnel with a live session
// costs little more than one KiB, so one process holds tens of thousands.
//
// Whoever runs an [End] owns the socket, calls [End.Expire] when [End.Deadline] has come,
// and asks for the deadline again after every call.
//
// It follows the WireGuard paper (https://www.wireguard.com/papers/wireguard.pdf)
// as the Linux kernel does; § in comments is a section of it. The Noise handshake is
// flynn/noise's, the primitives are those of crypto and golang.org/x/crypto. Its tests hold
// it against wireguard-go, in both roles and under every fault.
//
// # Who calls whom
//
// An End without [Config.Endpoint] and [Config.Calls] answers and, by itself, never calls:
// it starts a handshake only when [End.Initiate] or [End.Call] is called, and to renew a
// session that began so. Others also call when there is something to send and no
// session, when they have sent data and heard nothing for 15 s (§6.4), and when a
// persistent keepalive is due without a session. Unanswered calls are repeated every 5 s
// for 90 s.
//
// # Keepalives
//
// A peer that has sent data and hears nothing for 15 s takes the session for
// dead and makes a new one. In KNX that would happen after almost every
// telegram, because the gateway's acknowledgement is the last word. So, as §6.5
// demands, an End that has received data and sent nothing for 10 s sends
// one empty message, whether or not [Config.Keepalive] is set. This comes by way
// of Deadline and Expire. Whoever never calls Expire sees the peer make a new
// handshake after 15 s of one-sided traffic, and no other harm.
//
// # What it leaves out
//
// Giving cookies (§5.4.7): an End is never under load by itself; who runs it must bound the
// initiations that it is handed. It takes those of a peer under load. Allowed IPs: the
// caller looks at the packets. Renewal after 2^60 messages.
package wireguard
