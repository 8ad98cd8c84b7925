package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/knxfleet/knxfleet/internal/engine"
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

// settledMessage is what the gateway logs, with the key's id.
const settledMessage = "all secrets are sealed with the keyset's primary key"

// Run adds a key.
func (c *keysetRotateCmd) Run(s *streams) error {
	all, err := keyset.Rotate(c.File)
	for _, k := range all {
		if k.Primary {
			fmt.Fprintf(s.err, "knxfleet: a gateway that runs seals everything anew now; before keyset retire, wait until it has logged %q with primary=%d\n", settledMessage, k.ID)
		}
	}
	return c.print(s.out, all, err)
}

type keysetRetireCmd struct {
	keysetFile

	DataDir string `help:"Data directory of the gateway that the keyset belongs to; the file's own folder unless given." placeholder:"DIR"`
	Force   bool   `help:"Remove the keys without a look at the data directory, once its gateway has logged that all secrets are sealed with the newest."`
}

// Run removes the old keys, unless something may still be sealed with them.
func (c *keysetRetireCmd) Run(s *streams) error {
	check := c.check
	if c.Force {
		check = nil
	}
	all, kept, err := keyset.Retire(c.File, check)
	if err == nil && kept != "" {
		fmt.Fprintf(s.err, "knxfleet: the keyset as it was is in %s; older backups need it\n", kept)
	}
	return c.print(s.out, all, err)
}

// check refuses unless the gateway has noted that the primary key alone is needed.
func (c *keysetRetireCmd) check(primary uint32) error {
	dir := c.DataDir
	if target, err := filepath.EvalSymlinks(c.File); dir == "" && err == nil && engine.Exists(filepath.Dir(target)) {
		dir = filepath.Dir(target)
	}
	wait := fmt.Sprintf("the gateway has logged %q with primary=%d", settledMessage, primary)
	switch {
	case dir == "":
		return usagef("it cannot be seen what is sealed with which key: name the gateway's --data-dir; or, where that cannot be reached, wait until %s, and add --force", wait)
	case !engine.Exists(dir):
		return usagef("--data-dir %s: there is no store", dir)
	}
	settled, err := keyset.SettledWith(dir)
	if err != nil {
		return err
	}
	if settled != primary {
		return fmt.Errorf("something in %s may still be sealed with an older key: let the gateway run until %s, some 25 s after keyset rotate, and try again", dir, wait)
	}
	return nil
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
