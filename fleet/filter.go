package fleet

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
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
	// Sources are patterns of the senders' addresses; empty selects every sender.
	Sources []SourcePattern
	// Kinds are kinds of telegrams; empty selects every kind.
	Kinds []knxfleetv1.Telegram_Kind
	// Names are patterns of the group address's name; empty selects every group
	// address, also those without a name, which no pattern does.
	Names []NamePattern
}

// Match reports whether the filter selects the telegram.
func (f *Filter) Match(t *Telegram) bool {
	return f.matchBuilding(t.Building, t.Labels) &&
		(len(f.Addresses) == 0 || slices.ContainsFunc(f.Addresses, func(p AddressPattern) bool { return p.Match(t.Destination) })) &&
		(len(f.Sources) == 0 || slices.ContainsFunc(f.Sources, func(p SourcePattern) bool { return p.Match(t.Source) })) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, t.Kind)) &&
		(len(f.Names) == 0 || slices.ContainsFunc(f.Names, func(p NamePattern) bool { return p.Match(t.Name) }))
}

// matchBuilding reports whether the filter selects any telegrams of a building.
func (f *Filter) matchBuilding(id string, of map[string]string) bool {
	return (len(f.Buildings) == 0 || f.Buildings[id]) && (f.Labels == nil || f.Labels.Matches(labels.Set(of)))
}
