package tunnel

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// A building at rest finds its buffers again after collections, instead of being given
// new ones each time: a new one is not trimmed yet, and so counted.
func TestBuffersOutliveCollections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		synctest.Wait()

		const rounds = 40
		g.keepBuffers(nil)
		before := g.Stats().Trimmed
		for range rounds {
			runtime.GC()
			g.keepBuffers(nil)
		}
		// The race detector makes pools lose a quarter of what they are given, and some of
		// what they have they do not find.
		if fresh := g.Stats().Trimmed - before; fresh > rounds*keptBuffers*3/4 {
			t.Errorf("%d new buffers in %d collections", fresh, rounds)
		}
		g.stop(t)
	})
}
