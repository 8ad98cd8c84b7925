// Package peerconfig writes what a building's router needs to know of the gateway,
// in the forms that routers take: a WireGuard file, commands, or the values of a
// form.
//
// Nothing in it is a secret of the gateway. The router's own private key, and the
// preshared key, stand in it only if they were given for it.
package peerconfig
