package engine

import (
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A server that was too busy to answer its own connection check must not be taken for
// one that cannot store, and be restarted under its users.
func TestBusyStoreIsNotBroken(t *testing.T) {
	busy := server.HealthzError{Type: server.HealthzErrorConn, Error: "not ready for connections"}
	damaged := server.HealthzError{Type: server.HealthzErrorStream, Stream: "TG", Error: "stream \"TG\" has write errors"}
	if _, err := storeErrors([]server.HealthzError{busy}); err != nil {
		t.Errorf("busy: %v", err)
	}
	if streams, err := storeErrors([]server.HealthzError{busy, damaged}); err == nil || err.Error() != damaged.Error || !slices.Equal(streams, []string{"TG"}) {
		t.Errorf("damaged: %v in %q, want %q", err, streams, damaged.Error)
	}
}
