package main

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// median of values; NaN of none. Of an even number it is the mean of the two in the
// middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// quantile is the smallest of the values that at least the share q of them does not
// exceed (nearest rank). It sorts them. Of none it is 0.
func quantile(values []int64, q float64) int64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(math.Ceil(q * float64(len(values))))
	return values[min(max(rank, 1), len(values))-1]
}

// ratioOf divides so that there is always a number: nothing against nothing is 1,
// something against nothing is more than anything.
func ratioOf(a, b float64) float64 {
	const endless = 1e9
	switch {
	case b != 0:
		return a / b
	case a == 0:
		return 1
	default:
		return math.Copysign(endless, a)
	}
}

// unitCosts finds what one of each kind of event costs, when costs[i] is what the
// events[i] cost together: least squares, in which nothing costs less than nothing.
// Kinds that never happened cost 0.
func unitCosts(events [][]float64, costs []float64) []float64 {
	if len(events) == 0 {
		return nil
	}
	unit := make([]float64, len(events[0]))
	var kinds []int
	for kind := range unit {
		if slices.ContainsFunc(events, func(row []float64) bool { return row[kind] != 0 }) {
			kinds = append(kinds, kind)
		}
	}
	for len(kinds) > 0 && len(kinds) <= len(events) {
		a := mat.NewDense(len(events), len(kinds), nil)
		for i, row := range events {
			for j, kind := range kinds {
				a.Set(i, j, row[kind])
			}
		}
		var x mat.VecDense
		if err := x.SolveVec(a, mat.NewVecDense(len(costs), costs)); err != nil {
			return unit // two kinds that always happen together
		}
		least := 0
		for j := range kinds {
			if x.AtVec(j) < x.AtVec(least) {
				least = j
			}
		}
		if x.AtVec(least) >= 0 {
			for j, kind := range kinds {
				unit[kind] = x.AtVec(j)
			}
			return unit
		}
		kinds = slices.Delete(kinds, least, least+1)
	}
	return unit
}
