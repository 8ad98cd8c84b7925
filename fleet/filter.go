package fleet

import (
	"k8s.io/apimachinery/pkg/labels"
)

// Filter selects telegrams. The zero value selects all. Its parts are joined
// by AND; the entries of one part by OR.
type Filter struct {
	// Buildings are ids; empty selects every building.
	Buildings map[string]bool
	// Labels selects by the building's labels at the time of the telegram; nil
	// selects every building.
	Labels labels.Selector
	// Addresses are destination patterns; empty selects every group address.
	Addresses []AddressPattern
}

// Match reports whether the filter selects the telegram.
func (f *Filter) Match(t *Telegram) bool {
	if len(f.Buildings) > 0 && !f.Buildings[t.Building] {
		return false
	}
	if f.Labels != nil && !f.Labels.Matches(labels.Set(t.Labels)) {
		return false
	}
	if len(f.Addresses) == 0 {
		return true
	}
	for _, p := range f.Addresses {
		if p.Match(t.Destination) {
			return true
		}
	}
	return false
}
