package session

import (
	"net/netip"
	"slices"
	"time"
)

// peer is one of the interfaces on the bus, and what is known of it. What we
// have learnt about its transport is forgotten with each session: it may have been
// replaced or updated.
type peer struct {
	addr      netip.AddrPort
	basicOnly bool // refused the extended CRI
	described bool // has told what it offers
	version2  bool // offers tunnelling version 2
	tcp       bool // offers TCP
	noTCP     bool // but did not take a connection
	mute      bool // does not acknowledge questions for features
	orphan    orphan
	misses    int // confirmations missing in a row
}

func (p *peer) forget() { p.described, p.version2, p.tcp, p.noTCP = false, false, false, false }

// choosePeer takes the next interface of the round; after the last, a round of all
// begins, in the order of the configuration if no other was planned.
func (m *Machine) choosePeer() {
	if len(m.order) == 0 {
		m.order, m.plan = m.plan, nil
	}
	if len(m.order) == 0 {
		for i := range m.peers {
			m.order = append(m.order, i)
		}
	}
	m.peer, m.order = &m.peers[m.order[0]], m.order[1:]
}

// planOrder decides in which order the interfaces are tried after the loss of a
// session: the same first, but a dead one last. Where nothing is tried at once, it
// is the order after the wait.
func (m *Machine) planOrder(l loss) {
	var others []int
	lost := 0
	for i := range m.peers {
		if m.peer == &m.peers[i] {
			lost = i
		} else {
			others = append(others, i)
		}
	}
	order := slices.Concat([]int{lost}, others)
	if l.dead {
		order = slices.Concat(others, []int{lost})
	}
	m.order, m.plan = order, nil
	if l.transport || m.hurried {
		m.order, m.plan = nil, order
	}
}

// failOver goes on with the next interface of the round.
func (m *Machine) failOver(now time.Time, r Reason, detail string) {
	m.counters.Failovers++
	message := m.explain(r, detail)
	m.enter(phaseConnecting)
	m.link = link{}
	m.report(now, StateConnecting, r, message, time.Time{})
	m.connect(now)
}

// endOrphan notes that an interface has freed a slot of ours, whatever the status
// of its answer: the slot is not ours any more. It reports if there was one.
func (m *Machine) endOrphan(now time.Time, from origin, channel uint8) bool {
	i := slices.IndexFunc(m.peers, func(p peer) bool {
		return !from.stream && p.addr.Addr() == from.addr.Addr() && p.orphan.until.After(now) && p.orphan.channel == channel
	})
	if i < 0 {
		return false
	}
	m.peers[i].orphan = orphan{}
	return true
}

// fromPeer reports if a frame may answer what the interface in use was asked: it
// came the same way, and not from another one.
func (m *Machine) fromPeer(from origin) bool {
	if open := m.stream == streamOpen; from.stream || open {
		return from.stream && open
	}
	return !slices.ContainsFunc(m.peers, func(p peer) bool {
		return p.addr.Addr() == from.addr.Addr() && p.addr.Addr() != m.peer.addr.Addr()
	})
}
