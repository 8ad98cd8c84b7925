package api

import (
	"sync/atomic"

	"github.com/knxfleet/knxfleet/fleet/journal"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// gapCounts counts the gaps that streams were told, by cause.
type gapCounts struct {
	told [knxfleetv1.Gap_CAUSE_REPLICA_UNREACHABLE + 1]atomic.Uint64
}

func (c *gapCounts) count(g *journal.Gap) {
	if int(g.Cause) < len(c.told) {
		c.told[g.Cause].Add(1)
	}
}

// Gaps counts the gaps that streams were told since the start, by cause, such as
// "SLOW_SUBSCRIBER".
func (s *Server) Gaps() map[string]uint64 {
	counts := make(map[string]uint64, len(s.gaps.told))
	for i := range s.gaps.told {
		if cause := knxfleetv1.Gap_Cause(i); cause != knxfleetv1.Gap_CAUSE_UNSPECIFIED {
			counts[cause.String()[len("CAUSE_"):]] = s.gaps.told[i].Load()
		}
	}
	return counts
}
