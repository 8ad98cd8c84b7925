package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
)

// engineConfig says how the store of a data directory is opened.
func engineConfig(dataDir string, keys keysetFlags, log zerolog.Logger) engine.Config {
	return engine.Config{Dir: dataDir, Keys: keyset.ForStore(keys.source(dataDir), log), Log: log}
}

// engineCmd looks after the data directory of a gateway that does not run.
type engineCmd struct {
	Check   engineCheckCmd   `cmd:"" help:"Look whether a data directory is whole and can be used."`
	Backup  engineBackupCmd  `cmd:"" help:"Write all buildings and their group addresses to one file."`
	Restore engineRestoreCmd `cmd:"" help:"Put the buildings of a backup into a data directory."`
}

// offline are the flags of commands that work on a data directory while no
// gateway runs on it.
type offline struct {
	DataDir string `required:"" help:"Data directory of the gateway, which must not run." placeholder:"DIR"`
	Output  string `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`

	keysetFlags
}

type engineCheckCmd struct {
	offline

	AcceptLoss bool `help:"Go on with what can be read of a damaged store. What is missing is gone for good."`
}

// Run prints what was found and fails when something is wrong.
func (c *engineCheckCmd) Run(ctx context.Context, s *streams) error {
	cfg := engineConfig(c.DataDir, c.keysetFlags, zerolog.Nop())
	cfg.Keys = existing{cfg.Keys}
	cfg.AcceptLoss = c.AcceptLoss
	findings := engine.Check(ctx, cfg)
	wrong := 0
	rows := make([][]string, 0, len(findings))
	for _, f := range findings {
		verdict := "ok"
		if !f.OK {
			verdict = "WRONG"
			wrong++
		}
		rows = append(rows, []string{f.Name, verdict, f.Detail})
	}
	var err error
	if c.Output == "json" {
		type finding struct {
			Name   string `json:"name"`
			OK     bool   `json:"ok"`
			Detail string `json:"detail"`
		}
		list := make([]finding, 0, len(findings))
		for _, f := range findings {
			list = append(list, finding(f))
		}
		err = json.NewEncoder(s.out).Encode(map[string]any{"ok": wrong == 0, "findings": list})
	} else {
		err = printTable(s.out, []string{"WHAT", "", "DETAIL"}, rows)
	}
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%s: %d of %d checks failed", c.DataDir, wrong, len(findings))
	}
	return err
}

// existing are keys that are never made anew: a look changes nothing.
type existing struct{ engine.Keys }

func (k existing) Load(bool) error { return k.Keys.Load(true) }

type engineBackupCmd struct {
	offline

	File string `arg:"" help:"The file to write; there must be none yet."`
}

// Run writes the backup. Without a store there is nothing to back up, and none
// is made.
func (c *engineBackupCmd) Run(ctx context.Context, s *streams) (err error) {
	if !engine.Exists(c.DataDir) {
		return usagef("--data-dir %s: there is no store", c.DataDir)
	}
	cfg := engineConfig(c.DataDir, c.keysetFlags, zerolog.Nop())
	cfg.Keys = existing{cfg.Keys}
	cfg.NoJournal = true
	e, err := engine.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	summary, err := e.Backup(ctx, c.File, cfg.Keys)
	if err != nil {
		return err
	}
	return c.print(s, summary, c.File)
}

type engineRestoreCmd struct {
	offline

	File    string `arg:"" help:"The backup." type:"existingfile"`
	Replace bool   `help:"Drop the buildings and tables that are there; without it they are a reason to refuse."`
}

// Run restores the backup. The keyset that sealed its secrets must be in its
// place.
func (c *engineRestoreCmd) Run(ctx context.Context, s *streams) error {
	// The backup may be older than the last rotation.
	if err := keyset.Unsettle(c.DataDir); err != nil {
		return err
	}
	summary, err := engine.Restore(ctx, engineConfig(c.DataDir, c.keysetFlags, zerolog.Nop()), c.File, c.Replace)
	if errors.Is(err, engine.ErrNotEmpty) {
		return usageError{fmt.Errorf("%w (--replace drops them)", err)}
	}
	if err != nil {
		return err
	}
	return c.print(s, summary, c.File)
}

// print says what a backup holds.
func (o offline) print(s *streams, summary engine.Summary, file string) error {
	if o.Output == "json" {
		return json.NewEncoder(s.out).Encode(map[string]any{
			"file": file, "createdAt": summary.CreatedAt, "buildings": summary.Buildings, "tables": summary.Tables,
		})
	}
	return printTable(s.out, []string{"FILE", "BUILDINGS", "TABLES"}, [][]string{
		{file, fmt.Sprint(summary.Buildings), fmt.Sprint(summary.Tables)},
	})
}
