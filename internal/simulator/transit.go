package simulator

import (
	"net/netip"
	"time"
)

// transit is a datagram on its way between a building and the gateway.
type transit struct {
	at       time.Time
	order    uint64 // among those that arrive at the same time
	building *Building
	inbound  bool           // to the building
	gateway  netip.AddrPort // the other end
	datagram []byte
}

// transits is a heap of datagrams by arrival (container/heap).
type transits []*transit

func (t transits) Len() int { return len(t) }

func (t transits) Less(i, j int) bool {
	if t[i].at.Equal(t[j].at) {
		return t[i].order < t[j].order
	}
	return t[i].at.Before(t[j].at)
}

func (t transits) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push and Pop are for container/heap, which gives Push only transits.
func (t *transits) Push(x any) { *t = append(*t, x.(*transit)) } //nolint:forcetypeassert,errcheck // see above

// Pop removes the last.
func (t *transits) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	return x
}

// deadlines is a heap of buildings by what is due first (container/heap).
type deadlines []*Building

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

// Push and Pop are for container/heap, which gives Push only buildings.
func (d *deadlines) Push(x any) {
	b := x.(*Building) //nolint:forcetypeassert,errcheck // see above
	b.place = len(*d)
	*d = append(*d, b)
}

// Pop removes the last.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	b := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	b.place = -1
	return b
}
