package wireguard

import (
	"testing"
	"testing/synctest"
)

// A real wireguard-go initiation says who sent it, to the one that it calls.
func TestCallerOfARealInitiation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := connect(t, gatewayCalls(psk))
		var call []byte
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if toRouter && call == nil {
				call = append([]byte(nil), b...)
			}
			return nil
		})
		w.sendFromGateway("x")
		w.settle()

		router, gateway := publicOf(routerKey), publicOf(gatewayKey)
		if MessageType(call) != Initiation {
			t.Fatalf("captured %d bytes of type %d", len(call), MessageType(call))
		}
		if !ValidMAC1(MAC1Key(router), call) {
			t.Error("the MAC of a real initiation is refused")
		}
		if ValidMAC1(MAC1Key(gateway), call) {
			t.Error("the MAC fits another key")
		}
		if got, ok := Caller(routerKey, router, call); !ok || got != gateway {
			t.Errorf("the caller is %x (%v), want %x", got, ok, gateway)
		}
		if _, ok := Caller(stranger, publicOf(stranger), call); ok {
			t.Error("another key opened it")
		}
		clear(call[initiationEphemeral:initiationStatic])
		if _, ok := Caller(routerKey, router, call); ok {
			t.Error("a zero ephemeral key was taken")
		}
	})
}
