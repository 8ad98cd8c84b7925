// Command knxfleet holds a WireGuard tunnel to each of many buildings, speaks
// KNXnet/IP inside each, and serves their telegrams and group writes over gRPC.
// One binary is the gateway (serve) and its clients (all other commands).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stopSignals ask every command to end in order.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals...)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
