package tunnel

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"golang.zx2c4.com/wireguard/conn"
)

func datagram(n uint32, size int) received {
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, n)
	return received{data: b}
}

func TestInboxKeepsOrderAndBounds(t *testing.T) {
	in := newInbox()
	if in.push(datagram(0, 4)) {
		t.Error("a closed inbox took a datagram")
	}
	epoch, err := in.start()
	if err != nil {
		t.Fatal(err)
	}
	var next, want uint32
	for _, step := range []struct{ push, pop int }{{5, 3}, {20, 2}, {300, 290}, {inboxDatagrams - 30, 100}, {100, 512}} {
		for range step.push {
			if !in.push(datagram(next, 4)) {
				t.Fatalf("refused with %d held", in.n)
			}
			next++
		}
		for range step.pop {
			d, ok := in.pop(epoch)
			if got := binary.LittleEndian.Uint32(d.data); !ok || got != want {
				t.Fatalf("got %d, %v, want %d", got, ok, want)
			}
			want++
		}
	}
	if in.n != 0 || in.size != 0 || len(in.ring) > inboxStart {
		t.Errorf("at rest: %d held, %d bytes, %d slots", in.n, in.size, len(in.ring))
	}
	for i := range uint32(inboxDatagrams + 10) {
		if got := in.push(datagram(i, 4)); got != (i < inboxDatagrams) {
			t.Fatalf("datagram %d taken: %v", i, got)
		}
	}
	if d, _ := in.pop(epoch); binary.LittleEndian.Uint32(d.data) != 0 {
		t.Error("the oldest was dropped, not the newest")
	}
}

func TestInboxBoundsBytes(t *testing.T) {
	in := newInbox()
	if _, err := in.start(); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for in.push(datagram(0, 65_000)) {
		taken++
	}
	if taken*65_000 > inboxBytes || taken < 10 {
		t.Errorf("%d datagrams of 65,000 bytes taken", taken)
	}
}

// The order in which wireguard-go opens and closes: Close comes first.
func TestBindOpenAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := NewExchange(zerolog.Nop())
		in := newInbox()
		b := &bind{x: x, inbox: in, route: newRoute(exampleKey, examplePeer, in)}
		for range 3 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if err := b.Send([][]byte{make([]byte, 32)}, &endpoint{source(1)}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Send while closed: %v", err)
			}
			fns, _, err := b.Open(0)
			if err != nil || len(fns) != 1 {
				t.Fatalf("%d receive functions, %v", len(fns), err)
			}
			if _, _, err := b.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
				t.Errorf("opened twice: %v", err)
			}
			packets, sizes, eps := [][]byte{make([]byte, 2000)}, make([]int, 1), make([]conn.Endpoint, 1)
			in.push(received{make([]byte, 100), source(1)})
			if n, err := fns[0](packets, sizes, eps); n != 1 || err != nil || sizes[0] != 100 || eps[0].DstToString() != source(1).String() {
				t.Errorf("received %d of %d bytes from %v, %v", n, sizes[0], eps[0], err)
			}
			ended := make(chan error)
			go func() {
				_, err := fns[0](packets, sizes, eps)
				ended <- err
			}()
			synctest.Wait()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a waiting receive ended with %v, want net.ErrClosed", err)
			}
			<-in.readerEnded()
		}
		in.stop(true)
		if _, _, err := b.Open(0); !errors.Is(err, net.ErrClosed) {
			t.Errorf("opened after the end: %v", err)
		}
	})
}
