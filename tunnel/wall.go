package tunnel

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits are what one building may send in a second; zero is the default. A quarter of
// it may come at once.
type Limits struct {
	Packets int
	Bytes   int64
}

// The default limits. What decrypting so many datagrams costs is a fraction of one
// core; it is a hundred times what a KNX bus carries, and enough for 200 Mbit/s beside
// it. A quarter of it is more than a TCP window.
const (
	datagramsPerSecond = 20_000
	bytesPerSecond     = datagramsPerSecond * 1500
	burstPart          = 4
	// largestDatagram must be able to pass.
	largestDatagram = 1<<16 - 1
)

// wall is what stands between the sockets and one tunnel that is flooded. It is safe
// for concurrent use.
type wall struct {
	packets, bytes *rate.Limiter
	dropped        atomic.Uint64 // what was refused here, or found no room
}

func (w *wall) init() {
	packets, bytes, packetsBurst, bytesBurst := Limits{}.rates()
	w.packets, w.bytes = rate.NewLimiter(packets, packetsBurst), rate.NewLimiter(bytes, bytesBurst)
}

// rates are the limits, defaults filled in, and what may come at once.
func (l Limits) rates() (packets, bytes rate.Limit, packetsBurst, bytesBurst int) {
	if l.Packets <= 0 {
		l.Packets = datagramsPerSecond
	}
	if l.Bytes <= 0 {
		l.Bytes = bytesPerSecond
	}
	return rate.Limit(l.Packets), rate.Limit(l.Bytes),
		max(l.Packets/burstPart, 1), int(min(max(l.Bytes/burstPart, largestDatagram), 1<<30))
}

// admit reports whether a datagram may pass.
func (w *wall) admit(now time.Time, size int) bool {
	return w.packets.AllowN(now, 1) && w.bytes.AllowN(now, size)
}

func (w *wall) set(now time.Time, l Limits) {
	packets, bytes, packetsBurst, bytesBurst := l.rates()
	w.packets.SetLimitAt(now, packets)
	w.packets.SetBurstAt(now, packetsBurst)
	w.bytes.SetLimitAt(now, bytes)
	w.bytes.SetBurstAt(now, bytesBurst)
}

// SetLimits changes what the building may send. What exceeds it is dropped before it
// is decrypted, and counted in Counters.RxDropped.
func (t *Tunnel) SetLimits(l Limits) { t.route.wall.set(time.Now(), l) }
