package tunnel

import (
	"bytes"
	"os"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"golang.zx2c4.com/wireguard/device"
	"pgregory.net/rapid"
)

func filled(b []byte) []byte {
	for i := range b {
		b[i] = 0xff
	}
	return b
}

// messageBuffer is one as wireguard-go makes it: on the heap, so never inlined.
//
//go:noinline
func messageBuffer() []byte { return filled(new([device.MaxMessageSize]byte)[:]) }

func TestTrimmedBufferIsGivenBackOnce(t *testing.T) {
	if os.Getpagesize() != keptSize {
		t.Skip("the figures are of pages of 4 KiB")
	}
	trim, buffer := newTrimmer(zerolog.Nop()), messageBuffer()
	trim.trim(buffer)
	if !bytes.Equal(buffer[keptSize:], make([]byte, len(buffer)-keptSize)) {
		t.Error("bytes behind the first page are left")
	}
	if i := bytes.IndexFunc(buffer[:keptSize-markSize], func(r rune) bool { return r == 0 }); i >= 0 {
		t.Errorf("byte %d, where a message may be, was touched", i)
	}

	// A usual message leaves the buffer trimmed.
	filled(buffer[:1500])
	trim.trim(buffer)
	if n := trim.trims(); n != 1 {
		t.Errorf("%d times given back, want once", n)
	}
	// A large message does not, nor does the runtime, which clears what it hands out.
	filled(buffer)
	trim.trim(buffer)
	clear(buffer)
	trim.trim(buffer)
	if n := trim.trims(); n != 3 {
		t.Errorf("%d times given back, want 3", n)
	}
}

// Whatever memory trim is given, it clears bytes of that memory alone.
func TestTrimKeepsToTheBuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		trim := newTrimmer(zerolog.Nop())
		memory := filled(make([]byte, 40*keptSize))
		from := rapid.IntRange(0, 3*keptSize).Draw(t, "from")
		size := rapid.IntRange(0, 34*keptSize).Draw(t, "size")
		if size == device.MaxMessageSize {
			t.Skip("no message buffer")
		}
		trim.trim(memory[from : from+size : from+size])
		for i, b := range memory {
			if inside := i >= from+keptSize-markSize && i < from+size; b != 0xff && !inside {
				t.Fatalf("byte %d is %d", i, b)
			}
		}
	})
}

func TestNilTrimmerDoesNothing(t *testing.T) {
	var none *trimmer
	buffer := messageBuffer()
	none.trim(buffer)
	if !bytes.Equal(buffer, messageBuffer()) || none.trims() != 0 {
		t.Error("a buffer was trimmed")
	}
}

// Where the system refuses, it is asked once.
func TestTrimFails(t *testing.T) {
	var log bytes.Buffer
	trim := newTrimmer(zerolog.New(&log))
	trim.page = 1000 // the system wants whole pages
	for range 3 {
		trim.trim(messageBuffer()[1:])
	}
	if got := bytes.Count(log.Bytes(), []byte("cannot be trimmed")); got != 1 || trim.trims() != 0 {
		t.Errorf("%d warnings, %d buffers: %s", got, trim.trims(), log.Bytes())
	}
}

// Messages of all sizes pass through trimmed buffers in both directions, and what
// waits for the next message holds no memory but its first page.
func TestTunnelsBuffersAreTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		cfg := configFor(ours, theirs.Public(), "203.0.113.1:1")
		b := openBuilding(t, g.Exchange, cfg)
		for size := 1; size < 60_000; size = size*3/2 + 1 {
			text := string(bytes.Repeat([]byte{'a' + byte(size%26)}, size))
			b.send(ourIP, lanIP, text)
			expect(t, r.stack, text)
			r.send(lanIP, ourIP, text)
			expect(t, b.stack, text)
		}
		synctest.Wait()
		if n := g.Stats().Trimmed; n < 2 {
			t.Errorf("%d buffers trimmed, want one for each direction at least", n)
		}
		r.device.Close()
		g.stop(t)
	})
}
