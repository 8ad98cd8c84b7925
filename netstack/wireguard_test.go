package netstack

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
)

// Two real WireGuard devices over two stacks, across re-keys, until closed.
func TestUnderWireGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway := newStack(t, gatewayAddr+"/24")
		building := newStack(t, deviceAddr+"/24")
		var keys [2]*ecdh.PrivateKey
		for i := range keys {
			key, err := ecdh.X25519().GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys[i] = key
		}
		binds := bindtest.NewChannelBinds()
		var devices []*device.Device
		for i, s := range []*Stack{gateway, building} {
			allowed := []string{deviceAddr, gatewayAddr}[i]
			d := device.NewDevice(s, binds[i], device.NewLogger(device.LogLevelSilent, ""))
			// ChannelBinds know the other side as port 1 and 2.
			if err := d.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\nallowed_ip=%s/32\nendpoint=127.0.0.1:%d\n",
				keys[i].Bytes(), keys[1-i].PublicKey().Bytes(), allowed, 1+i)); err != nil {
				t.Fatal(err)
			}
			devices = append(devices, d)
		}
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		server := listenUDP(t, building, deviceAddr+":3671")
		synctest.Wait() // EventUp has brought the devices up
		for i := range 30 {
			send(t, client, fmt.Sprint("request ", i), deviceAddr+":3671")
			expect(t, server, fmt.Sprint("request ", i), gatewayAddr+":40000")
			send(t, server, "response", gatewayAddr+":40000")
			expect(t, client, "response", deviceAddr+":3671")
			<-time.After(20 * time.Second)
		}
		for _, d := range devices {
			d.Close()
		}
		if _, _, err := client.TryRead(nil); err == nil {
			t.Error("the device's Close did not close the stack")
		}
	})
}
