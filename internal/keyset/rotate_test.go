package keyset

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRotateAndRetire(t *testing.T) {
	k, path := newKeyset(t)
	place := Place{Field: "x"}
	sealed, err := k.Seal([]byte("secret"), place)
	if err != nil || !k.Current(sealed, place) {
		t.Fatalf("sealed with the primary key: %v, %v", k.Current(sealed, place), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	first, err := List(path)
	if err != nil || len(first) != 1 || !first[0].Primary || first[0].Kind != "AesGcmKey" {
		t.Fatalf("listed %+v, %v", first, err)
	}
	all, err := Rotate(link)
	if err != nil || len(all) != 2 || all[0].Primary || !all[1].Primary || all[0].ID != first[0].ID {
		t.Fatalf("rotated to %+v, %v", all, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	changed, err := k.Reload(func(*Keyset) error { return nil })
	if err != nil || !changed {
		t.Fatalf("reload: %v, %v", changed, err)
	}
	if again, err := k.Reload(func(*Keyset) error { return errors.New("not asked") }); again || err != nil {
		t.Errorf("reload of the same: %v, %v", again, err)
	}
	if k.Current(sealed, place) {
		t.Error("what the old key sealed counts as sealed with the new one")
	}
	if got, err := k.Open(sealed, place); err != nil || string(got) != "secret" {
		t.Errorf("opened %q, %v", got, err)
	}
	again, err := k.Seal([]byte("secret"), place)
	if err != nil || !k.Current(again, place) {
		t.Errorf("sealed again: %v", err)
	}
	refused := errors.New("wait")
	if _, kept, err := Retire(path, func(primary uint32) error {
		if primary != all[1].ID {
			t.Errorf("asked about %d of %v", primary, all)
		}
		return refused
	}); !errors.Is(err, refused) || kept != "" {
		t.Errorf("retired although refused: kept %q, %v", kept, err)
	}
	if left, err := List(path); err != nil || len(left) != 2 {
		t.Errorf("refused, and left %v, %v", left, err)
	}
	all, kept, err := Retire(path, nil)
	if err != nil || len(all) != 1 || !all[0].Primary || !strings.HasPrefix(kept, path+".before-") {
		t.Fatalf("retired to %+v with %q kept, %v", all, kept, err)
	}
	if both, err := Load(kept); err != nil {
		t.Error(err)
	} else if got, err := both.Open(sealed, place); err != nil || string(got) != "secret" {
		t.Errorf("the keyset that was kept opens %q, %v", got, err)
	}
	if _, kept, err := Retire(path, func(uint32) error { return refused }); err != nil || kept != "" {
		t.Errorf("retired again: kept %q, %v", kept, err)
	}
	alone, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alone.Open(sealed, place); !errors.Is(err, ErrCannotOpen) {
		t.Errorf("the retired key: %v", err)
	}
	if hint := alone.Hint(sealed, place); !strings.Contains(hint, kept) {
		t.Errorf("the hint to the keyset that was kept: %q", hint)
	}
	if hint := alone.Hint([]byte("of another"), place); hint != "" {
		t.Errorf("a hint to what does not help: %q", hint)
	}
	if got, err := alone.Open(again, place); err != nil || string(got) != "secret" {
		t.Errorf("the new key: %q, %v", got, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 2 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestKeysetFileIsNotChangedByTwoAtOnce(t *testing.T) {
	_, path := newKeyset(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(path); err == nil || !strings.Contains(err.Error(), path+".new is there") {
		t.Errorf("beside another one: %v", err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed, %v", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(path); err == nil {
		t.Error("what is no keyset was rotated")
	}
	if left, err := os.ReadFile(path); err != nil || string(left) != "{}" {
		t.Errorf("left: %q, %v", left, err)
	}
	if err := Create(path); err == nil || !strings.Contains(err.Error(), "never overwritten") {
		t.Errorf("made over another file: %v", err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestKeysetInTheEnvironment(t *testing.T) {
	k, path := newKeyset(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const source = "env:KNXFLEET_TEST_KEYSET"
	if _, created, err := LoadOrCreate(source); err == nil || created || !strings.Contains(err.Error(), "KNXFLEET_TEST_KEYSET is not set") {
		t.Errorf("not set: created %v, %v", created, err)
	}
	t.Setenv("KNXFLEET_TEST_KEYSET", string(text[:40]))
	if _, err := Load(source); err == nil || strings.Contains(err.Error(), string(text[20:40])) {
		t.Errorf("cut off: %v", err)
	}
	t.Setenv("KNXFLEET_TEST_KEYSET", string(text))
	same, created, err := LoadOrCreate(source)
	if err != nil || created || same.Source() != source || same.Warning() != "" {
		t.Fatalf("created %v, %v", created, err)
	}
	sealed, err := k.Seal([]byte("secret"), Place{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := same.Open(sealed, Place{}); err != nil || string(got) != "secret" {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := Rotate(source); err == nil || !strings.Contains(err.Error(), "changed in a file") {
		t.Errorf("rotate: %v", err)
	}
	if err := Create(source); err == nil {
		t.Error("made in the environment")
	}
}
