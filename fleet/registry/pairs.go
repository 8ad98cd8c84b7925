package registry

import "slices"

// SharesKeys returns another building that has b's private key and the same router, if
// there is one. To the router the two are one peer, so that only one of them can run. It
// compares with what is in memory while [Registry.Watch] runs.
func (r *Registry) SharesKeys(b Building) (other string, shares bool) {
	with := r.mirror.withPeer(b.Tunnel.Peer)
	i := slices.IndexFunc(with, func(other Building) bool { return other.ID != b.ID && SameKeys(other, b) })
	if i < 0 {
		return "", false
	}
	return with[i].ID, true
}

// SameKeys reports whether two buildings have one private key and one router.
func SameKeys(a, b Building) bool {
	x, y := &a.Tunnel, &b.Tunnel
	return x.Peer == y.Peer && (x.PrivateKey == y.PrivateKey || x.PrivateKey.Public() == y.PrivateKey.Public())
}
