package api

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// One client that reads nothing, beside 50 that read everything, at 5,000 telegrams
// a second: the 50 miss nothing, memory stays bounded, and when the one wakes it gets
// all there was, from the journal.
func TestSleeperBesideReaders(t *testing.T) {
	const (
		readers, buses    = 50, 20
		rate, seconds     = 5000, 4
		total             = rate * seconds
		most              = 96 << 20 // bytes of heap, beyond what there was
		burst, burstEvery = 50, time.Second * 50 / rate
	)
	// With a directory the test runs alone: others would be in the heap too.
	g := startWith(t, setup{journal: true, dir: t.TempDir()})
	dial := func() *grpc.ClientConn {
		conn, err := grpc.NewClient(g.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStaticStreamWindowSize(64<<10)) // what is not read waits at the gateway
		noError(t, err)
		t.Cleanup(func() { noError(t, conn.Close()) })
		return conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	open := func(conn *grpc.ClientConn) grpc.ServerStreamingClient[knxfleetv1.StreamTelegramsResponse] {
		stream, err := knxfleetv1.NewTelegramServiceClient(conn).StreamTelegrams(ctx, &knxfleetv1.StreamTelegramsRequest{})
		noError(t, err)
		_, err = stream.Header()
		noError(t, err)
		return stream
	}
	// What the sleeper does not read would hold up the others on one connection.
	sleeper, shared := open(dial()), dial()
	var reading sync.WaitGroup
	got := make([]int, readers)
	for i := range readers {
		stream := open(shared)
		reading.Go(func() {
			seen := newSeen()
			for got[i] < total {
				response, err := stream.Recv()
				if status.Code(err) == codes.Canceled || err != nil {
					t.Errorf("reader %d after %d: %v", i, got[i], err)
					return
				}
				if err := seen.take(response); err != nil {
					t.Errorf("reader %d: %v", i, err)
					return
				}
				got[i] = seen.count
			}
		})
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all := make([]*bus, buses)
	for i := range all {
		all[i] = g.bus(fmt.Sprintf("b%d", i), uint64(i+1), 0, false)
	}
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	for said := 0; said < total; said += burst {
		for i := range burst {
			all[(said+i)%buses].say(1, 0x0A03)
		}
		<-tick.C
	}
	reading.Wait()
	// The first collection leaves what buffer pools held, which readers that fell behind
	// on a busy machine filled with large responses; the second does not.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > most {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if g.hub.Stats().Dropped == 0 {
		t.Error("everything was kept in memory for a client that reads nothing")
	}
	seen := newSeen()
	for seen.count < total {
		response, err := sleeper.Recv()
		noError(t, err)
		noError(t, seen.take(response))
	}
}

// seen checks that telegrams come once and in order, and that none is missing.
type seen struct {
	next  map[string]uint64
	count int
}

func newSeen() *seen { return &seen{next: make(map[string]uint64)} }

func (s *seen) take(response *knxfleetv1.StreamTelegramsResponse) error {
	if gap := response.GetGap(); gap != nil {
		return fmt.Errorf("a gap: %v", gap)
	}
	for _, tg := range response.GetTelegrams() {
		s.next[tg.GetBuilding()]++
		if want := s.next[tg.GetBuilding()]; tg.GetNumber() != want {
			return fmt.Errorf("telegram %d of %s, want %d", tg.GetNumber(), tg.GetBuilding(), want)
		}
		s.count++
	}
	return nil
}
