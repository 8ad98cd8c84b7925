package dpt

import (
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	ids, names := map[ID]bool{}, map[string]ID{}
	last := ID{}
	count := 0
	for typ := range All() {
		count++
		id := typ.ID()
		if ids[id] {
			t.Errorf("%v is there twice", id)
		}
		ids[id] = true
		if id.Main < last.Main || (id.Main == last.Main && id.Sub < last.Sub) {
			t.Errorf("%v comes after %v", id, last)
		}
		last = id
		if !strings.HasPrefix(typ.Name(), "DPT_") || strings.TrimSpace(typ.Name()) != typ.Name() || strings.Contains(typ.Name(), " ") {
			t.Errorf("%v is named %q", id, typ.Name())
		}
		if other, twice := names[typ.Name()]; twice {
			t.Errorf("%v and %v are both named %s", id, other, typ.Name())
		}
		names[typ.Name()] = id
		if typ.Range() == "" {
			t.Errorf("%v has no range", id)
		}
		if found, ok := Lookup(id); !ok || found != typ {
			t.Errorf("looking %v up finds %v", id, found)
		}
		checkShape(t, typ.String(), typ.e.shape, typ.e.bits)
	}
	if count < 320 {
		t.Errorf("%d types, want at least 320", count)
	}
}

// TestStandardNames are names that the standard spells otherwise than ETS and
// others do (KNX 03_07_02 §2).
func TestStandardNames(t *testing.T) {
	for number, want := range map[string]string{
		"1.100": "DPT_Heat/Cool", "12.1201": "DPT_Volume_m3", "13.1201": "DPT_DeltaVolume_m3",
		"20.801": "DPT_SABExceptBehaviour", "20.1005": "DPT_PB_Function",
	} {
		if got := find(t, number).Name(); got != want {
			t.Errorf("%s is named %s, want %s", number, got, want)
		}
	}
}

func TestFamilies(t *testing.T) {
	seen := map[uint16]bool{}
	for _, f := range families() {
		if seen[f.main] {
			t.Errorf("main number %d is there twice", f.main)
		}
		seen[f.main] = true
		if f.name == "" || len(f.rows) == 0 {
			t.Errorf("main number %d has no name or no rows", f.main)
		}
		if f.other != nil {
			checkShape(t, f.name, f.other, f.bits)
		}
		if _, ok := Lookup(ID{f.main, Generic}); !ok {
			t.Errorf("main number %d has no generic type", f.main)
		}
	}
	for _, main := range []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 26, 27, 28, 29, 217, 219, 222, 225, 229, 230, 232, 234, 235, 238, 239, 240, 241, 242, 243, 244, 245, 246, 249, 250, 251, 252, 253, 254, 255, 256, 257, 265, 266, 267, 275} {
		if !seen[main] {
			t.Errorf("main number %d is missing", main)
		}
	}
}

// checkShape wants a shape to fit its bits and its names to be told apart.
func checkShape(t *testing.T, name string, s shape, bits int) {
	t.Helper()
	var texts []string
	switch s := s.(type) {
	case boolean:
		texts = s[:]
	case enum:
		texts = names(s)
		if len(s) > 1<<bits {
			t.Errorf("%s names %d values in %d bits", name, len(s), bits)
		}
	case flags:
		texts = names(s)
		for _, flag := range texts {
			if strings.Trim(flag, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				t.Errorf("%s: %q is not in snake_case", name, flag)
			}
		}
		if len(s) > bits {
			t.Errorf("%s has %d flags in %d bits", name, len(s), bits)
		}
	case integer:
		if s.bits != bits {
			t.Errorf("%s: a number of %d bits in %d", name, s.bits, bits)
		}
	case record:
		if s.size() != bits {
			t.Errorf("%s: parts of %d bits in %d", name, s.size(), bits)
		}
		var parts []string
		for _, f := range s {
			if f.name == "" {
				continue
			}
			if slices.Contains(parts, f.name) {
				t.Errorf("%s: %s is there twice", name, f.name)
			}
			parts = append(parts, f.name)
			checkShape(t, name+" "+f.name, f.shape, f.bits)
		}
	}
	seen := map[string]bool{}
	for _, text := range texts {
		if text == "" || seen[fold(text)] {
			t.Errorf("%s: the name %q is empty or there twice", name, text)
		}
		seen[fold(text)] = true
	}
}
