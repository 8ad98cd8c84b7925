package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// client holds the flags that every client command has.
type client struct {
	Server string `help:"Address of the gateway's gRPC API." default:"127.0.0.1:7671" placeholder:"HOST:PORT"`
	Output string `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
}

// maxMessage is the largest answer that a client takes: a page of 1,000
// buildings or telegrams with room to spare.
const maxMessage = 64 << 20

func (c client) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(c.Server,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, usagef("--server %q: %w", c.Server, err)
	}
	return conn, nil
}

// withBuildings calls f with a client of the BuildingService.
func (c client) withBuildings(f func(knxfleetv1.BuildingServiceClient) error) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(knxfleetv1.NewBuildingServiceClient(conn))
}

// withTelegrams calls f with a client of the TelegramService.
func (c client) withTelegrams(f func(knxfleetv1.TelegramServiceClient) error) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(knxfleetv1.NewTelegramServiceClient(conn))
}

func (c client) json() bool { return c.Output == "json" }

// printJSON prints a message on its own line, with the names that grpcurl shows.
func printJSON(w io.Writer, m proto.Message) error {
	line, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printTable prints rows under a header, aligned; plain lines with tabs and
// without the header when w is no terminal.
func printTable(w io.Writer, header []string, rows [][]string) error {
	if !isTerminal(w) {
		for _, row := range rows {
			if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}
