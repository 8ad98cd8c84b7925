package tunnel

import (
	"runtime/metrics"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

const (
	// keptBuffers is how many message buffers each device keeps at rest: one for a
	// message on its way in, one for a message on its way out.
	keptBuffers = 2
	// poolInterval is how often keepPools looks whether garbage was collected. A pool
	// is emptied by two collections without a use between them, and those are further
	// apart at any load that leaves time for work.
	poolInterval = 200 * time.Millisecond
)

// keepPools keeps message buffers in the devices' pools until the exchange is closed.
//
// Each garbage collection empties what was in a pool since the one before. A building
// with a telegram now and then finds its pool empty each time, and takes two new buffers
// of 64 KiB, cleared by the runtime: more garbage than all else that a telegram
// leaves, which brings the next collection nearer. With thousands of buildings the
// process would be busy with that alone. A buffer that is taken and put back survives
// the next collection. See docs/adr/0023-kept-buffers.md.
func (x *Exchange) keepPools() error {
	collections := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(collections)
	seen := collections[0].Value.Uint64()
	look := time.NewTicker(poolInterval)
	defer look.Stop()
	var tunnels []*Tunnel // reused
	for {
		select {
		case <-x.closing:
			return nil
		case <-look.C:
		}
		metrics.Read(collections)
		if n := collections[0].Value.Uint64(); n != seen {
			seen = n
			tunnels = x.keepBuffers(tunnels[:0])
			clear(tunnels) // closed tunnels must not be held
		}
	}
}

// keepBuffers takes buffers out of each open tunnel's pool, trims them and puts them
// back. It appends the tunnels to dst.
func (x *Exchange) keepBuffers(dst []*Tunnel) []*Tunnel {
	x.mu.RLock()
	for t := range x.tunnels {
		dst = append(dst, t)
	}
	x.mu.RUnlock()
	for _, t := range dst {
		var taken [keptBuffers]*[device.MaxMessageSize]byte
		for i := range taken {
			taken[i] = t.device.GetMessageBuffer()
			x.trimmer.trim(taken[i][:])
		}
		for _, b := range taken {
			t.device.PutMessageBuffer(b)
		}
	}
	return dst
}
