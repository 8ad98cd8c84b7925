package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wrong returns the findings that are not good, as "name: detail", and the names
// of all.
func wrong(findings []Finding) (bad, names []string) {
	for _, f := range findings {
		names = append(names, f.Name)
		if !f.OK {
			bad = append(bad, f.Name+": "+f.Detail)
		}
	}
	return bad, names
}

func TestCheck(t *testing.T) {
	ctx := t.Context()
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	populate(t, e)
	bad, _ := wrong(Check(ctx, cfg))
	if len(bad) != 1 || !strings.Contains(bad[0], "lock: ") || !strings.Contains(bad[0], "another process holds it") {
		t.Errorf("while it is open: %q", bad)
	}
	noError(t, e.Close())
	bad, names := wrong(Check(ctx, cfg))
	want := "directory lock space write keys store bucket reg bucket fleet bucket ga journal limits records probe"
	if len(bad) > 0 || strings.Join(names, " ") != want {
		t.Errorf("looked at %q, found wrong %q", names, bad)
	}

	other := cfg
	other.Keys = newKeys(t)
	nearlyFull := cfg
	nearlyFull.space = func(string) (Space, error) { return Space{Free: 1 << 20, Total: 1 << 30}, nil }
	flipped, cut, without := cfg, cfg, cfg
	flipped.Dir, cut.Dir, without.Dir = copied(t, cfg.Dir), copied(t, cfg.Dir), filepath.Join(t.TempDir(), "nowhere")
	block := filepath.Join(flipped.Dir, "jetstream/$G/streams/TG/msgs/1.blk")
	noError(t, flip(block, 200)) // in the first record; the server notices when it reads it
	harm(t, cut.Dir, "jetstream/$G/streams/KV_reg/msgs/1.blk", "cut in half")
	empty := cfg
	empty.Dir = t.TempDir()
	file := cfg
	file.Dir = filepath.Join(cfg.Dir, manifestFile)
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"other keys":        {other, "keys: "},
		"nearly full":       {nearlyFull, "space: the disk is nearly full: 1 MiB of 1024 MiB"},
		"a flipped record":  {flipped, "records: 999 of 1000 records can be read"},
		"a cut bucket":      {cut, "bucket reg"},
		"no directory":      {without, "directory: "},
		"an empty one":      {empty, "no store was made here yet"},
		"a file in between": {file, "this is a file"},
	} {
		bad, _ := wrong(Check(ctx, c.cfg))
		if len(bad) == 0 || !strings.Contains(strings.Join(bad, "\n"), c.want) {
			t.Errorf("%s: %q; want %q", name, bad, c.want)
		}
	}
	if exists(without.Dir) {
		t.Error("a check has made a directory")
	}
	if entries, err := os.ReadDir(empty.Dir); err != nil || len(entries) > 0 {
		t.Errorf("a check has made %v, %v", entries, err)
	}
}
