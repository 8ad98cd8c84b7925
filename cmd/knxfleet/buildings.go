package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsCmd struct {
	Create     buildingsCreateCmd     `cmd:"" help:"Create a building from a wg-quick file and the address of its KNX interface."`
	List       buildingsListCmd       `cmd:"" help:"List buildings and how they are."`
	Get        buildingsGetCmd        `cmd:"" help:"Show one building."`
	Update     buildingsUpdateCmd     `cmd:"" help:"Change fields of a building; what is not named stays."`
	Enable     buildingsEnableCmd     `cmd:"" help:"Let buildings run."`
	Disable    buildingsDisableCmd    `cmd:"" help:"Stop buildings and keep them."`
	Reconnect  buildingsReconnectCmd  `cmd:"" help:"Connect buildings anew, at once."`
	Delete     buildingsDeleteCmd     `cmd:"" help:"Stop and forget a building."`
	Apply      buildingsApplyCmd      `cmd:"" help:"Make the buildings as a YAML file says."`
	Export     buildingsExportCmd     `cmd:"" help:"Write buildings as YAML, for apply; without keys."`
	Import     buildingsImportCmd     `cmd:"" help:"Fill a building's group address table from a file of ETS."`
	NewKey     buildingsNewKeyCmd     `cmd:"" help:"Give a building a new private key; its router must learn the public half."`
	PeerConfig buildingsPeerConfigCmd `cmd:"" help:"Show what the building's router needs to know of the gateway."`
	Diagnose   buildingsDiagnoseCmd   `cmd:"" help:"Say what is wrong with a building, and what to do. The exit code is 0 when that could be told, whatever it is; the verdict of -o json is for programs."`
	Ping       buildingsPingCmd       `cmd:"" help:"Ping a device in a building's LAN, through its tunnel."`
	Discover   buildingsDiscoverCmd   `cmd:"" help:"Find the KNX IP interfaces in a building's LAN, through its tunnel."`
	Watch      buildingsWatchCmd      `cmd:"" help:"Show every change of the buildings' states."`
}

type buildingsCreateCmd struct {
	client

	ID      string            `arg:"" help:"Id of the building: a-z, 0-9 and -, 63 characters at most."`
	WGQuick string            `name:"wg-quick" required:"" help:"WireGuard configuration of the gateway's side, as wg-quick, FRITZ!Box, MikroTik or OPNsense export it; - for standard input." placeholder:"FILE"`
	KNX     string            `name:"knx" required:"" help:"Address of the KNX IP interface in the building's LAN; port 3671 unless given." placeholder:"IP[:PORT]"`
	Name    string            `help:"Display name."`
	Label   map[string]string `help:"Labels." placeholder:"KEY=VALUE"`
	Wait    time.Duration     `help:"Wait until the building is ONLINE, this long at most; 0 does not wait." default:"0s"`
}

// maxWGQuick is more than any configuration file has.
const maxWGQuick = 64 << 10

func (c *buildingsCreateCmd) Run(ctx context.Context, s *streams) error {
	file, err := readSmall("--wg-quick", c.WGQuick, s.in, maxWGQuick)
	if err != nil {
		return err
	}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		created, err := buildings.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: &knxfleetv1.Building{
			Id:          c.ID,
			DisplayName: c.Name,
			Labels:      c.Label,
			Tunnel:      &knxfleetv1.TunnelConfig{WgQuick: file},
			Knx:         &knxfleetv1.KnxConfig{Endpoint: c.KNX},
		}})
		if err != nil {
			return err
		}
		for _, w := range created.GetWarnings() {
			fmt.Fprintf(s.err, "knxfleet: %s, line %d: %s: %s\n", c.WGQuick, w.GetLine(), w.GetSubject(), w.GetMessage())
		}
		building := created.GetBuilding()
		if c.Wait > 0 {
			online, err := waitOnline(ctx, buildings, c.ID, c.Wait)
			if err != nil {
				return err
			}
			building = online
		}
		return printBuildings(c.client, s.out, building)
	})
}

// readSmall reads the file of a flag, or standard input for "-".
func readSmall(flag, name string, in io.Reader, most int64) (string, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", usagef("%s: %w", flag, err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	if int64(len(text)) > most {
		return "", usagef("%s: %s is larger than %d KiB, which no such file is", flag, name, most>>10)
	}
	return string(text), nil
}

// waitOnline follows a building until it is ONLINE, or says why it is not.
func waitOnline(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, id string, patience time.Duration) (*knxfleetv1.Building, error) {
	ctx, cancel := lasting(ctx, patience)
	defer cancel()
	var last *knxfleetv1.BuildingStatus
	failed := func(err error) error {
		if ctx.Err() != nil {
			return fmt.Errorf("building %s is created, but not ONLINE after %s: %s", id, patience, explain(last))
		}
		return err
	}
	watch, err := buildings.WatchBuildings(ctx, &knxfleetv1.WatchBuildingsRequest{Buildings: []string{id}})
	if err != nil {
		return nil, failed(err)
	}
	for {
		changes, err := watch.Recv()
		if err != nil {
			return nil, failed(err)
		}
		for _, change := range changes.GetChanges() {
			if change.GetKind() == knxfleetv1.BuildingChange_KIND_DELETED {
				return nil, fmt.Errorf("building %s was deleted meanwhile", id)
			}
			last = change.GetBuilding().GetStatus()
			if last.GetState() == knxfleetv1.State_STATE_ONLINE {
				return change.GetBuilding(), nil
			}
		}
	}
}

