package journal

import "maps"

// straight is live and take at once for what can be told as it came, without a place
// in between: nothing waits, nothing was dropped, and nothing can have been told by a
// replay. Else it does nothing, and says so.
func (c *core[T]) straight(telegrams []T, m Mark) bool {
	if c.waiting() > 0 || len(c.places) > 0 || len(telegrams) == 0 || len(telegrams) > MaxBatch {
		return false
	}
	c.live(nil, nil, m)
	c.advance(c.limit)
	for _, t := range telegrams {
		id := c.identify(t)
		c.arrive(id.Building, id.Position, id.Stamp)
	}
	c.forget()
	return true
}

// tell moves the cursor past items, while the rest still waits.
func (c *core[T]) tell(taken, rest []item[T]) {
	mark := c.limit
	if len(rest) > 0 {
		mark.Stamp = min(mark.Stamp, rest[0].low)
	}
	c.advance(mark)
	for i := range taken {
		if it := &taken[i]; it.building != "" {
			c.arrive(it.building, it.position, it.stamp)
		}
	}
}

// advance moves the cursor's mark, and drops the names of which it now says as much.
func (c *core[T]) advance(mark Mark) {
	if mark.Stamp > c.told.mark.Stamp {
		c.told.mark = mark
	}
	if len(c.told.at) == 0 {
		return
	}
	for building, at := range c.told.at {
		if at.stamp > 0 && c.told.mark.below(at.Epoch, at.stamp) {
			delete(c.told.at, building)
		}
	}
	// To go through a map costs by what it once held.
	if c.named > manyNamed && len(c.told.at) <= fewNamed {
		at := make(map[string]reached, len(c.told.at))
		maps.Copy(at, c.told.at)
		c.told.at, c.named = at, len(at)
	}
}

// arrive notes how far a building was told.
func (c *core[T]) arrive(building string, at Position, stamp int64) {
	switch {
	case !c.told.mark.below(at.Epoch, stamp):
		c.told.at[building] = reached{at, stamp}
		c.named = max(c.named, len(c.told.at))
	case len(c.told.at) > 0:
		delete(c.told.at, building)
	}
}

// keepItems bounds the memory that is kept for what waits.
const keepItems = 2 * MaxBatch

// forget makes room, when nothing waits, and drops the places that nothing can reach
// a second time. What is not below the mark is in told.
func (c *core[T]) forget() {
	c.out, c.head = c.out[:0], 0
	if cap(c.out) > keepItems {
		c.out = nil
	}
	if c.replaying || c.overlap {
		return
	}
	for building := range c.places {
		if _, ok := c.told.at[building]; !ok {
			delete(c.places, building)
		}
	}
	if len(c.places) == 0 {
		c.places = nil
	}
	c.start.mark = c.told.mark // which says what was told of those that were dropped
}
