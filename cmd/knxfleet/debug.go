package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// debugHeaderTimeout is how long a client of the profiles may take for its request.
const debugHeaderTimeout = 10 * time.Second

// listenDebug opens the listener of Go's profiles, or none for an empty address.
// Profiles tell what the process does and what it is called, so there is no way to
// offer them beyond this machine.
func listenDebug(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // none is what was asked for
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil || !isLoopback(host) {
		return nil, usagef("--debug-listen %q: want a loopback ADDRESS:PORT, such as 127.0.0.1:6060", address)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, usagef("--debug-listen: %w", err)
	}
	return l, nil
}

// serveDebug serves Go's profiles until ctx ends. A nil listener serves nothing.
func serveDebug(ctx context.Context, l net.Listener) error {
	if l == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: debugHeaderTimeout}
	// A profile that is under way is cut off.
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
