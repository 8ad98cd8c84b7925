package fleet

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Whoever reads the log without its details sees one line of a building that comes up, and
// one of a building that is held up on the way.
func TestOneLogLineForAStart(t *testing.T) {
	steps := []Status{{State: StateHandshaking, Reason: ReasonHandshakeStarted}, {State: StateConnecting, Reason: string(session.ReasonStarting)}}
	for name, c := range map[string]struct {
		states []Status
		want   string
	}{
		"comes up":       {append(steps[:2:2], Status{State: StateOnline}), "building is ONLINE"},
		"is not reached": {append(steps[:1:1], Status{State: StateHandshaking, Reason: ReasonHandshakeUnanswered, Message: "check the port"}), "check the port"},
		"has no slot":    {append(steps[:2:2], Status{State: StateConnecting, Reason: "SLOTS_FULL"}), "SLOTS_FULL"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := &site{log: zerolog.New(&log).Level(zerolog.InfoLevel), report: func(Status) {}}
			for _, status := range c.states {
				s.tell(status)
			}
			if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), c.want) {
				t.Errorf("%d lines, want one with %q:\n%s", lines, c.want, &log)
			}
		})
	}
}
