package engine

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stored is what a backup has to bring back.
func stored(t *testing.T, e *Engine) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, b := range []*Bucket{e.Registry(), e.Tables()} {
		entries, err := b.List(t.Context(), "")
		noError(t, err)
		for _, entry := range entries {
			all[b.name+" "+entry.Key] = string(entry.Value)
		}
	}
	return all
}

// backUp makes a store with a backup of it.
func backUp(t *testing.T) (cfg Config, e *Engine, path string, want map[string]string) {
	t.Helper()
	cfg = Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e = openWith(t, cfg)
	put(t, e.Registry(), "k.check", "sealed")
	for i := range 20 {
		put(t, e.Registry(), fmt.Sprint("b.", i), strings.Repeat(fmt.Sprint(i, "\x00\xff\n"), i))
	}
	noError(t, e.Registry().Delete(t.Context(), "b.3", 0))
	put(t, e.Tables(), "t.1", strings.Repeat("large", 1<<16))
	put(t, e.Fleet(), "c.1", "claim")
	appendAll(t, e.Journal(), "hq", "1", "2")
	path = filepath.Join(t.TempDir(), "backup")
	summary, err := e.Backup(t.Context(), path, cfg.Keys)
	noError(t, err)
	if summary.Buildings != 19 || summary.Tables != 1 {
		t.Errorf("summary %+v", summary)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	return cfg, e, path, stored(t, e)
}

func TestRestoreBringsBackWhatWasBackedUp(t *testing.T) {
	ctx := t.Context()
	cfg, e, path, want := backUp(t)
	if _, err := e.Backup(ctx, path, cfg.Keys); err == nil || !strings.Contains(err.Error(), "a file already") {
		t.Errorf("over a file: %v", err)
	}
	last, err := e.Fleet().Put(ctx, "c.2", nil)
	noError(t, err)

	fresh := Config{Dir: filepath.Join(t.TempDir(), "new", "data"), Keys: cfg.Keys}
	summary, err := Restore(ctx, fresh, path, false)
	if err != nil || summary.Buildings != 19 || summary.Tables != 1 {
		t.Fatalf("restore: %+v, %v", summary, err)
	}
	r := openWith(t, fresh)
	if got := stored(t, r); !maps.Equal(got, want) {
		t.Errorf("restored %d entries of %d, or others", len(got), len(want))
	}
	if epoch, err := r.Fleet().Put(ctx, "c.1", nil); err != nil || epoch <= last {
		t.Errorf("epoch %d after %d, %v", epoch, last, err)
	}
	noError(t, r.Close())
	if _, err := Restore(ctx, fresh, path, false); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "19 buildings") {
		t.Errorf("a second time: %v", err)
	}

	// Over what has changed since.
	put(t, e.Registry(), "b.5", "changed")
	put(t, e.Registry(), "b.new", "x")
	put(t, e.Tables(), "t.2", "x")
	if _, err := Restore(ctx, cfg, path, true); err == nil || !strings.Contains(err.Error(), "another process holds it") {
		t.Errorf("while it is open: %v", err)
	}
	noError(t, e.Close())
	_, err = Restore(ctx, cfg, path, true)
	noError(t, err)
	e = openWith(t, cfg)
	if got := stored(t, e); !maps.Equal(got, want) {
		t.Errorf("over another: %d entries of %d, or others", len(got), len(want))
	}
	same(t, "the journal stays", read(t, e.Journal(), Query{}), of("hq", "1", "2"))
	claim, err := e.Fleet().Get(ctx, "c.1")
	if err != nil || string(claim.Value) != "claim" || claim.Revision <= last {
		t.Errorf("the claim: %q at %d after %d, %v", claim.Value, claim.Revision, last, err)
	}
}

// A backup that is not whole, or whose secrets the keys do not open, changes
// nothing and makes nothing.
func TestBackupThatIsNotWhole(t *testing.T) {
	ctx := t.Context()
	cfg, _, path, _ := backUp(t)
	whole, err := os.ReadFile(path)
	noError(t, err)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	flipped := bytes.Clone(whole)
	flipped[len(lines[0])+50] ^= 1
	missing := *cfg.Keys.(*testKeys)
	missing.missing = true
	for name, c := range map[string]struct {
		content []byte
		keys    Keys
		want    string
	}{
		"empty":         {nil, cfg.Keys, "not a backup of knxfleet"},
		"another file":  {[]byte("{\"a\":1}\n"), cfg.Keys, "not a backup of knxfleet"},
		"newer":         {bytes.Replace(whole, []byte(`"v":1`), []byte(`"v":2`), 1), cfg.Keys, "use the newer program"},
		"cut":           {whole[:len(whole)/2], cfg.Keys, "it ends at record"},
		"without a sum": {whole[:len(whole)-len(lines[len(lines)-2])], cfg.Keys, "checksum"},
		"flipped":       {flipped, cfg.Keys, "not a whole backup"},
		"a line less":   {join(lines[0], join(lines[2:]...)), cfg.Keys, "not a whole backup"},
		"longer":        {join(whole, []byte("x")), cfg.Keys, "something follows"},
		"other keys":    {whole, newKeys(t), "cannot be opened"},
		"missing keys":  {whole, &missing, "the keys are missing"},
	} {
		damaged := filepath.Join(t.TempDir(), "backup")
		noError(t, os.WriteFile(damaged, c.content, 0o600))
		fresh := Config{Dir: filepath.Join(t.TempDir(), "data"), Keys: c.keys}
		if _, err := Restore(ctx, fresh, damaged, false); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), damaged) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if exists(fresh.Dir) {
			t.Errorf("%s: something was made", name)
		}
	}
	if _, err := Restore(ctx, cfg, filepath.Join(cfg.Dir, "nowhere"), true); err == nil {
		t.Error("a backup that is not there was restored")
	}
}

// A restore that was interrupted is finished by the next start.
func TestInterruptedRestoreIsFinished(t *testing.T) {
	cfg, e, path, want := backUp(t)
	put(t, e.Registry(), "b.new", "x")
	put(t, e.Registry(), "b.5", "changed")
	noError(t, e.Close())
	whole, err := os.ReadFile(path)
	noError(t, err)
	pending := filepath.Join(cfg.Dir, restoreFile)
	noError(t, os.WriteFile(pending, whole, 0o600))
	e = openWith(t, cfg)
	if got := stored(t, e); !maps.Equal(got, want) {
		t.Errorf("%d entries of %d, or others", len(got), len(want))
	}
	if exists(pending) {
		t.Error("it is still pending")
	}
}

func FuzzReadBackup(f *testing.F) {
	f.Add([]byte(`{"format":"knxfleet backup","v":1,"epoch":1,"records":1}` + "\n" + `{"bucket":"reg","key":"b.hq","value":"eA=="}` + "\n" + `{"sha256":""}` + "\n"))
	f.Add([]byte("x\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "backup")
		noError(t, os.WriteFile(path, content, 0o600))
		n := 0
		h, s, err := readBackup(path, func(backupRecord) error { n++; return nil })
		if err == nil && (n != h.Records || s.Buildings+s.Tables > n) {
			t.Errorf("%d records of %d, %+v", n, h.Records, s)
		}
	})
}
