package engine

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// fillJournal appends n records of 60 bytes of 200 buildings.
func fillJournal(b *testing.B, j *Journal, n int) {
	b.Helper()
	record := make([]byte, 60)
	var failed atomic.Int64
	for i := range n {
		for {
			err := j.Append(fmt.Sprint("b", i%200), fmt.Sprint(ids.Add(1)), record, func(err error) {
				if err != nil {
					failed.Add(1)
				}
			})
			if err == nil {
				break
			}
			runtime.Gosched()
		}
	}
	for !j.idle() {
		runtime.Gosched()
	}
	if failed.Load() > 0 {
		b.Fatalf("%d records failed", failed.Load())
	}
}

func BenchmarkAppend(b *testing.B) {
	j := openWith(b, Config{Dir: b.TempDir(), Keys: newKeys(b)}).Journal()
	b.ReportAllocs()
	b.ResetTimer()
	fillJournal(b, j, b.N)
}

// BenchmarkResume reads what one of 200 buildings has from the middle of a million
// records on; and, once, opens what a crash would leave of them and reads the same
// from the disk.
func BenchmarkResume(b *testing.B) {
	cfg := Config{Dir: b.TempDir(), Keys: newKeys(b)}
	j := openWith(b, cfg).Journal()
	fillJournal(b, j, 500_000)
	query := Query{Buildings: []string{"b7"}, Since: time.Now()}
	fillJournal(b, j, 500_000)
	n := 0
	resume := func(j *Journal) time.Duration {
		n = 0
		began := time.Now()
		noError(b, j.Read(b.Context(), query, func(Record) error { n++; return nil }))
		return time.Since(began)
	}
	for b.Loop() {
		resume(j)
	}
	cfg.Dir = copied(b, cfg.Dir)
	began := time.Now()
	crashed := openWith(b, cfg)
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/open")
	b.ReportMetric(float64(resume(crashed.Journal()).Milliseconds()), "ms/first")
	b.ReportMetric(float64(n), "records")
}
