package netstack

import (
	"net/netip"
	"runtime"
	"testing"
)

// cost makes n stacks, as a fleet does: one address and one open socket each,
// and returns heap bytes and goroutines for each of them.
func cost(t testing.TB, n int, addresses ...string) (heap float64, goroutines int) {
	stacks := make([]*Stack, n)
	live := func() uint64 {
		runtime.GC()
		runtime.GC() // the second empties what sync.Pool kept
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	closeStack(t, newStack(t, addresses...)) // what all share
	before, running := live(), runtime.NumGoroutine()
	for i := range stacks {
		stacks[i] = newStack(t, addresses...)
		if _, err := stacks[i].ListenUDP(netip.AddrPort{}); err != nil {
			t.Fatal(err)
		}
	}
	heap = float64(live()-before) / float64(n)
	goroutines = runtime.NumGoroutine() - running
	runtime.KeepAlive(stacks)
	return heap, goroutines
}

func TestCostOfUDPOnlyStack(t *testing.T) {
	const budget = 2 << 10
	heap, goroutines := cost(t, 200, gatewayAddr+"/32")
	if goroutines != 0 {
		t.Errorf("200 stacks run %d goroutines", goroutines)
	}
	if heap > budget {
		t.Errorf("a stack takes %.0f bytes, the budget is %d", heap, budget)
	}
}

func BenchmarkStackMemory(b *testing.B) {
	for name, addresses := range map[string][]string{
		"IPv4":      {gatewayAddr + "/32"},
		"dualstack": {gatewayAddr + "/32", gatewayV6 + "/128"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				heap, goroutines := cost(b, 1000, addresses...)
				b.ReportMetric(heap, "bytes/stack")
				b.ReportMetric(float64(goroutines)/1000, "goroutines/stack")
			}
		})
	}
}