type buildingsGetCmd struct {
	client

	ID string `arg:"" help:"Id of the building."`
}

func (c *buildingsGetCmd) Run(ctx context.Context, s *streams) error {
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		got, err := buildings.GetBuilding(ctx, &knxfleetv1.GetBuildingRequest{Id: c.ID})
		if err != nil {
			return err
		}
		if c.json() {
			return printJSON(s.out, got.GetBuilding())
		}
		return printBuilding(s.out, got.GetBuilding())
	})
}

type buildingsDeleteCmd struct {
	client

	ID string `arg:"" help:"Id of the building."`
}

func (c *buildingsDeleteCmd) Run(ctx context.Context, s *streams) error {
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		deleted, err := buildings.DeleteBuilding(ctx, &knxfleetv1.DeleteBuildingRequest{Id: c.ID})
		if err != nil {
			return err
		}
		if c.json() {
			return printJSON(s.out, deleted)
		}
		_, err = fmt.Fprintf(s.out, "%s deleted\n", c.ID)
		return err
	})
}

// clockFormat is the time of day as people compare it with a bus log.
const clockFormat = "15:04:05.000"

func shortState(s knxfleetv1.State) string { return strings.TrimPrefix(s.String(), "STATE_") }

// explain is a status in one sentence.
func explain(s *knxfleetv1.BuildingStatus) string {
	if s == nil {
		return "the gateway has not said anything of it"
	}
	parts := []string{shortState(s.GetState())}
	if s.GetReason() != "" {
		parts = append(parts, "("+s.GetReason()+")")
	}
	if s.GetMessage() != "" {
		parts = append(parts, "-", s.GetMessage())
	}
	return strings.Join(parts, " ")
}

func printBuildings(c client, w io.Writer, buildings ...*knxfleetv1.Building) error {
	if c.json() {
		for _, b := range buildings {
			if err := printJSON(w, b); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, 0, len(buildings))
	for _, b := range buildings {
		status := b.GetStatus()
		rows = append(rows, []string{
			b.GetId(), shortState(status.GetState()), status.GetReason(), status.GetSince().AsTime().Local().Format(time.DateTime),
			status.GetEndpoint(), b.GetKnx().GetEndpoint(), b.GetDisplayName(),
		})
	}
	return printTable(w, []string{"ID", "STATE", "REASON", "SINCE", "ROUTER", "KNX", "NAME"}, rows)
}

func printBuilding(w io.Writer, b *knxfleetv1.Building) error {
	status, tunnel := b.GetStatus(), b.GetTunnel()
	counters := status.GetCounters()
	rows := [][]string{
		{"id", b.GetId()},
		{"name", b.GetDisplayName()},
		{"state", explain(status)},
		{"since", status.GetSince().AsTime().Local().Format(time.DateTime)},
		{"router", orNone(status.GetEndpoint()) + " (configured: " + orNone(tunnel.GetEndpoint()) + ")"},
		{"router's key", tunnel.GetPeerPublicKey()},
		{"our key", tunnel.GetPublicKey()},
		{"our addresses", strings.Join(tunnel.GetAddresses(), ", ")},
		{"allowed IPs", strings.Join(tunnel.GetAllowedIps(), ", ")},
		{"KNX interface", b.GetKnx().GetEndpoint()},
		{"our individual address", orNone(status.GetIndividualAddress())},
		{"telegrams", fmt.Sprintf("%d received, %d sent", counters.GetTelegramsReceived(), counters.GetTelegramsSent())},
		{"last telegram", when(status.GetLastTelegramAt())},
		{"last handshake", fmt.Sprintf("%s (%d in all)", when(status.GetLastHandshakeAt()), counters.GetHandshakes())},
		{"reconnects", fmt.Sprintf("%d (%d times without a free slot)", counters.GetReconnects(), counters.GetSlotsRefused())},
		{"dropped", fmt.Sprintf("%d packets, %d telegrams of the journal", counters.GetDroppedPackets(), counters.GetJournalLost())},
	}
	if kept := status.GetJournal(); kept != nil {
		text := fmt.Sprintf("%d telegrams, %d KiB", kept.GetTelegrams(), (kept.GetBytes()+1023)/1024)
		if at := kept.GetOldestAt(); at != nil {
			text += " since " + at.AsTime().Local().Format(time.DateTime)
		}
		rows = append(rows, []string{"journal", text})
	}
	return printTable(w, []string{"FIELD", "VALUE"}, rows)
}

// when is a time of day, or that it never was.
func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "none since the building was started"
	}
	return t.AsTime().Local().Format(time.DateTime)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// lasting bounds a stream; 0 does not. It gives ctx no deadline: the gateway would
// learn of it and might end the stream before us, as if something were wrong.
func lasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if d <= 0 {
		return ctx, cancel
	}
	timer := time.AfterFunc(d, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}

// ended is nil when a stream ended because its user wanted it to.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
