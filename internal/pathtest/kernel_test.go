//go:build rig

package pathtest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/netstack"
	"github.com/knxfleet/knxfleet/tunnel"
	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// kernelBase keeps this rig apart from the table's.
const kernelBase = 28700

// The simulator's WireGuard against the kernel's: it calls, agrees on keys, and
// packets go both ways, so that what is tested against the simulator is worth as
// much as what is tested against the rig.
func TestSimulatedRouterMeetsTheKernel(t *testing.T) {
	r := &rig{
		dir: os.Getenv("RIG_DIR"), files: t.TempDir(), base: strconv.Itoa(kernelBase), busy: make(chan struct{}, rigSessions),
	}
	t.Cleanup(func() {
		if _, err := r.script(time.Minute, "down"); err != nil {
			t.Error(err)
		}
	})
	if out, err := r.script(5*time.Minute, "up", "1", r.files); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := os.ReadFile(filepath.Join(r.files, "building-1.conf"))
	if err != nil {
		t.Fatal(err)
	}
	config, _, err := tunnel.ParseWGQuick(string(file))
	if err != nil {
		t.Fatal(err)
	}
	stack, err := netstack.New(netstack.Config{Addresses: config.Addresses})
	if err != nil {
		t.Fatal(err)
	}
	router := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), kernelBase+1)
	side := &simulatedSide{stack: stack, end: wireguard.New(wireguard.Config{
		PrivateKey: wireguard.Secret(config.PrivateKey), Peer: config.Peer, PresharedKey: wireguard.Secret(config.PresharedKey), Endpoint: router,
	}, nil)}
	side.run(t)
	for _, to := range []string{"10.200.0.1", "192.168.1.3", "192.168.1.10"} {
		// A router without a session queues nothing, so the first may be lost.
		eventually(t, 30*time.Second, "ping "+to+" through the kernel's WireGuard", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			took, err := stack.Ping(ctx, netip.MustParseAddr(to))
			if err == nil {
				t.Logf("ping %s: %v", to, took.Round(time.Millisecond))
			}
			return err
		})
	}
	side.mu.Lock()
	defer side.mu.Unlock()
	if s := side.end.Stats(); s.Handshakes != 1 || s.Refused != 0 {
		t.Errorf("%+v, want one handshake and nothing refused", s)
	}
}

// simulatedSide is the simulator's WireGuard under a real stack, on a real socket.
type simulatedSide struct {
	stack *netstack.Stack

	mu   sync.Mutex
	end  *wireguard.End
	conn *net.UDPConn
}

// run plays the side until the test ends.
func (s *simulatedSide) run(t *testing.T) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	var loops sync.WaitGroup
	s.stack.Connect(s.outward)
	loops.Go(s.inward)
	done := make(chan struct{})
	loops.Go(func() { s.timers(done) })
	t.Cleanup(func() {
		close(done)
		_ = conn.Close()
		_ = s.stack.Close()
		loops.Wait()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(s.end.Initiate(time.Now()))
}

// send is called with the lock held; what is lost is repeated by its sender.
func (s *simulatedSide) send(datagram []byte, to netip.AddrPort, ok bool) {
	if ok {
		_, _ = s.conn.WriteToUDPAddrPort(datagram, to)
	}
}

func (s *simulatedSide) outward(packet []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(s.end.Send(time.Now(), nil, packet))
}

func (s *simulatedSide) inward() {
	buffer := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.mu.Lock()
		result := s.end.Receive(time.Now(), from, buffer[:n])
		s.send(result.Reply, from, result.Reply != nil)
		s.mu.Unlock()
		if result.Packet != nil {
			s.stack.Deliver(result.Packet)
		}
	}
}

func (s *simulatedSide) timers(done <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		s.mu.Lock()
		if at, due := s.end.Deadline(); due && !time.Now().Before(at) {
			s.send(s.end.Expire(time.Now()))
		}
		s.mu.Unlock()
	}
}
