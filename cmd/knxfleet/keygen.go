package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/knxfleet/knxfleet/tunnel"
)

type keygenCmd struct {
	Output string `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
}

// Run makes the keys on this machine; no gateway is asked.
func (c *keygenCmd) Run(s *streams) error {
	private := tunnel.GeneratePrivateKey()
	secret, public := private.Base64(), private.Public().String()
	if c.Output == "json" {
		return json.NewEncoder(s.out).Encode(map[string]string{"privateKey": secret, "publicKey": public})
	}
	return printTable(s.out, []string{"KEY", "VALUE"}, [][]string{{"private", secret}, {"public", public}})
}

type versionCmd struct{}

// Run prints the version that the Go toolchain recorded.
func (versionCmd) Run(s *streams) error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version + " " + info.GoVersion
	}
	_, err := fmt.Fprintln(s.out, "knxfleet", version)
	return err
}
