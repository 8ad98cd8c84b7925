// Package netstack gives a building its own TCP/IP stack in this process.
//
// What WireGuard decrypts is given to a [Stack] by [Stack.Deliver], and what the building is
// to receive leaves it by the function given to [Stack.Connect]. On its inner side it
// offers what a program needs in the building's network: [Stack.ListenUDP],
// [Stack.DialTCP], [Stack.ListenTCP], [Stack.Ping], and [Stack.Tap] to watch
// the packets.
// Stacks know nothing of each other, so thousands of buildings with the same
// addresses live side by side.
//
// A KNX session is plain UDP datagrams, and they need no more of a stack than a table of
// sockets (plain.go). All else is gVisor's: the first fragment, echo request or other thing
// that is not plain makes a gVisor stack for UDP and ICMP, which runs no goroutine and stays;
// the first use of TCP makes another one on the same addresses, which is given back when it
// has not been used for a while. Packets are sorted between them by protocol. What waits for a
// reader is bounded: see datagrams.go. Nothing waits on the way to the building: what leaves a
// stack is handed on at once, whatever its destination; which addresses lie behind the tunnel
// is decided by WireGuard's allowed IPs.
package netstack
