package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes of every command.
const (
	exitOK      = 0
	exitFailure = 1 // the gateway, the network or the bus did not do it
	exitUsage   = 2 // what was asked for is wrong; asking again will not help
)

// cli is the command line. Flags may also be set by environment variables
// (KNXFLEET_SERVER for --server) and, for serve, by a YAML or JSON file. The
// command line beats the environment, which beats the file.
type cli struct {
	Demo      demoCmd      `cmd:"" help:"See it work: a gateway and three simulated buildings, in one program."`
	Serve     serveCmd     `cmd:"" help:"Run the gateway."`
	Buildings buildingsCmd `cmd:"" help:"Create, list and watch buildings."`
	Watch     watchCmd     `cmd:"" help:"Show telegrams as they come."`
	History   historyCmd   `cmd:"" help:"Show telegrams of the past; with -o json, export them."`
	Replay    replayCmd    `cmd:"" help:"Show an export of telegrams as watch does, in the time that was between them if asked."`
	Values    valuesCmd    `cmd:"" help:"Show the last value of each group address."`
	Read      readCmd      `cmd:"" help:"Ask the bus for the value of a group address."`
	Write     writeCmd     `cmd:"" help:"Write values to group addresses, in one building or in many."`
	Monitor   monitorCmd   `cmd:"" name:"busmonitor" help:"Show every frame on a building's bus, acknowledgements included. Most interfaces stop telegrams meanwhile."`
	DPT       dptCmd       `cmd:"" help:"Look datapoint types up: list, decode, encode."`
	Frame     frameCmd     `cmd:"" help:"Look into KNXnet/IP frames."`
	Sim       simCmd       `cmd:"" help:"Play buildings for another process, for tests and load."`
	Keygen    keygenCmd    `cmd:"" help:"Make a WireGuard key pair."`
	Keyset    keysetCmd    `cmd:"" help:"Make and rotate the keyset that seals all secrets."`
	Engine    engineCmd    `cmd:"" help:"Check, back up and restore the data directory of a gateway that does not run."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

// streams are what a command reads and prints to.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// usageError is a mistake in what was asked for; it ends with exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the whole program but for the process around it, so that tests can
// call it.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	var c cli
	exited := -1
	safe := arguments(protectNegatives(args))
	parser, err := newParser(&c,
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&streams{in: in, out: out, err: errOut}, safe),
	)
	if err != nil {
		fmt.Fprintln(errOut, "knxfleet:", err)
		return exitFailure
	}
	command, err := parser.Parse(safe)
	if exited >= 0 {
		return exited // --help has been printed
	}
	if err != nil {
		fmt.Fprintf(errOut, "knxfleet: %v (see knxfleet --help)\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(errOut, "knxfleet:", describe(err))
		return exitCode(err)
	}
	return exitOK
}

// arguments are those of the command line, as kong takes them.
type arguments []string

func newParser(c *cli, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append([]kong.Option{
		kong.Name("knxfleet"),
		kong.Description("Thousands of KNX buildings behind WireGuard, in one process and on one API."),
		kong.DefaultEnvars("KNXFLEET"),
		kong.Configuration(loadConfig),
	}, options...)...)
}

// negative is a number that kong would take for a flag.
var negative = regexp.MustCompile(`^-[0-9.,]`)

// minus stands for the sign of a negative number on its way through kong.
const minus = "\u2212"

// protectNegatives lets "-20.3" through as a plain argument; text undoes it.
func protectNegatives(args []string) []string {
	safe := make([]string, len(args))
	for i, a := range args {
		if negative.MatchString(a) {
			a = minus + a[1:]
		}
		safe[i] = a
	}
	return safe
}

// text is an argument that may be a negative number.
type text string

// UnmarshalText implements encoding.TextUnmarshaler for kong.
//
//nolint:unparam // the interface has an error
func (t *text) UnmarshalText(b []byte) error {
	s := string(b)
	if rest, ok := strings.CutPrefix(s, minus); ok {
		s = "-" + rest
	}
	*t = text(s)
	return nil
}

// statusOf finds the gRPC status in an error's chain.
func statusOf(err error) (*status.Status, bool) {
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return nil, false
	}
	return carrier.GRPCStatus(), true
}

// describe is an error as a person should read it: a gRPC status without its
// wrapping, anything else as it is.
func describe(err error) string {
	s, ok := statusOf(err)
	switch {
	case !ok:
		return err.Error()
	case s.Code() == codes.Unavailable && strings.Contains(s.Message(), "connection error"):
		return "cannot reach the gateway (is `knxfleet serve` running, and is --server right?): " + s.Message()
	default:
		return s.Message()
	}
}

// exitCode tells mistakes of the caller from failures.
func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if s, ok := statusOf(err); ok {
		switch s.Code() {
		case codes.InvalidArgument, codes.AlreadyExists, codes.NotFound, codes.OutOfRange, codes.Unimplemented:
			return exitUsage
		default:
		}
	}
	return exitFailure
}
