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
// Most buildings need UDP only. Their stack is one gVisor stack without TCP,
// which runs no goroutine; the first use of TCP makes a second
// gVisor stack on the same addresses, and packets are sorted between the two by
// protocol; it is given back when it has not been used for a while. What waits for a reader
// is bounded: see datagrams.go. Nothing waits on the way to the building: what leaves a
// stack is handed on at once, whatever its destination;
// which addresses lie behind the tunnel is decided by WireGuard's allowed IPs.
package netstack
