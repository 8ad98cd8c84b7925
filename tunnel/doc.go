// Package tunnel holds the WireGuard tunnels to the buildings, all of them over
// the same few UDP sockets.
//
// An [Exchange] owns the sockets. [Exchange.Open] starts the WireGuard state of a building
// (package wireguard) over a caller's [Device] and returns its [Tunnel]. A tunnel costs
// memory, but no descriptor, no thread and no goroutine.
//
// A [Config] says what one tunnel needs. [ParseWGQuick] reads it from the files
// that wg-quick and the usual routers export, [Config.Validate] checks one that
// was put together from fields. [Resolve] turns an endpoint's name into
// addresses; it is called outside of any tunnel and again whenever a name may
// have moved.
//
// # Floods from strangers
//
// Anyone can send datagrams to the sockets. What that costs is bounded:
//
//   - A datagram that is no WireGuard message, or carries a receiver index that
//     none of our tunnels gave out, costs one map lookup and is counted.
//   - A handshake initiation carries no index. It is compared with the keys of
//     the tunnels last seen at its source first (at most a few hashes). Searching
//     all keys, and opening an initiation where several tunnels share a private
//     key, draws on one token bucket for the whole exchange; an empty bucket
//     drops the datagram and counts it. Handshakes of known sources and all
//     established sessions go on.
//   - Initiations that reach a tunnel are limited per tunnel, so that recorded
//     and replayed ones cannot keep the processor busy with curve operations.
//   - What a building sends is limited in datagrams and in bytes a second, before it
//     is decrypted.
//   - A socket's reader decrypts packets of quiet buildings only. Handshakes, and what
//     busy ones send, wait for a worker, each tunnel in turn, bounded in datagrams and in
//     bytes for each; the newest is dropped.
package tunnel
