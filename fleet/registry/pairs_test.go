package registry

import "testing"

// Which other building has the same key with the same router is known of all that was
// stored, changed and deleted here.
func TestSharesKeys(t *testing.T) {
	ctx := t.Context()
	r, _ := open(t, t.TempDir())
	a := create(t, r, full("a"))
	next := watch(t, r)
	for told := next(); told.Type != SnapshotComplete; {
		told = next()
	}
	want := func(what string, b Building, want string) {
		t.Helper()
		if other, shares := r.SharesKeys(b); other != want || shares != (want != "") {
			t.Errorf("%s shares keys with %q, want %q", what, other, want)
		}
	}
	otherRouter, otherKey := full("c"), full("d")
	otherRouter.Tunnel.PrivateKey = a.Tunnel.PrivateKey
	otherKey.Tunnel.Peer = a.Tunnel.Peer
	want("itself", a, "")
	want("the key, another router", create(t, r, otherRouter), "")
	want("the router, another key", create(t, r, otherKey), "")
	d, err := r.Update(ctx, "d", 0, func(b *Building) error { b.Tunnel.PrivateKey = a.Tunnel.PrivateKey; return nil })
	if err != nil {
		t.Fatal(err)
	}
	want("both", d, "a")
	want("both", a, "d")
	if err := r.Delete(ctx, "a", 0); err != nil {
		t.Fatal(err)
	}
	want("both, and the other is gone", d, "")
}
