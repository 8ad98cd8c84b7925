package dpt

import (
	"math"
	"testing"
)

// TestFixed: the fast way to write a number is that of strconv.
func TestFixed(t *testing.T) {
	for n := int64(-100_000); n <= 100_000; n++ {
		if got, want := fixed(n, 2), decimal(float64(n)/100, 2); got != want && n != 0 {
			t.Fatalf("%d hundredths are %s, want %s", n, got, want)
		}
	}
	for raw := range int64(256) {
		for _, scale := range []integer{percent, degrees} {
			want := decimal(float64(raw*scale.times)/float64(scale.per), scale.digits)
			if got := scale.format(raw); got != want {
				t.Errorf("%d × %d / %d is %s, want %s", raw, scale.times, scale.per, got, want)
			}
		}
	}
	for n, want := range map[int64]string{0: "0", math.MaxInt64: "92233720368547758.07", math.MinInt64 + 1: "-92233720368547758.07"} {
		if got := fixed(n, 2); got != want {
			t.Errorf("%d hundredths are %s, want %s", n, got, want)
		}
	}
}
