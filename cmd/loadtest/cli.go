package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"github.com/knxfleet/knxfleet/cmd/loadtest/naive"
)

// Exit codes, as of knxfleet.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // what was asked for is wrong
)

type cli struct {
	Compare compareCmd `cmd:"" help:"Measure knxfleet and naive, one WireGuard device with its own stack and sockets for each building, side by side."`
	Scale   scaleCmd   `cmd:"" help:"Hold many buildings ONLINE at once and see whether anything is lost."`

	// Those below are started by those above.
	Play      playCmd      `cmd:"" hidden:""`
	Naive     naiveCmd     `cmd:"" hidden:""`
	Subscribe subscribeCmd `cmd:"" hidden:""`
	Publish   publishCmd   `cmd:"" hidden:""`
}

// streams are what a command reads and prints to.
type streams struct {
	in  io.ReadCloser
	out io.WriteCloser
	err io.Writer
}

// usageError is a mistake in what was asked for; it ends with exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, in io.ReadCloser, out io.WriteCloser, errOut io.Writer) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("loadtest"),
		kong.Description("What knxfleet costs, measured beside what one would build instead."),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&streams{in, out, errOut}),
	)
	if err != nil {
		fmt.Fprintln(errOut, "loadtest:", err)
		return exitFailure
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help has been printed
	}
	if err != nil {
		fmt.Fprintf(errOut, "loadtest: %v (see loadtest --help)\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(errOut, "loadtest:", err)
		if _, ok := errors.AsType[usageError](err); ok {
			return exitUsage
		}
		return exitFailure
	}
	return exitOK
}

// naiveCmd is the other side as a process of its own.
type naiveCmd struct{}

// Run holds tunnels until the parent is gone.
func (*naiveCmd) Run(ctx context.Context, s *streams) error { return naive.Run(ctx, s.in, s.out) }
