package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// patience is how long a test over real sockets waits for what must come. It is never
// used up, also on a machine that is busy with other things.
const patience = 2 * time.Minute

// A socket that fails is opened anew at the same port, and the tunnels over it go on,
// in both address families.
func TestSocketsAreOpenedAnew(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			ours, err := Listen(ListenConfig{Address: address, Log: zerolog.Nop()})
			switch {
			case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
				if address == "[::1]:0" {
					t.Skip("this machine has no IPv6:", err)
				}
				t.Fatal(err)
			case err != nil:
				t.Fatal(err)
			}
			town, err := Listen(ListenConfig{Address: address, Log: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var running errgroup.Group
			running.Go(func() error { return ours.Run(ctx) })
			running.Go(func() error { return town.Run(ctx) })
			ourKey, theirKey := GeneratePrivateKey(), GeneratePrivateKey()
			r := &router{stack: newStack()}
			cfg := configFor(theirKey, ourKey.Public(), "")
			cfg.AllowedIPs = []netip.Prefix{netip.MustParsePrefix(ourIP + "/32")}
			if _, err := town.Open(cfg, r.stack, zerolog.Nop(), nil); err != nil {
				t.Fatal(err)
			}
			b := openBuilding(t, ours, configFor(ourKey, theirKey.Public(), town.LocalAddrs()[0].String()))
			exchangeData(t, b, r)
			handshakes := b.handshakes.Load()

			socket, before := ours.sockets[0], ours.LocalAddrs()[0]
			faults := map[string]func(){
				"closed by the system": func() { _ = socket.now().Close() },
				"its address is gone":  func() { socket.failedToSend(time.Now(), syscall.EADDRNOTAVAIL) },
			}
			reopened := uint64(0)
			for name, fault := range faults {
				fault()
				reopened++
				for deadline := time.Now().Add(patience); ours.Stats().Reopened < reopened; <-time.After(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("%s: the socket was not opened anew: %+v", name, ours.Stats())
					}
				}
				exchangeData(t, b, r)
			}
			soon := time.Unix(0, socket.lastReset.Load()).Add(reopenInterval - 1)
			socket.failedToSend(soon, syscall.EADDRNOTAVAIL) // again too soon: not heard
			exchangeData(t, b, r)
			if got := ours.Stats().Reopened; got != reopened {
				t.Errorf("opened anew %d times, want %d", got, reopened)
			}
			if after := ours.LocalAddrs()[0]; after != before || localAddr(socket.now()) != before {
				t.Errorf("the socket moved from %v to %v", before, localAddr(socket.now()))
			}
			if got := b.handshakes.Load(); got != handshakes {
				t.Errorf("%d handshakes more; the session was to go on", got-handshakes)
			}
			if err := ours.Close(); err != nil {
				t.Error(err)
			}
			if err := town.Close(); err != nil {
				t.Error(err)
			}
			cancel()
			if err := running.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Many send at once by one socket: nothing is lost, doubled or mixed up on the way, and
// what one sends comes in its order; also while the socket's reader gathers.
func TestManySendAtOnce(t *testing.T) {
	t.Run("at rest", func(t *testing.T) { manySendAtOnce(t, false) })
	t.Run("gathering", func(t *testing.T) { manySendAtOnce(t, true) })
}

func manySendAtOnce(t *testing.T, gathering bool) {
	t.Helper()
	const senders, each = 32, 400
	// A full socket loses what comes: no more is under way than it has room for, however
	// late its reader runs.
	room := make(chan struct{}, 128)
	to, from := listenLoopback(t), listenLoopback(t)
	target := to.LocalAddrs()[0]
	var mu sync.Mutex
	next := make([]uint32, senders)
	wrong, got := "", 0
	all := make(chan struct{})
	closing := make(chan struct{})
	var reading errgroup.Group
	reading.Go(func() error {
		_ = to.sockets[0].read(closing, func(d []byte, _ netip.AddrPort, _ bool) {
			mu.Lock()
			defer mu.Unlock()
			who, number := binary.LittleEndian.Uint32(d), binary.LittleEndian.Uint32(d[4:])
			if len(d) != 40+int(who) || number < next[who] {
				wrong = fmt.Sprintf("datagram %d of sender %d with %d bytes; want number %d or later", number, who, len(d), next[who])
			}
			next[who] = number + 1
			if got++; got == senders*each {
				close(all)
			}
			<-room
		}, func(error, time.Duration) {})
		return nil
	})
	late, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if gathering {
		reading.Go(func() error {
			tick := time.NewTicker(gatherFor)
			defer tick.Stop()
			for {
				from.sockets[0].out.gather()
				select {
				case <-tick.C:
					from.sockets[0].sendGathered()
				case <-closing:
					return nil
				}
			}
		})
	}
	var sending errgroup.Group
	for who := range senders {
		sending.Go(func() error {
			for number := range each {
				select {
				case room <- struct{}{}:
				case <-late.Done():
					return fmt.Errorf("sender %d has no room for its datagram %d", who, number)
				}
				d := make([]byte, 40+who)
				binary.LittleEndian.PutUint32(d, uint32(who))
				binary.LittleEndian.PutUint32(d[4:], uint32(number))
				if err := from.send(d, target); err != nil {
					return err
				}
				clear(d) // whoever sends may use its buffer again
			}
			return nil
		})
	}
	if err := sending.Wait(); err != nil {
		t.Error(err)
	}
	select {
	case <-all:
	case <-late.Done():
	}
	if err := from.Close(); err != nil {
		t.Error(err)
	}
	close(closing)
	if err := to.Close(); err != nil {
		t.Error(err)
	}
	if err := reading.Wait(); err != nil {
		t.Error(err)
	}
	if wrong != "" {
		t.Error(wrong)
	}
	if got != senders*each || from.Stats().SendErrors != 0 {
		t.Errorf("%d of %d datagrams came; %+v", got, senders*each, from.Stats())
	}
}

// What is sent while the reader gathers goes out when it has: in its order, and also when
// it is more than waits at once.
func TestAnswersGoTogether(t *testing.T) {
	const more = outboxDatagrams + 10
	to, from := listenLoopback(t), listenLoopback(t)
	conn := to.sockets[0].now()
	s, target := from.sockets[0], to.LocalAddrs()[0]
	numbers := func(n byte) (got []byte) {
		var b [16]byte
		for range n {
			if err := conn.(*batched).SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := conn.ReadFromUDPAddrPort(b[:]); err != nil {
				t.Fatal(err)
			}
			got = append(got, b[0])
		}
		return got
	}
	s.out.gather()
	for _, n := range []byte{1, 2, 3} {
		if err := from.send([]byte{n}, target); err != nil {
			t.Fatal(err)
		}
	}
	if waiting := len(s.out.queue); waiting != 3 {
		t.Errorf("%d datagrams wait for the reader, want 3", waiting)
	}
	s.sendGathered()
	if err := from.send([]byte{4}, target); err != nil {
		t.Fatal(err)
	}
	if got := numbers(4); !bytes.Equal(got, []byte{1, 2, 3, 4}) {
		t.Errorf("came as %v", got)
	}
	s.out.gather()
	for range more {
		if err := from.send([]byte{5}, target); err != nil {
			t.Fatal(err)
		}
	}
	s.sendGathered()
	for range more {
		numbers(1)
	}
	if err := errors.Join(from.Close(), to.Close()); err != nil {
		t.Error(err)
	}
}

// A tunnel with a large MTU gets its large datagrams, but for the first.
func TestLargeDatagrams(t *testing.T) {
	to, from := listenLoopback(t), listenLoopback(t)
	sizes := make(chan int, 8)
	closing := make(chan struct{})
	var reading errgroup.Group
	reading.Go(func() error {
		_ = to.sockets[0].read(closing, func(d []byte, _ netip.AddrPort, _ bool) { sizes <- len(d) }, func(error, time.Duration) {})
		return nil
	})
	for _, c := range []struct{ sent, got int }{{1500, 1500}, {9000, usualDatagram}, {9000, 9000}, {65000, 65000}} {
		if err := from.send(make([]byte, c.sent), to.LocalAddrs()[0]); err != nil {
			t.Fatal(err)
		}
		if got := <-sizes; got != c.got {
			t.Errorf("of %d bytes came %d, want %d", c.sent, got, c.got)
		}
	}
	_ = from.Close()
	close(closing)
	_ = to.Close()
	if err := reading.Wait(); err != nil {
		t.Error(err)
	}
}

// What a datagram costs, sent by as many goroutines as there are processors and read by
// one, one by one and in batches.
func BenchmarkSocket(b *testing.B) {
	for _, mode := range []string{"one by one", "batches"} {
		b.Run(mode, func(b *testing.B) {
			to, from := listenLoopback(b), listenLoopback(b)
			if mode == "one by one" {
				for _, x := range []*Exchange{to, from} {
					single := PacketConn(x.sockets[0].now().(*batched).UDPConn)
					x.sockets[0].conn.Store(&single)
				}
			}
			target := to.LocalAddrs()[0]
			closing := make(chan struct{})
			got := 0
			var reading errgroup.Group
			reading.Go(func() error {
				_ = to.sockets[0].read(closing, func([]byte, netip.AddrPort, bool) { got++ }, func(error, time.Duration) {})
				return nil
			})
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				d := make([]byte, 128)
				for pb.Next() {
					if err := from.send(d, target); err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			_ = from.Close()
			close(closing)
			to.closeSockets()
			_ = reading.Wait()
			b.ReportMetric(float64(got)/float64(b.N), "received/op")
		})
	}
}

// A datagram from port 0 is refused: a device that followed its router there would send
// where no socket can, and the socket would be taken for broken.
func TestNobodyIsAtPortZero(t *testing.T) {
	x := NewExchange(zerolog.Nop())
	r := receiver{x: x}
	data := make([]byte, 32)
	data[0] = wireguard.Transport
	r.receive(data, netip.MustParseAddrPort("203.0.113.1:0"), false)
	r.receive(data, netip.MustParseAddrPort("203.0.113.1:1"), false)
	if s := x.Stats(); s.Malformed != 1 || s.UnknownIndex != 1 {
		t.Errorf("%+v; want one refused for its port, and one for its index", s)
	}
}
