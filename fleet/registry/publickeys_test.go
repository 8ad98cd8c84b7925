package registry

import (
	"testing"

	"github.com/knxfleet/knxfleet/tunnel"
)

// A key that changed, or a building of the same name made anew, is told as it is.
func TestPublicKeysFollowTheBuilding(t *testing.T) {
	var keys PublicKeys
	b := Building{ID: "hq"}
	for range 3 {
		b.Tunnel.PrivateKey = tunnel.GeneratePrivateKey()
		for range 2 {
			if got, want := keys.Of(b), b.Tunnel.PrivateKey.Public(); got != want {
				t.Fatalf("public key %v, want %v", got, want)
			}
		}
	}
	keys.Forget("hq")
	if len(keys.of) != 0 {
		t.Error("the private key of a deleted building is still in memory")
	}
}
