// Command loadtest shows what knxfleet costs, side by side with what one would
// build instead, against the same simulated buildings. It measures the shipped
// binary from outside: nothing in it knows the gateway's parts.
//
// compare makes the table of docs/performance.md; scale holds many buildings at
// once. Everything else here is the processes that they start: play is the
// simulator, naive the other side (package naive), subscribe and publish are
// clients.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
