// Package netstack gives a building its own TCP/IP stack in this process.
//
// What WireGuard decrypts is given to a [Stack], and what the building is to receive
// comes out of it: by a call ([Stack.Connect], [Stack.Deliver]), or by Read and Write as of
// any tun.Device. On its inner side it
// offers what a program needs in the building's network: [Stack.ListenUDP],
// [Stack.DialTCP], [Stack.ListenTCP], [Stack.Ping], and [Stack.Tap] to watch
// the packets.
// Stacks know nothing of each other, so thousands of buildings with the same
// addresses live side by side.
//
// Most buildings need UDP only. Their stack is one gVisor stack without TCP,
// which runs no goroutine; the first use of TCP makes a second
// gVisor stack on the same addresses, and packets are sorted between the two by
// protocol; it is given back when it has not been used for a while. Everything that waits for a peer to empty it is bounded: see
// queue.go for packets to the building and datagrams.go for those received.
//
// What leaves a stack goes the same way, whatever its destination:
// which addresses lie behind the tunnel is decided by WireGuard's allowed IPs.
package netstack
