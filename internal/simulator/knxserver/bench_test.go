package knxserver

import (
	"runtime"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// memoryPerServer is the goal: what one server costs with a shared profile of two
// dozen objects, one client connected, and telegrams having passed.
const memoryPerServer = 4 << 10

// fleet makes servers that have lived for a while.
func fleet(tb testing.TB, n int) []*Server {
	profile := Building()
	servers := make([]*Server, n)
	for i := range servers {
		s := New(Config{Profile: profile, Rate: 1}, half)
		now := epoch
		s.Start(now)
		s.Receive(now, clientAddr, frame.Append(nil, frame.ConnectRequest{Layer: frame.LayerLink}))
		for range 20 {
			answer(s, now)
			at, ok := s.Deadline()
			if !ok {
				tb.Fatal("no deadline")
			}
			now = at
			s.Expire(now)
		}
		answer(s, now)
		servers[i] = s
	}
	return servers
}

// answer acknowledges what a server sends.
func answer(s *Server, now time.Time) {
	for out, ok := s.Next(); ok; out, ok = s.Next() {
		if f, err := frame.Parse(out.Payload); err == nil {
			if r, ok := f.(frame.TunnellingRequest); ok {
				s.Receive(now, clientAddr, frame.Append(nil, ackOf(r.Channel, r.Sequence)))
			}
		}
	}
}

func measure(tb testing.TB, n int) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	servers := fleet(tb, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(servers)
	return float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(n)
}

func TestMemoryPerServer(t *testing.T) {
	if got := measure(t, 1000); got > memoryPerServer {
		t.Errorf("%.0f bytes per server, want at most %d", got, memoryPerServer)
	}
}

func BenchmarkMemoryPerServer(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(measure(b, 1000), "B/server")
	}
}

// BenchmarkTelegram is one telegram of an object to one client, and its ACK.
func BenchmarkTelegram(b *testing.B) {
	s := fleet(b, 1)[0]
	now := epoch.Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Inject(now, on(light)); err != nil {
			b.Fatal(err)
		}
		answer(s, now)
	}
	if s.Counts().Acked < uint64(b.N) {
		b.Fatalf("%d acknowledged of %d", s.Counts().Acked, b.N)
	}
}

// BenchmarkObject is a telegram that an object sends by itself.
func BenchmarkObject(b *testing.B) {
	s := fleet(b, 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		at, _ := s.Deadline()
		s.Expire(at)
		answer(s, at)
	}
}
