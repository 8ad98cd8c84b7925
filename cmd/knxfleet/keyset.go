package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/knxfleet/knxfleet/internal/keyset"
)

// keysetFlags name the keyset of a data directory.
type keysetFlags struct {
	Keyset string `help:"Keyset that seals all secrets: a file, which may be a mounted Kubernetes secret, or env:NAME for an environment variable with its text; keyset.json in the data directory unless given." placeholder:"FILE"`
}

func (f keysetFlags) source(dataDir string) string {
	if f.Keyset != "" {
		return f.Keyset
	}
	return filepath.Join(dataDir, "keyset.json")
}

// keysetCmd looks after a keyset file. A gateway that runs with it notices every
// change within seconds.
type keysetCmd struct {
	Create keysetCreateCmd `cmd:"" help:"Make a keyset in a new file."`
	List   keysetListCmd   `cmd:"" help:"Show which keys a keyset has; never the keys themselves."`
	Rotate keysetRotateCmd `cmd:"" help:"Add a key and seal everything with it; the others still open what they sealed."`
	Retire keysetRetireCmd `cmd:"" help:"Remove all keys but the newest, once the gateway has logged that all secrets are sealed with it."`
}

// keysetFile are the flags of all commands on a keyset.
type keysetFile struct {
	File   string `arg:"" help:"The keyset file."`
	Output string `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
}

type keysetCreateCmd struct{ keysetFile }

// Run makes the file.
func (c *keysetCreateCmd) Run(s *streams) error {
	if err := keyset.Create(c.File); err != nil {
		return usageError{err}
	}
	all, err := keyset.List(c.File)
	return c.print(s.out, all, err)
}

type keysetListCmd struct{ keysetFile }

// Run shows the keys.
func (c *keysetListCmd) Run(s *streams) error {
	all, err := keyset.List(c.File)
	return c.print(s.out, all, err)
}

type keysetRotateCmd struct{ keysetFile }

// Run adds a key.
func (c *keysetRotateCmd) Run(s *streams) error {
	all, err := keyset.Rotate(c.File)
	return c.print(s.out, all, err)
}

type keysetRetireCmd struct{ keysetFile }

// Run removes the old keys.
func (c *keysetRetireCmd) Run(s *streams) error {
	all, kept, err := keyset.Retire(c.File)
	if err == nil && kept != "" {
		fmt.Fprintf(s.err, "knxfleet: the keyset as it was is in %s; older backups need it\n", kept)
	}
	return c.print(s.out, all, err)
}

func (c keysetFile) print(w io.Writer, all []keyset.Key, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, k := range all {
		seals := ""
		if k.Primary {
			seals = "primary"
		}
		if c.Output == "json" {
			if err := json.NewEncoder(w).Encode(map[string]any{"id": k.ID, "kind": k.Kind, "primary": k.Primary}); err != nil {
				return err
			}
		}
		rows = append(rows, []string{fmt.Sprint(k.ID), k.Kind, seals})
	}
	if c.Output == "json" {
		return nil
	}
	return printTable(w, []string{"KEY", "KIND", ""}, rows)
}
