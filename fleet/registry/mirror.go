package registry

import (
	"cmp"
	"slices"
	"sync"

	"github.com/knxfleet/knxfleet/tunnel"
)

// mirror is the buildings in memory, so that a list of ten thousand does not read each
// from the store. One watch fills it; this registry's own writes are entered before they
// return, so that whoever wrote finds what was written. It holds as much as the watch's
// receiver does, and only while the watch runs.
type mirror struct {
	mu        sync.RWMutex
	following bool // a watch fills it
	complete  bool // the watch's snapshot was told
	buildings map[string]mirrored
	byPeer    map[tunnel.PublicKey][]string // ids, by the router's key: mostly one each
	sorted    []Building                    // all of them; nil: to be made anew
	// removed are own deletions that the watch has yet to tell, by the entry's last
	// revision: what it tells of the building until then is past.
	removed map[string]uint64
	heard   uint64 // the highest revision that the watch told of
}

// mirrored is a building and its entry's revision.
type mirrored struct {
	building Building
	revision uint64
}

// follow makes the caller's watch the one that fills the mirror, and says false when
// there is one.
func (m *mirror) follow() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.following {
		return false
	}
	m.following = true
	m.buildings, m.removed = map[string]mirrored{}, map[string]uint64{}
	m.byPeer = map[tunnel.PublicKey][]string{}
	return true
}

// leave ends what follow began.
func (m *mirror) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.following, m.complete = false, false
	m.buildings, m.byPeer, m.removed, m.sorted, m.heard = nil, nil, nil, nil, 0
}

// snapshotComplete lets lists come from the mirror. Like told, it does nothing with the
// nil mirror.
func (m *mirror) snapshotComplete() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete = true
}

// told enters what the watch told of a building: nil when it is deleted or cannot be read.
func (m *mirror) told(id string, b *Building, revision uint64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// A watch tells in the order of revisions.
	m.heard = max(m.heard, revision)
	for other, last := range m.removed {
		if last < revision {
			delete(m.removed, other)
		}
	}
	if _, deleted := m.removed[id]; deleted || m.buildings[id].revision > revision {
		return
	}
	m.drop(id)
	if b != nil {
		m.put(*b, revision)
	}
}

// put and drop change what the mirror has of a building, with the lock held.
func (m *mirror) put(b Building, revision uint64) {
	m.sorted = nil
	m.buildings[b.ID] = mirrored{b.Clone(), revision}
	m.byPeer[b.Tunnel.Peer] = append(m.byPeer[b.Tunnel.Peer], b.ID)
}

func (m *mirror) drop(id string) {
	have, ok := m.buildings[id]
	if !ok {
		return
	}
	m.sorted = nil
	delete(m.buildings, id)
	peer := have.building.Tunnel.Peer
	if rest := slices.DeleteFunc(m.byPeer[peer], func(other string) bool { return other == id }); len(rest) > 0 {
		m.byPeer[peer] = rest
	} else {
		delete(m.byPeer, peer)
	}
}

// withPeer returns the buildings whose router has a key.
func (m *mirror) withPeer(peer tunnel.PublicKey) []Building {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []Building
	for _, id := range m.byPeer[peer] {
		found = append(found, m.buildings[id].building)
	}
	return found
}

// stored enters an own write.
func (m *mirror) stored(b Building) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.following || b.Revision <= m.heard || m.removed[b.ID] >= b.Revision || m.buildings[b.ID].revision > b.Revision {
		return // the watch told of it, or others were faster
	}
	delete(m.removed, b.ID)
	m.drop(b.ID)
	m.put(b, b.Revision)
}

// deleted enters an own deletion of an entry that was at a revision.
func (m *mirror) deleted(id string, revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.following || m.buildings[id].revision > revision {
		return // created anew
	}
	m.drop(id)
	m.removed[id] = revision
}

// list returns the buildings that match, sorted by id, or false when it cannot tell.
// They are the mirror's own and never change; nor does the slice, without match.
func (m *mirror) list(match func(Building) bool) ([]Building, bool) {
	all, ok := m.all()
	if !ok || match == nil {
		return all, ok
	}
	return slices.DeleteFunc(slices.Clone(all), func(b Building) bool { return !match(b) }), true
}

// all is list of all.
func (m *mirror) all() ([]Building, bool) {
	m.mu.RLock()
	sorted, complete := m.sorted, m.complete
	m.mu.RUnlock()
	if !complete || sorted != nil {
		return sorted, complete
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.complete {
		return nil, false
	}
	m.sorted = make([]Building, 0, len(m.buildings))
	for _, b := range m.buildings {
		m.sorted = append(m.sorted, b.building)
	}
	slices.SortFunc(m.sorted, func(x, y Building) int { return cmp.Compare(x.ID, y.ID) })
	return m.sorted, true
}
