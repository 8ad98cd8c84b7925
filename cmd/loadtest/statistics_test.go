package main

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v", c.values, got)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(100 - i)
	}
	for q, want := range map[float64]int64{0: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := quantile(slices.Clone(hundred), q); got != want {
			t.Errorf("quantile %v of 1 to 100 is %d, want %d", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

// A ratio can always be written as JSON.
func TestRatioIsANumber(t *testing.T) {
	for _, c := range [][3]float64{{1, 2, 0.5}, {0, 0, 1}, {0, 5, 0}, {2, 0, 1e9}, {-2, 0, -1e9}} {
		if got := ratioOf(c[0], c[1]); got != c[2] {
			t.Errorf("%v to %v is %v, want %v", c[0], c[1], got, c[2])
		}
	}
}

// What was put together from unit costs is taken apart again.
func TestUnitCosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Float64Range(0, 1000), 3, 3).Draw(t, "costs of one")
		var events [][]float64
		var costs []float64
		for i := range 40 {
			// Kinds at intervals of their own, and one that never happens.
			row := []float64{float64(i % 3), float64(i % 5), 1, 0}
			events = append(events, row)
			costs = append(costs, row[0]*want[0]+row[1]*want[1]+want[2])
		}
		got := unitCosts(events, costs)
		for i, w := range append(want, 0) {
			if math.Abs(got[i]-w) > 1e-6 {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
	// More events and less cost: they cost nothing.
	if got := unitCosts([][]float64{{1, 1}, {2, 1}, {3, 1}}, []float64{5, 4, 3}); got[0] != 0 || math.Abs(got[1]-4) > 1e-9 {
		t.Errorf("got %v, want 0 and 4", got)
	}
	if got := unitCosts(nil, nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
