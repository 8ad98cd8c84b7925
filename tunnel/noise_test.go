package tunnel

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/blake2s"
)

// sign puts the first MAC into an initiation.
func sign(public PublicKey, initiation []byte) {
	key := mac1Key(public)
	mac, err := blake2s.New128(key[:])
	if err != nil {
		panic(err)
	}
	mac.Write(initiation[:initiationMAC1])
	copy(initiation[initiationMAC1:], mac.Sum(nil))
}

// A real wireguard-go initiation, read by our side of the handshake.
func TestInitiatorOfARealInitiation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		var call []byte
		n.lose(func(_, _ netip.AddrPort, b []byte) bool {
			if call == nil {
				call = b
			}
			return true
		})
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), gatewayAddr)
		synctest.Wait()
		r.device.Close()

		if messageType(call) != typeInitiation {
			t.Fatalf("captured %d bytes of type %d", len(call), messageType(call))
		}
		key := mac1Key(ours.Public())
		if !validMAC1(&key, call) {
			t.Error("the MAC of a real initiation is refused")
		}
		other := mac1Key(theirs.Public())
		if validMAC1(&other, call) {
			t.Error("the MAC fits another key")
		}
		if got, ok := initiator(ours, ours.Public(), call); !ok || got != theirs.Public() {
			t.Errorf("the initiator is %v (%v), want %v", got, ok, theirs.Public())
		}
		stranger := GeneratePrivateKey()
		if _, ok := initiator(stranger, stranger.Public(), call); ok {
			t.Error("another key opened it")
		}
		clear(call[initiationEphemeral:initiationStatic])
		if _, ok := initiator(ours, ours.Public(), call); ok {
			t.Error("a zero ephemeral key was taken")
		}
	})
}
