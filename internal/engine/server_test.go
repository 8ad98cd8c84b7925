package engine

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A server that was too busy to answer its own connection check must not be taken for
// one that cannot store, and be restarted under its users.
func TestBusyStoreIsNotBroken(t *testing.T) {
	busy := server.HealthzError{Type: server.HealthzErrorConn, Error: "not ready for connections"}
	damaged := server.HealthzError{Type: server.HealthzErrorStream, Error: "stream \"TG\" has write errors"}
	if err := storeErrors([]server.HealthzError{busy}); err != nil {
		t.Errorf("busy: %v", err)
	}
	if err := storeErrors([]server.HealthzError{busy, damaged}); err == nil || err.Error() != damaged.Error {
		t.Errorf("damaged: %v, want %q", err, damaged.Error)
	}
}
