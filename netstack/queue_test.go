package netstack

import (
	"errors"
	"os"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"pgregory.net/rapid"
)

func numbered(n int) *stack.PacketBuffer {
	return stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData([]byte{byte(n >> 8), byte(n)})})
}

func numberOf(pkt *stack.PacketBuffer) int {
	b := make([]byte, 2)
	copyPacket(b, pkt)
	return int(b[0])<<8 | int(b[1])
}

func mustPush(t testing.TB, q *queue, n int) {
	t.Helper()
	if err := q.push(numbered(n)); err != nil {
		t.Fatalf("push %d: %v", n, err)
	}
}

func mustPop(t testing.TB, q *queue, want int) {
	t.Helper()
	pkt, err := q.pop()
	if err != nil {
		t.Fatalf("pop: %v", err)
	}
	defer pkt.DecRef()
	if got := numberOf(pkt); got != want {
		t.Fatalf("popped %d, want %d", got, want)
	}
}

func TestQueueGrowsAndShrinks(t *testing.T) {
	q := newQueue()
	if len(q.ring) != 0 {
		t.Fatalf("a new queue has %d places", len(q.ring))
	}
	for i := range queueLimit {
		mustPush(t, q, i)
		if i == 0 && len(q.ring) != queueStart {
			t.Fatalf("one packet takes %d places", len(q.ring))
		}
	}
	pkt := numbered(queueLimit)
	defer pkt.DecRef()
	if _, full := q.push(pkt).(*tcpip.ErrNoBufferSpace); !full {
		t.Fatal("a full queue took a packet")
	}
	for i := range queueLimit { // the newest was dropped, the others are in order
		mustPop(t, q, i)
	}
	for i := range queueLean {
		if len(q.ring) != queueLimit {
			t.Fatalf("given back after %d rounds", i)
		}
		mustPush(t, q, i)
		mustPop(t, q, i)
	}
	if len(q.ring) != 0 {
		t.Errorf("%d places are kept after the burst", len(q.ring))
	}
	for range 2 * queueLean { // a small ring is not made again and again
		mustPush(t, q, 1)
		mustPop(t, q, 1)
	}
	if len(q.ring) != queueStart {
		t.Errorf("%d places for a packet at a time", len(q.ring))
	}
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		defer q.close()
		next, oldest := 0, 0
		for range rapid.IntRange(1, 60).Draw(t, "rounds") {
			for range rapid.IntRange(0, 40).Draw(t, "pushes") {
				if next-oldest == queueLimit {
					break
				}
				if err := q.push(numbered(next)); err != nil {
					t.Fatalf("push with %d waiting: %v", next-oldest, err)
				}
				next++
			}
			for range rapid.IntRange(0, 40).Draw(t, "pops") {
				if oldest == next {
					break
				}
				pkt, err := q.pop()
				if err != nil {
					t.Fatal(err)
				}
				if got := numberOf(pkt); got != oldest {
					t.Fatalf("popped %d, want %d", got, oldest)
				}
				pkt.DecRef()
				oldest++
			}
		}
	})
}

func TestQueueClosed(t *testing.T) {
	q := newQueue()
	mustPush(t, q, 1)
	q.close()
	q.close()
	if _, err := q.pop(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("pop: %v", err)
	}
	pkt := numbered(2)
	defer pkt.DecRef()
	if _, closed := q.push(pkt).(*tcpip.ErrClosedForSend); !closed {
		t.Error("a closed queue took a packet")
	}
}
