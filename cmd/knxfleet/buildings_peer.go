package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"rsc.io/qr"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsNewKeyCmd struct {
	client

	ID string `arg:"" help:"Id of the building."`
}

// Run makes the key on the gateway, where it stays.
func (c *buildingsNewKeyCmd) Run(ctx context.Context, s *streams) error {
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		made, err := buildings.GenerateKeys(ctx, &knxfleetv1.GenerateKeysRequest{Building: c.ID})
		if err != nil {
			return err
		}
		if c.json() {
			return printJSON(s.out, made)
		}
		return printTable(s.out, []string{"KEY", "VALUE"}, [][]string{{"public", made.GetPublicKey()}})
	})
}

type buildingsPeerConfigCmd struct {
	client

	ID               string `arg:"" help:"Id of the building."`
	Format           string `enum:"wg-quick,fritzbox,mikrotik,openwrt,opnsense" default:"wg-quick" help:"Kind of router: wg-quick, fritzbox, mikrotik, openwrt or opnsense."`
	Endpoint         string `help:"Where the router reaches the gateway; the gateway's own --tunnel-endpoint unless given." placeholder:"HOST:PORT"`
	RouterPrivateKey string `help:"File with the router's private key, to be written into the configuration; - for standard input." placeholder:"FILE"`
	PresharedKey     string `help:"File with the preshared key, to be written into the configuration; - for standard input." placeholder:"FILE"`
	QR               bool   `name:"qr" help:"Show a QR code too; for wg-quick and fritzbox, with --router-private-key."`
}

// Run prints the configuration, and what is left to do on standard error.
func (c *buildingsPeerConfigCmd) Run(ctx context.Context, s *streams) error {
	format := knxfleetv1.PeerConfigFormat_value["PEER_CONFIG_FORMAT_"+strings.ToUpper(strings.ReplaceAll(c.Format, "-", "_"))]
	request := &knxfleetv1.GetPeerConfigRequest{Id: c.ID, Format: knxfleetv1.PeerConfigFormat(format), Endpoint: c.Endpoint}
	if c.QR && c.Format != "wg-quick" && c.Format != "fritzbox" {
		return usagef("--qr: a QR code is read as a WireGuard file; want --format wg-quick or fritzbox")
	}
	if c.QR && c.RouterPrivateKey == "" {
		return usagef("--qr: no WireGuard app takes a code without a private key, and the gateway does not have the router's; give it with --router-private-key FILE")
	}
	var err error
	if c.RouterPrivateKey != "" {
		if request.RouterPrivateKey, err = readKey("--router-private-key", c.RouterPrivateKey, s); err != nil {
			return err
		}
	}
	if c.PresharedKey != "" {
		if request.PresharedKey, err = readKey("--preshared-key", c.PresharedKey, s); err != nil {
			return err
		}
	}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		got, err := buildings.GetPeerConfig(ctx, request)
		if err != nil {
			return err
		}
		config := got.GetPeerConfig()
		if c.json() {
			return printJSON(s.out, config)
		}
		if _, err := io.WriteString(s.out, config.GetConfig()); err != nil {
			return err
		}
		for _, note := range config.GetNotes() {
			fmt.Fprintf(s.err, "knxfleet: %s\n", note)
		}
		if c.QR {
			return printQR(s.out, config.GetConfig())
		}
		return nil
	})
}

// quiet is the empty margin around a QR code, in modules (ISO/IEC 18004).
const quiet = 4

// printQR draws a QR code of a WireGuard file without its comments, two modules to
// a character. On a terminal it is black on white, whatever the terminal's colours.
func printQR(w io.Writer, config string) error {
	code, err := qr.Encode(withoutComments(config), qr.L)
	if err != nil {
		return fmt.Errorf("QR code: %w", err)
	}
	before, after := "", ""
	if isTerminal(w) {
		before, after = "\x1b[30;107m", "\x1b[0m" // ECMA-48 SGR
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(before)
		for x := -quiet; x < code.Size+quiet; x++ {
			// Outside of the code all is white, which Black knows.
			b.WriteRune([]rune(" ▄▀█")[2*bit(code.Black(x, y))+bit(code.Black(x, y+1))])
		}
		b.WriteString(after + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}

func withoutComments(config string) string {
	var b strings.Builder
	for line := range strings.Lines(config) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
